"""A command in a real pseudo-terminal: what it shows, what is typed, and how the terminal is afterwards.

A thread reads all that is written, so the command never waits for it. The screen is what has been written since the
cursor last went to its upper left corner: for commands that draw it as a whole.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from tests.support.eventually import eventually

_HOME = "\x1b[H"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
DEADLINE = 60


class Pseudo:
    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Of 80 columns and 24 lines."""
        self._ours, self._theirs = os.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(self._theirs)
        self.process = subprocess.Popen(
            command,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )
        self._text = ""
        self._thread = threading.Thread(target=self._read, name="pseudo-terminal")
        self._thread.start()

    def _read(self) -> None:
        heard = b""
        # EIO: nobody has the other end open any more.
        with suppress(OSError):
            while data := os.read(self._ours, 65536):
                heard += data
                self._text = heard.decode(errors="replace")

    @property
    def text(self) -> str:
        """All that was written."""
        return self._text

    @property
    def drawn(self) -> int:
        """How often the screen was drawn."""
        return self._text.count(_HOME)

    def resize(self, columns: int, lines: int) -> None:
        self._size = (columns, lines)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def screen(self) -> list[str]:
        """The lines of the newest whole picture of the present size; none: there is no such yet."""
        columns, lines = self._size
        for drawn in reversed(self._text.split(_HOME)):
            shown = [line.rstrip("\r") for line in _CONTROL.sub("", drawn).split("\n")]
            if len(shown) == lines and len(shown[-1]) == columns == len(shown[0]):
                return shown
        return []

    def wait_for(self, condition: Callable[[list[str]], Any], what: str) -> list[str]:
        """A screen that is so."""

        def found() -> list[str] | None:
            screen = self.screen()
            return screen if screen and condition(screen) else None

        try:
            return eventually(found, what, DEADLINE)
        except AssertionError as error:
            raise AssertionError(f"{error}; there is: {self._text[-4000:]}") from None

    def attributes(self) -> list[Any]:
        """Of the terminal."""
        return termios.tcgetattr(self._theirs)

    def wait(self) -> int:
        """The command's exit status."""
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._theirs)
        self._thread.join()
        os.close(self._ours)


@contextmanager
def in_terminal(*command: str, environment: Mapping[str, str] | None = None) -> Iterator[Pseudo]:
    """It runs within, or has ended, and is killed at the end."""
    pseudo = Pseudo(command, environment or {})
    try:
        yield pseudo
    finally:
        pseudo.close()
