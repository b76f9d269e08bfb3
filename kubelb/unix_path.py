"""Names a unix socket by a path that a socket address has room for (unix(7): 108 bytes with the end of the text).

A runtime directory may be deep: nginx's prefix decides where it is, and nginx itself keeps no socket there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubelb.config.values import MAX_UNIX_PATH


@contextmanager
def within_reach(path: Path) -> Iterator[str]:
    """The path, or a short one that leads to the same file as long as the context lasts.

    Raises :class:`OSError` where the directory of a path that is too long cannot be opened.
    """
    if len(os.fsencode(path)) <= MAX_UNIX_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
