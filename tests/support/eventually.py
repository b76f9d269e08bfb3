"""Waits for a condition instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T | None], what: str, deadline: float = 30.0) -> T:
    """What ``condition`` returns as soon as that is true; it is asked again and again for ``deadline`` seconds.

    Raises :class:`AssertionError`, with ``what`` was waited for, when it never is.
    """
    give_up_at = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not within {deadline:g} seconds: {what}")
        time.sleep(0.002)
    return value
