"""One supervisor at a time in a runtime directory, also in the moment when one has just gone."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from kubelb.config.faults import ConfigFault
from kubelb.supervisor.pidfile import PidFile
from kubelb.supervisor.secondpid import SecondPid

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_one_at_a_time(tmp_path: Path) -> None:
    held = PidFile(tmp_path)
    with pytest.raises(ConfigFault, match=f"already runs on .* \\(pid {os.getpid()}\\)"):
        PidFile(tmp_path)
    held.remove()
    PidFile(tmp_path).remove()


def test_a_longer_number_leaves_nothing_behind(tmp_path: Path) -> None:
    """Of a supervisor that was killed, whose file is still there."""
    (tmp_path / "kubelb.pid").write_text("123456789012\n")
    held = PidFile(tmp_path)
    assert held.path.read_text() == f"{os.getpid()}\n"
    held.path.write_text("123456789012\n")
    held.write()
    assert held.path.read_text() == f"{os.getpid()}\n"
    held.remove()
    assert not held.path.exists()


def test_a_longer_number_in_a_second_file_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "nginx.pid"
    path.write_text("123456789012\n")
    second = SecondPid(str(path))
    second.write()
    assert path.read_text() == f"{os.getpid()}\n"
    second.remove()
    assert not path.exists()


def test_one_that_goes_while_another_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else that one would have the lock of a file that nobody finds, and a third one would run beside it."""
    going, lock = PidFile(tmp_path), fcntl.flock

    def late(fd: int, how: int) -> None:
        if not lock_was_asked_for:
            lock_was_asked_for.append(fd)
            going.remove()
        lock(fd, how)

    lock_was_asked_for: list[int] = []
    monkeypatch.setattr(fcntl, "flock", late)
    coming = PidFile(tmp_path)
    assert coming.path.read_text() == f"{os.getpid()}\n"
    with pytest.raises(ConfigFault):
        PidFile(tmp_path)
    coming.remove()
