"""The one error of the bench."""

from __future__ import annotations

from kubelb.reasons import reason_of


class BenchFault(Exception):
    """A peer or a tool did not do its part; the text says which and how. The figures of that case are missing."""


def failed(error: OSError) -> str:
    """What the system would not do, and with which file."""
    return f"{error.filename}: {reason_of(error)}" if error.filename else reason_of(error)
