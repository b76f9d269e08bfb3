"""Raises the limit of open files as far as it goes: a session takes two."""

from __future__ import annotations

import resource

from kubelb import log
from kubelb.config.faults import ConfigFault, Fault

_LEAST = 128
"""Descriptors without which not even a few sessions could be carried."""


def raise_open_files(wanted: int | None) -> None:
    """To ``wanted`` descriptors, or to the hard limit. Raises :class:`ConfigFault` when that is far too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = hard if wanted is None else wanted
    if hard != resource.RLIM_INFINITY and target > hard:
        target = _beyond(target, hard)
    if target != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, max(target, hard)))
    if target != resource.RLIM_INFINITY and target < _LEAST:
        raise ConfigFault(
            Fault(
                what=f"only {target} files may be open", instead=f"allow {_LEAST} or more (ulimit -n, LimitNOFILE=)"
            )
        )


def _beyond(target: int, hard: int) -> int:
    """Privileged processes may raise the hard limit; the others make do with it."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, target))
    except (ValueError, PermissionError, OverflowError):
        log.get().warning("max_open_files_lowered", wanted=target, allowed=hard, reason="hard limit (ulimit -Hn)")
        return hard
    return target
