"""A file system that stands still: whoever writes there, or opens a file to write, waits until it goes on."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.requirements import missing, require_root

_FREEZE, _THAW = 0xC0045877, 0xC0045878
"""ioctl_fifreeze(2)."""


class FileSystem:
    def __init__(self, path: Path) -> None:
        self.path = path

    def freeze(self) -> None:
        self._control(_FREEZE)

    def thaw(self) -> None:
        self._control(_THAW)

    def _control(self, request: int) -> None:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, request, 0)
        finally:
            os.close(fd)


@contextmanager
def a_file_system(directory: Path) -> Iterator[FileSystem]:
    """One of its own, mounted in ``directory``; at the end it goes on, and is gone."""
    require_root()
    image, path = directory / "image", directory / "mounted"
    path.mkdir()
    if shutil.which("mkfs.ext4") is None:
        missing("mkfs.ext4")
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(path)], capture_output=True, check=False).returncode:
        missing("permission to mount a file system")
    file_system = FileSystem(path)
    try:
        yield file_system
    finally:
        with suppress(OSError):  # It goes on already.
            file_system.thaw()
        subprocess.run(["umount", "--lazy", str(path)], check=True)
