"""Which descriptors systemd has passed, by what its variables in the environment say (sd_listen_fds(3)); pure."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from dataclasses import dataclass

from kubelb.config.faults import ConfigFault, Fault, toml_text

_FIRST = 3
"""SD_LISTEN_FDS_START: they are numbered from here on."""
_NUMBER = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True)
class Passed:
    """``name`` is ``FileDescriptorName=`` of the socket unit, else that unit's name; ``"unknown"`` if nobody says."""

    fd: int
    name: str

    def __str__(self) -> str:
        return f"{toml_text(self.name)} (descriptor {self.fd})"


def take(environment: MutableMapping[str, str], pid: int) -> tuple[Passed, ...]:
    """Those for the process ``pid``; nobody finds the variables in ``environment`` afterwards.

    Raises :class:`ConfigFault` if they do not fit together.
    """
    whose, count, names = (environment.pop(f"LISTEN_{word}", None) for word in ("PID", "FDS", "FDNAMES"))
    if whose != str(pid) or count is None:
        return ()
    if not _NUMBER.fullmatch(count):
        raise _fault(f'LISTEN_FDS is "{count}"', "it is the number of descriptors that are passed")
    known = ["unknown"] * int(count) if names is None else names.split(":")
    if int(count) and len(known) != int(count):
        raise _fault(f"LISTEN_FDNAMES has {len(known)} names for {count} descriptors", "it has one for each")
    return tuple(Passed(fd, name) for fd, name in enumerate(known[: int(count)], _FIRST))


def _fault(what: str, instead: str) -> ConfigFault:
    return ConfigFault(Fault(what=what, instead=instead))
