"""A stand-in as a child process: started, killed, started again on the same port.

The pipe to its standard input is this object's: when the starter dies in whatever way, the pipe closes and
the stand-in ends.
"""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

_START = 10.0
"""Seconds a stand-in may take until it listens."""
_STOP = 5.0
"""Seconds it may take to end by itself."""


class StandinFault(Exception):
    """A stand-in did not start; the text says why, in one line."""


class Standin:
    """One stand-in. Use it from one thread."""

    def __init__(self, name: str, certificate: Path, host: str = "127.0.0.1", port: int = 0) -> None:
        """Not started yet; with port 0 the first start takes a free port and later ones the same again."""
        self.name = name
        self.host = host
        self.port = port
        self._certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """None when not started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Returns once it listens. Raises :class:`StandinFault`."""
        command = [sys.executable, "-m", "kubelb.standin.apiserver", "--name", self.name]
        command += ["--listen", self.address, "--certificate", str(self._certificate)]
        # A session of its own, so that Ctrl-C reaches only who started it.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        line = _first_line(self._process, _START)
        if not line.startswith("listening "):
            self.kill()
            raise StandinFault(f"stand-in {self.name} did not start: {line or 'it said nothing'}")
        self.port = int(line.rpartition(":")[2])

    def set_ready(self, ready: bool) -> None:
        """What its ``/readyz`` says, very soon; it serves as before. It has been started."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR2 if ready else signal.SIGUSR1)

    def kill(self) -> None:
        """At once, as a machine's death would: its connections are cut and its port is refused."""
        if self._process is not None:
            self._process.kill()
            self._forget(self._process)

    def stop(self) -> None:
        """Let it end by itself; harmless when it is dead."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._forget(self._process)

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    def __enter__(self) -> Standin:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _first_line(process: subprocess.Popen[bytes], seconds: float) -> str:
    """What ``process`` says first, without the line's end; as much as there is of it when it ends or time is up."""
    assert process.stdout is not None
    output = select.poll()
    output.register(process.stdout, select.POLLIN)
    deadline, text = time.monotonic() + seconds, b""
    while b"\n" not in text and (left := deadline - time.monotonic()) > 0:
        if output.poll(left * 1000):
            piece = process.stdout.read1(4096)  # type: ignore[attr-defined]
            if not piece:
                break
            text += piece
    return text.partition(b"\n")[0].decode(errors="replace").strip()
