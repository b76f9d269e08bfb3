"""``kubelb convert``: the same proxy as TOML, on standard output. Runs in the command's own process."""

from __future__ import annotations

from kubelb.cli.check import show_faults, show_warnings
from kubelb.config.faults import ConfigFault
from kubelb.config.overrides import NO_OVERRIDES, Overrides
from kubelb.config.sources import Sources, load
from kubelb.config.toml.writer import write_toml


def convert(sources: Sources, overrides: Overrides = NO_OVERRIDES) -> int:
    """Print the TOML, or say what is wrong, one line a fault on standard error; the exit status."""
    try:
        loaded = load(sources, overrides)
    except ConfigFault as error:
        return show_faults(error)
    show_warnings(loaded.warnings)
    print(write_toml(loaded.config), end="")
    return 0
