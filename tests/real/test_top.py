"""``kubelb top`` in a real terminal: what it shows, its keys, and the terminal afterwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kubelb.config.model.config import Config
from tests.support.eventually import eventually
from tests.support.identity import keep, leave, name_of
from tests.support.proxy import KUBELB, EchoServers, Proxy, a_config, a_proxy, echoes, reserved, running, suspended
from tests.support.pseudo import Pseudo, in_terminal
from tests.support.typed import typed

pytestmark = pytest.mark.usefixtures("no_leaks")

RESTORED = "\x1b[?1049l"
"""Back from the alternate screen (xterm's control sequences)."""


@contextmanager
def top(runtime_dir: Path, every: float = 0.1) -> Iterator[Pseudo]:
    command = (str(KUBELB), "top", "--every", str(every), "--runtime-dir", str(runtime_dir))
    with in_terminal(*command) as terminal:
        yield terminal


def assert_left(terminal: Pseudo, status: int = 0) -> None:
    """It has ended, and the terminal is as it was."""
    assert terminal.wait() == status, terminal.text[-2000:]
    assert terminal.attributes() == terminal.before
    eventually(lambda: terminal.text.endswith(RESTORED), "the screen is as it was")
    assert "\x1b[?25h" in terminal.text, "the cursor is to be seen"
    assert "Traceback" not in terminal.text


def line_of(screen: list[str], text: str) -> str:
    return next((line for line in screen if text in line), "")


def title(screen: list[str]) -> str:
    """What is said of the sessions as a whole."""
    return screen[_heading(screen) - 1]


def listed(screen: list[str]) -> list[str]:
    """The sessions' lines."""
    return [line for line in screen[_heading(screen) + 1 : -1] if line.strip()]


def _heading(screen: list[str]) -> int:
    return next(number for number, line in enumerate(screen) if line.startswith("client "))


def test_servers_and_sessions_at_80_columns(tmp_path: Path, servers: EchoServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy, top(proxy.runtime_dir) as terminal:
        terminal.wait_for(lambda screen: "0 sessions, by rate" in title(screen), "nobody is there")
        clients = [keep(proxy.address)[0] for _ in range(3)]
        address = name_of(servers.addresses[0])
        screen = terminal.wait_for(lambda screen: len(listed(screen)) == 3, "all sessions are shown")
        assert screen[0].startswith(f"kubelb {proxy.status().version}, pid {proxy.pid}, snapshot ")
        server = terminal.wait_for(
            lambda screen: line_of(screen, f"{address}  ").split()[2:3] == ["3"], "the server has three"
        )[3]
        assert server.split()[:2] == [address, "unknown"]
        assert {line.split()[0] for line in listed(screen)} == {name_of(client.getsockname()) for client in clients}
        assert all(line.split()[1] == address for line in listed(screen))
        assert screen[-1].startswith(" q quit  s sort  r reverse")
        assert echoes(clients[1], b"x" * 5000)
        busy = name_of(clients[1].getsockname())
        terminal.wait_for(
            lambda screen: (
                listed(screen)[0].startswith(f"{busy} ")
                and listed(screen)[0].split()[4:6] == ["5.0k", "5.0k"]
                and listed(screen)[0].split()[6] != "0"
            ),
            "the one that moves bytes is the first",
        )
        terminal.type("q")
        assert_left(terminal)
        for client in clients:
            leave(client)


def test_the_keys(tmp_path: Path, servers: EchoServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy, top(proxy.runtime_dir) as terminal:
        clients = [keep(proxy.address)[0] for _ in range(30)]
        names = [name_of(client.getsockname()) for client in clients]
        terminal.wait_for(lambda screen: "30 sessions, 1 to 16, by rate" in title(screen), "as many as fit are shown")
        terminal.type("ss")
        terminal.wait_for(
            lambda screen: (
                "30 sessions, 1 to 16, by age" in title(screen)
                and [line.split()[0] for line in listed(screen)] == names[:16]
            ),
            "the oldest are the first",
        )
        terminal.type("r")
        terminal.wait_for(
            lambda screen: (
                "by age reversed" in title(screen) and [line.split()[0] for line in listed(screen)] == names[:-17:-1]
            ),
            "the youngest are the first",
        )
        terminal.type("j\x1b[Bj")
        terminal.wait_for(
            lambda screen: (
                "30 sessions, 4 to 19, by age reversed" in title(screen)
                and [line.split()[0] for line in listed(screen)] == names[-4:-20:-1]
            ),
            "it has scrolled",
        )
        terminal.type("G")
        terminal.wait_for(
            lambda screen: "30 sessions, 15 to 30, by age reversed" in title(screen), "the end is there"
        )
        terminal.type("\x1b[Ak")
        terminal.wait_for(
            lambda screen: "30 sessions, 13 to 28, by age reversed" in title(screen), "it has gone back"
        )
        terminal.type("p")
        terminal.wait_for(lambda screen: "[paused]" in screen[0], "it is paused")
        for client in clients:
            leave(client)
        eventually(lambda: proxy.status().clients.active == 0, "all have gone")
        drawn = terminal.drawn
        eventually(lambda: terminal.drawn > drawn + 3, "it has looked several times since")
        terminal.type("g")
        screen = terminal.wait_for(lambda screen: "30 sessions, 1 to 16" in title(screen), "the old picture stays")
        assert ", 30 clients" in screen[0]
        terminal.type("p")
        terminal.wait_for(lambda screen: "0 sessions" in title(screen) and ", 0 clients" in screen[0], "it goes on")
        terminal.type("q")
        assert_left(terminal)


def test_it_follows_the_size_of_the_terminal(tmp_path: Path, servers: EchoServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy, ExitStack() as stack:
        client = keep(proxy.address)[0]
        # Nothing else has it drawn anew.
        terminal = stack.enter_context(top(proxy.runtime_dir, every=3600))
        terminal.wait_for(lambda screen: len(listed(screen)) == 1, "the session is shown")
        for columns, lines in ((120, 40), (200, 12), (50, 10), (80, 24)):
            terminal.resize(columns, lines)
            screen = terminal.wait_for(
                lambda screen: screen[-1].startswith(" q quit") and len(listed(screen)) == 1, f"{columns}x{lines}"
            )
            assert {len(line) for line in screen} == {columns}
        for columns, lines in ((20, 4), (1, 1), (80, 24)):
            terminal.resize(columns, lines)
            terminal.wait_for(bool, f"{columns}x{lines}")
        terminal.type("q")
        assert_left(terminal)
        leave(client)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_cleanly(tmp_path: Path, servers: EchoServers, number: signal.Signals) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy, top(proxy.runtime_dir) as terminal:
        terminal.wait_for(bool, "there is something")
        terminal.process.send_signal(number)
        assert_left(terminal)


def test_ctrl_c_ends_it_cleanly(tmp_path: Path, servers: EchoServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy, top(proxy.runtime_dir) as terminal:
        terminal.wait_for(bool, "there is something")
        terminal.type("\x03")
        assert_left(terminal)


def test_ctrl_z_leaves_the_screen_and_it_comes_back(tmp_path: Path, servers: EchoServers) -> None:
    """Under a shell with job control, which says so, and lets it go on with ``fg``."""
    command = f"{KUBELB} top --runtime-dir {tmp_path / 'run'}"
    shell = ("bash", "--norc", "--noprofile", "-i")
    with a_proxy(tmp_path, servers.addresses), in_terminal(*shell, environment={"PS1": "ready> "}) as terminal:
        terminal.type(f"{command}\n")
        terminal.wait_for(lambda screen: "sessions, by rate" in "".join(screen), "it is shown")
        terminal.type("\x1a")
        eventually(lambda: re.search(r"1049l.*Stopped.*ready> $", terminal.text, re.DOTALL), "the shell is back")
        terminal.type("fg\n")
        eventually(lambda: terminal.text.count("\x1b[?1049h") == 2, "it is back")
        terminal.type("q")
        eventually(lambda: re.search(r"1049l.*1049l.*ready> $", terminal.text, re.DOTALL), "it has ended")


def test_it_says_that_the_proxy_does_not_answer_and_goes_on(tmp_path: Path, servers: EchoServers) -> None:
    with reserved() as listen:
        config = a_config(listen, servers.addresses)
        with restarted(tmp_path, config) as terminal:
            terminal.wait_for(
                lambda screen: re.match(r"no answer for \d+s: no such socket; is kubelb", screen[1]),
                "it says that nobody answers",
            )
            with running(tmp_path, config=config) as proxy:
                terminal.wait_for(
                    lambda screen: f", pid {proxy.pid}," in screen[0] and not screen[1].strip(), "it goes on"
                )
                stop_and_quit(proxy, terminal)


@contextmanager
def restarted(directory: Path, config: Config) -> Iterator[Pseudo]:
    """Within, the proxy that it has shown is gone."""
    with running(directory, config=config) as proxy, top(proxy.runtime_dir) as terminal:
        terminal.wait_for(lambda screen: f", pid {proxy.pid}," in screen[0], "it is shown")
        assert proxy.end() == 0
        yield terminal


def stop_and_quit(proxy: Proxy, terminal: Pseudo) -> None:
    """While the proxy stands still a key is heard all the same."""
    with suspended([proxy.control()]):
        terminal.type("q")
        assert_left(terminal)


def test_a_worker_that_does_not_answer_is_named(tmp_path: Path, servers: EchoServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy, top(proxy.runtime_dir) as terminal:
        terminal.wait_for(bool, "there is something")
        worker = proxy.workers()[0]
        with suspended([worker]):
            terminal.wait_for(
                lambda screen: f"no answer from worker {worker.pid}: sessions are missing" in screen[1], "it is named"
            )
        terminal.wait_for(lambda screen: not screen[1].strip(), "all answer")
        terminal.type("q")
        assert_left(terminal)


REFUSED = "kubelb top: this is no terminal that could show it; try kubelb status, kubelb sessions\n"


def test_without_a_terminal_it_says_so() -> None:
    assert typed("top") == (1, "", REFUSED)
    with in_terminal("sh", "-c", f"{KUBELB} top | cat; echo end") as terminal:
        assert terminal.wait() == 0
        eventually(lambda: terminal.text.endswith("end\r\n"), "it has ended")
        assert terminal.text == f"{REFUSED}end\n".replace("\n", "\r\n")
    with in_terminal(str(KUBELB), "top", environment={"TERM": "dumb"}) as terminal:
        assert terminal.wait() == 1


def test_without_a_proxy_it_says_so(tmp_path: Path) -> None:
    with top(tmp_path) as terminal:
        assert terminal.wait() == 1
        eventually(lambda: terminal.text.endswith("\n"), "it has said why")
        assert terminal.text.startswith(f"kubelb top: {tmp_path}/admin.sock: no such socket; is kubelb running")
        assert terminal.text.count("\n") == 1


def test_a_terminal_that_is_hung_up_ends_it(tmp_path: Path, servers: EchoServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy:
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            [str(KUBELB), "top", "--runtime-dir", str(proxy.runtime_dir)],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        os.close(theirs)
        heard = b""
        while b"q quit" not in heard:
            heard += os.read(ours, 4096)
        os.close(ours)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (1, b"")
