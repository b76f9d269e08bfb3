"""How a failure of the system is told of; pure."""

from __future__ import annotations


def reason_of(error: OSError) -> str:
    """What went wrong, as in the middle of a sentence."""
    return (error.strerror or str(error)).lower()
