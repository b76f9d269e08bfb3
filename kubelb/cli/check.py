"""``kubelb check``: is the configuration fit to be run? Runs in the command's own process and starts nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from kubelb.config.faults import ConfigFault, printable
from kubelb.config.overrides import NO_OVERRIDES, Overrides
from kubelb.config.sources import Sources, load
from kubelb.discovery.resolve import resolve
from kubelb.supervisor.privileges import check_user


def check(sources: Sources, overrides: Overrides = NO_OVERRIDES, quiet: bool = False) -> int:
    """Say on standard error what is wrong, a line a fault, or, unless ``quiet``, that nothing is; the exit status."""
    try:
        loaded = load(sources, overrides)
        show_warnings(loaded.warnings)
        resolve(loaded.config, loaded.places)
        check_user(loaded.config, loaded.places)
    except ConfigFault as error:
        return show_faults(error)
    if not quiet:
        print(printable(f"{sources.name()}: ok"))
    return 0


def show_warnings(warnings: Iterable[str]) -> None:
    for warning in warnings:
        print(printable(f"warning: {warning}"), file=sys.stderr)


def show_faults(error: ConfigFault) -> int:
    """One line a fault on standard error; the exit status."""
    for fault in error.faults:
        print(fault, file=sys.stderr)
    return 1
