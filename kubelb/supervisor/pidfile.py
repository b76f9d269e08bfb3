"""The runtime directory: one supervisor in it at a time, its pid in ``kubelb.pid``."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from kubelb.config.faults import ConfigFault, Fault
from kubelb.reasons import reason_of


class PidFile:
    """Held by a lock on the file, which the kernel takes away with the process however that ends."""

    def __init__(self, runtime_dir: Path) -> None:
        """Raises :class:`ConfigFault` when another supervisor has the directory or it cannot be used."""
        self.path = runtime_dir / "kubelb.pid"
        try:
            runtime_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._fd = self._locked()
            while not _is_at(self.path, self._fd):
                # Whoever had it has removed it in between.
                os.close(self._fd)
                self._fd = self._locked()
        except OSError as error:
            raise ConfigFault(
                Fault(what=f"cannot use {runtime_dir}: {reason_of(error)}", instead="choose another --runtime-dir")
            ) from None
        try:
            self.write()
        except ConfigFault:
            self.remove()
            raise

    def _locked(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(self.path, flags, 0o644)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            # Somebody else has put it there, and it may be a file of somebody else's, which would be overwritten.
            os.close(fd)
            raise ConfigFault(Fault(what=f"{self.path} is no file of kubelb's", instead="remove it"))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(fd, 32).decode("ascii", "replace").strip()
            os.close(fd)
            raise ConfigFault(
                Fault(
                    what=f"kubelb already runs on {self.path.parent} (pid {pid})",
                    instead="stop it, or give this one its own --runtime-dir (in an nginx.conf: its own pid)",
                )
            ) from None
        return fd

    @classmethod
    def left(cls, runtime_dir: Path, fd: int) -> PidFile:
        """That of the supervisor before, with its lock; ``fd`` is this object's from now on.

        Raises :class:`ConfigFault` when it is another directory's.
        """
        held = cls.__new__(cls)
        held.path, held._fd = runtime_dir / "kubelb.pid", fd
        if not _is_at(held.path, fd):
            raise ConfigFault(
                Fault(what=f"kubelb does not run on {runtime_dir}", instead="runtime_dir changes by a restart only")
            )
        return held

    def write(self) -> None:
        """It is this process that runs. Raises :class:`ConfigFault` where there is no room for that."""
        text = f"{os.getpid()}\n".encode()
        try:
            os.pwrite(self._fd, text, 0)
            os.ftruncate(self._fd, len(text))
        except OSError as error:
            what = f"cannot write {self.path}: {reason_of(error)}"
            raise ConfigFault(Fault(what=what, instead="make room there, or choose another --runtime-dir")) from None

    def fileno(self) -> int:
        return self._fd

    def remove(self) -> None:
        """At the end of the supervisor."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go without ending the claim of whoever else has the descriptor."""
        os.close(self._fd)


def _is_at(path: Path, fd: int) -> bool:
    """Whether this is that file."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except OSError:
        return False
