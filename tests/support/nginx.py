"""A real nginx for a test: its own directory and ports, started as a child and ended by its pid.

nginx cannot listen on port 0, but it takes over listening sockets that it inherits (its binary upgrade): the test
binds what the kernel gives (:func:`listen`), writes the ports into the configuration and hands the sockets on. So no
port is guessed, and a client may connect at once.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support import debian
from tests.support.requirements import missing as missing

ERROR_LOG = "error.log"
STREAM_MODULE = Path(debian.STREAM_MODULE)
PREAMBLE = f"""\
load_module {STREAM_MODULE};
pid nginx.pid;
error_log stderr notice;
"""
"""What a configuration for :func:`running_nginx` begins with."""


def require_nginx() -> str:
    """The path of nginx; without it, or without its stream module, the test does not run."""
    debian.provided(str(STREAM_MODULE))
    return debian.provided("nginx")


def listen(host: str = "127.0.0.1") -> socket.socket:
    """A listening socket on a port of the kernel's choice."""
    return socket.create_server((host, 0), backlog=511)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Its exit status. A master that is told to end before it waits for signals thinks of that at the next one."""
    while True:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(1)


@contextmanager
def running_nginx(
    directory: Path, config: str, listeners: Sequence[socket.socket], *, under: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run nginx on ``config`` with ``directory`` as its prefix; leave when it has ended.

    ``listeners`` become nginx's own where ``config`` listens on their addresses, and are closed here. nginx 1.22
    crashes on them with ``master_process off``. ``under`` is a command that ends by becoming the one after it.
    Raises :class:`AssertionError` with nginx's log when it did not run to the end.
    """
    command = [*under, require_nginx(), "-p", str(directory), "-c", "nginx.conf", "-g", "daemon off;"]
    (directory / "nginx.conf").write_text(config)
    fds = [listener.fileno() for listener in listeners]
    inherited = {"NGINX": "".join(f"{fd};" for fd in fds)} if fds else {}
    with (directory / ERROR_LOG).open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **inherited}, pass_fds=fds, stderr=log)
    for listener in listeners:
        listener.close()
    try:
        yield process
    finally:
        if _end(process) not in (0, -signal.SIGTERM):
            raise AssertionError(f"nginx ended with {process.returncode}: {(directory / ERROR_LOG).read_text()}")
