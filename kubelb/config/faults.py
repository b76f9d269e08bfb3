"""What is wrong with the operator's input, and where; pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the operator has to mend.

    ``file`` and ``line`` say where it stands (``line`` counts from 1, None where the form has no lines),
    ``path`` is the setting's key path (``pool.api.servers[1].weight``), ``what`` is wrong, ``instead`` would
    be right.
    """

    what: str
    file: str | None = None
    line: int | None = None
    path: str | None = None
    instead: str | None = None

    def __str__(self) -> str:
        place = self.file or ""
        if self.file and self.line is not None:
            place += f":{self.line}"
        parts = [part for part in (place, self.path, self.what) if part]
        text = ": ".join(parts)
        return f"{text}; {self.instead}" if self.instead else text


class ConfigFault(Exception):
    """The configuration cannot be used. Carries every fault that was found, each fit to be shown as one line."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults: Sequence[Fault] = faults
