"""Being somebody whom files can be closed to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read every file; as nobody it may not."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def open_to_all(directory: Path) -> None:
    """Have everybody reach what is in it."""
    for closed in (directory, *directory.parents):
        mode = closed.stat().st_mode
        if mode & 0o055 != 0o055:
            closed.chmod(mode | 0o055)
