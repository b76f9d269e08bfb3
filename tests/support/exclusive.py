"""What only one test of this machine may use at a time, whatever process it runs in."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def only_one(name: str) -> Iterator[None]:
    """Wait until nobody else is within."""
    with (Path(tempfile.gettempdir()) / f"kubelb-tests-{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
