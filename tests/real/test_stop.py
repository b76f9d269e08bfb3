"""``kubelb stop``: the running proxy has gone when the command returns."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.config.values import Duration
from tests.support.eventually import eventually
from tests.support.identity import keep, leave
from tests.support.log import DEADLINE
from tests.support.proxy import KUBELB, EchoServers, Proxy, a_proxy, echoes

pytestmark = pytest.mark.usefixtures("no_leaks")


@contextmanager
def stopping(directory: Path, *flags: str, stderr: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    command = [str(KUBELB), "stop", "--runtime-dir", str(directory / "run"), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def stop(directory: Path, *flags: str) -> tuple[int, str, str]:
    """Exit status and what it prints."""
    with stopping(directory, *flags) as process:
        out, errors = process.communicate(timeout=DEADLINE)
        return process.returncode, out, errors


def assert_gone(proxy: Proxy, children: list[psutil.Process]) -> None:
    """At once: nothing of it is left but, for a moment, the supervisor's own exit."""
    assert list(proxy.runtime_dir.iterdir()) == []
    assert not any(child.is_running() for child in children)
    assert proxy.wait() == 0


def test_at_once(tmp_path: Path) -> None:
    with EchoServers() as servers, a_proxy(tmp_path, servers.addresses) as proxy, keep(proxy.address)[0] as client:
        children = proxy.children()
        assert stop(tmp_path) == (0, "", "")
        assert_gone(proxy, children)
        assert [record["how"] for record in proxy.log.events("stopping")] == ["stopping"]
        with suppress(ConnectionError):
            assert not echoes(client)


def test_gracefully_and_told_of_on_a_terminal(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = stack.enter_context(EchoServers())
        proxy = stack.enter_context(a_proxy(tmp_path, servers.addresses))
        client = stack.enter_context(keep(proxy.address)[0])
        children = proxy.children()
        terminal, its_end = pty.openpty()
        screen = stack.enter_context(os.fdopen(terminal, "rb"))
        quiet = stack.enter_context(stopping(tmp_path, "--graceful"))
        told = stack.enter_context(stopping(tmp_path, "--graceful", stderr=its_end))
        os.close(its_end)
        assert screen.readline() == b"1 session left\r\n"
        assert echoes(client)
        assert (quiet.poll(), told.poll()) == (None, None)
        leave(client)
        assert quiet.communicate(timeout=DEADLINE) == ("", "")
        assert (quiet.returncode, told.wait(DEADLINE)) == (0, 0)
        assert_gone(proxy, children)
        assert [record["how"] for record in proxy.log.events("stopping")] == ["draining", "stopping"]


def test_gracefully_for_as_long_as_is_configured(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = stack.enter_context(EchoServers())
        proxy = stack.enter_context(a_proxy(tmp_path, servers.addresses, shutdown_timeout=Duration(0.1)))
        stack.enter_context(keep(proxy.address)[0])
        children = proxy.children()
        assert stop(tmp_path, "--graceful") == (0, "", "")
        assert_gone(proxy, children)


def test_at_once_ends_a_graceful_one(tmp_path: Path) -> None:
    with EchoServers() as servers, a_proxy(tmp_path, servers.addresses) as proxy, keep(proxy.address)[0]:
        children = proxy.children()
        with stopping(tmp_path, "--graceful") as graceful:
            proxy.log.wait_for("stopping", how="draining")
            assert stop(tmp_path) == (0, "", "")
            assert graceful.communicate(timeout=DEADLINE) == ("", "")
            assert graceful.returncode == 0
        assert_gone(proxy, children)


def test_after_an_upgrade(tmp_path: Path) -> None:
    with EchoServers() as servers, a_proxy(tmp_path, servers.addresses) as proxy, keep(proxy.address)[0]:
        proxy.upgrade()
        children = [proxy.supervisor, *proxy.children()]
        assert stop(tmp_path) == (0, "", "")
        eventually(lambda: not any(child.is_running() for child in children), "init has taken note")
        assert list(proxy.runtime_dir.iterdir()) == []


def test_nobody_runs(tmp_path: Path) -> None:
    where = tmp_path / "run" / "kubelb.pid"
    line = f"kubelb stop: {where}: no such file; is kubelb running, with this runtime directory?\n"
    assert stop(tmp_path) == (1, "", line)


def test_it_was_killed_before(tmp_path: Path) -> None:
    with EchoServers() as servers, a_proxy(tmp_path, servers.addresses) as proxy:
        children = proxy.children()
        proxy.process.kill()
        proxy.process.wait()
        psutil.wait_procs(children, DEADLINE)
        line = f"kubelb stop: {proxy.runtime_dir / 'admin.sock'}: nobody listens; kubelb is not running any more\n"
        assert stop(tmp_path, "--graceful") == (1, "", line)


_WHOLE = b"HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nstopping"


def answered(directory: Path, answer: bytes, gracefully: bool = False) -> bytes:
    """What a control process is asked that says so much and is gone. Raises what the one who asks does."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())
        listening = stack.enter_context(socket.create_server(str(directory / "admin.sock"), family=socket.AF_UNIX))
        asked = pool.submit(adminclient.stop, directory, gracefully)
        control, _ = listening.accept()
        with control:
            request = b""
            while not request.endswith(b"}"):
                request += control.recv(4096)
            control.sendall(answer)
        asked.result(DEADLINE)
    return request


@pytest.mark.parametrize("gracefully", [False, True])
@pytest.mark.parametrize("size", [0, 16, len(_WHOLE) - 3, len(_WHOLE)])
def test_the_end_may_come_before_the_answer(tmp_path: Path, size: int, gracefully: bool) -> None:
    head, _, body = answered(tmp_path, _WHOLE[:size], gracefully).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /stop HTTP/1.1\r\n")
    assert json.loads(body) == {"gracefully": gracefully}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nstopping",
        b"HTTP/1.1 500",
        b"no such thing\r\n",
    ],
)
def test_another_answer_is_no_end(tmp_path: Path, answer: bytes) -> None:
    with pytest.raises(AdminFault):
        answered(tmp_path, answer)


def test_silence_is_no_end(tmp_path: Path) -> None:
    with (
        socket.create_server(str(tmp_path / "admin.sock"), family=socket.AF_UNIX),
        pytest.raises(AdminFault, match="no answer in time"),
    ):
        adminclient.stop(tmp_path, gracefully=False, timeout=0.05)
