"""``kubelb status``, ``drain`` and ``undrain`` as an operator types them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from kubelb import __version__
from kubelb.cli import adminclient
from kubelb.config.model import pools as configured
from kubelb.config.values import Address
from kubelb.control.admin import Admin, Operations
from kubelb.control.commands import Command, Reply, Stop
from kubelb.control.sessions import Inquiry, Sessions
from kubelb.control.status import Clients, Pool, Probe, Server, Status
from kubelb.snapshot import State
from tests.support.eventually import eventually
from tests.support.identity import ask, keep, leave, name_of, refusing
from tests.support.log import DEADLINE
from tests.support.proxy import KUBELB, EchoServers, Proxy, a_config, a_proxy, echoes, gone, reserved, running
from tests.support.typed import typed

LONG = "the certificate is not valid for 10.0.0.2: " + "certificate verify failed; " * 8


def a_server(name: str, state: State = "up", ago: float = 0.5, **settings: object) -> Server:
    fields: dict[str, object] = {
        **{"name": name, "address": name, "state": state, "since": time.time() - ago, "reason": "", "tier": 0},
        **dict.fromkeys(("active", "opened", "bytes_up", "bytes_down", "dial_failures", "resets"), 0),
        **dict.fromkeys(("backup", "drained", "failing", "ramping"), False),
        "probe": None,
    }
    return Server(**{**fields, **settings})  # type: ignore[arg-type]


def a_status() -> Status:
    now = time.time()
    api = (
        a_server("10.0.0.1:6443", ago=200, active=12, opened=345, probe=Probe(at=now, seconds=0.0123, fault="")),
        a_server(
            "two.example:6443",
            "down",
            ago=7300,
            address="10.0.0.2:6443",
            reason=LONG,
            dial_failures=6,
            resets=7,
            tier=1,
            probe=Probe(at=now - 130, seconds=1, fault="no answer for 1 s"),
        ),
        a_server("[fd00::3]:6443", "draining", ago=500_000, backup=True, drained=True, failing=True, ramping=True),
    )
    return Status(
        version=__version__,
        pid=4321,
        snapshot=17,
        clients=Clients(active=13, accepted=999),
        pools=(
            Pool(name="kube-apiserver", balance="least_conn", servers=api),
            Pool(name="[red]odd[/]", balance="hash", servers=(a_server("10.0.0.9:1", "disabled"),)),
        ),
    )


@contextmanager
def showing(directory: Path, status: Status) -> Iterator[None]:
    """admin.sock that says this, and takes no command."""

    def refuse(_command: Command) -> Reply:
        raise AssertionError("status is only a question")

    def no_sessions(_asked: Inquiry) -> Sessions:
        return Sessions(sessions=(), unanswered=())

    def no_stop(_how: Stop) -> None:
        raise AssertionError("nor is there any other")

    def no_upgrade() -> int:
        raise AssertionError("nor any")

    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(directory / adminclient.NAME))
    sock.listen()
    operations = Operations(
        status=lambda: status,
        command=refuse,
        reload=tuple,
        upgrade=no_upgrade,
        sessions=no_sessions,
        stop=no_stop,
    )
    with Admin(sock, (), operations, lambda: status.clients):
        yield


def test_without_a_terminal_the_table_is_plain_and_whole(tmp_path: Path) -> None:
    with showing(tmp_path, a_status()):
        code, text, errors = typed("status", "--runtime-dir", str(tmp_path))
    assert (code, errors) == (0, "")
    assert "\x1b" not in text
    header, *lines = (line.strip() for line in text.splitlines())
    assert header == f"kubelb {__version__}, pid 4321, snapshot 17; 13 clients connected, 999 accepted"
    assert "pool kube-apiserver (least_conn)" in lines
    assert "pool [red]odd[/] (hash)" in lines
    rows = [re.split(r"  +", line) for line in lines if re.search(r":\d", line)]
    one, two, three, nine = rows
    assert one[:-1] == ["10.0.0.1:6443", "up", "3m", "12", "345", "0", "0"]
    assert re.fullmatch(r"12 ms, \d\.\d s ago", one[-1])
    assert two == [
        *("two.example:6443 at 10.0.0.2:6443", "down", "2h", LONG.strip(), "0", "0", "6", "7"),
        *("no answer for 1 s, 2m ago", "tier 1"),
    ]
    assert three == [
        *("[fd00::3]:6443", "draining", "5d", "0", "0", "0", "0"),
        *("none", "backup, drained, left out, slow start"),
    ]
    assert nine[:2] == ["10.0.0.9:1", "disabled"]


def test_on_a_terminal_states_have_colours_and_lines_its_width(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    environment.pop("NO_COLOR", None)
    command = [str(KUBELB), "status", "--runtime-dir", str(tmp_path)]
    with (
        showing(tmp_path, a_status()),
        subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process,
    ):
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        assert process.wait(DEADLINE) == 0
    os.close(ours)
    text = shown.decode()
    assert re.search(r"\x1b\[32mup", text)
    assert re.search(r"\x1b\[31mdown", text)
    plain = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert max(map(len, plain.splitlines())) <= 100
    assert "10.0.0.1:6443 " in plain


def _read(terminal: int) -> bytes:
    """Nothing at the end, which a terminal whose last user has gone says by EIO."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_json_is_the_answer_itself(tmp_path: Path) -> None:
    with showing(tmp_path, a_status()):
        code, text, errors = typed("status", "--json", "--runtime-dir", str(tmp_path))
        assert text == adminclient.status_json(tmp_path).decode() + "\n"
    assert (code, errors) == (0, "")
    assert json.loads(text)["pools"][0]["servers"][1]["probe"]["fault"] == "no answer for 1 s"


@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["drain", "a:1"], ["undrain", "a:1"]])
def test_no_kubelb_is_one_line(tmp_path: Path, words: list[str]) -> None:
    code, text, errors = typed(*words, "--runtime-dir", str(tmp_path))
    assert (code, text) == (1, "")
    assert errors == (
        f"kubelb {words[0]}: {tmp_path}/admin.sock: no such socket; is kubelb running, with this runtime directory?\n"
    )


@contextmanager
def two_servers(directory: Path) -> Iterator[tuple[Proxy, list[str]]]:
    """A proxy and the names of its servers, which are judged by dials alone."""
    with EchoServers(["127.0.0.1", "127.0.0.2"]) as servers, a_proxy(directory, servers.addresses) as proxy:
        yield proxy, [name_of(address) for address in servers.addresses]


def operate(proxy: Proxy, *words: str) -> tuple[int, str, str]:
    return typed(*words, "--runtime-dir", str(proxy.runtime_dir))


def reached(proxy: Proxy, sessions: int = 8) -> set[str]:
    """The servers that so many sessions, all open at the same time, are carried to."""
    with ExitStack() as stack:
        names = set()
        for _ in range(sessions):
            client, name = keep(proxy.address)
            stack.callback(leave, client)
            names.add(name)
        return names


def eventually_reached(proxy: Proxy, names: Sequence[str]) -> None:
    """Workers hear of a new snapshot a moment after control has decided it."""
    eventually(lambda: reached(proxy) == set(names), f"sessions go to {names}")


def test_a_drained_server_keeps_its_sessions_and_gets_no_other(tmp_path: Path) -> None:
    with two_servers(tmp_path) as (proxy, (one, two)):
        client, drained = keep(proxy.address)
        other = two if drained == one else one
        said = operate(proxy, "drain", drained)
        assert said == (0, f"{drained} (pool): draining, 1 session left\n", "")
        eventually_reached(proxy, [other])
        assert [reached(proxy) for _ in range(3)] == [{other}] * 3
        assert echoes(client)
        (server,) = (server for server in proxy.servers() if server.name == drained)
        assert (server.state, server.drained, server.active) == ("draining", True, 1)
        assert operate(proxy, "drain", drained) == (0, f"{drained} (pool): draining already, 1 session left\n", "")
        assert re.search(rf"{re.escape(drained)} +draining .* drained\n", operate(proxy, "status")[1])
        leave(client)
        assert operate(proxy, "undrain", drained) == (0, f"{drained} (pool): unknown, 0 sessions\n", "")
        eventually_reached(proxy, [one, two])
        assert operate(proxy, "undrain", drained)[1] == f"{drained} (pool): was not drained, unknown, 0 sessions\n"


def test_the_last_server_is_drained_with_a_warning(tmp_path: Path) -> None:
    with two_servers(tmp_path) as (proxy, (one, two)):
        assert operate(proxy, "drain", one)[2] == ""
        said = operate(proxy, "drain", two, "--pool", "pool")
        warning = "warning: pool pool has no other server: its new sessions are refused\n"
        assert said == (0, f"{two} (pool): draining, 0 sessions left\n", warning)
        eventually(lambda: _refuses(proxy), "sessions are refused")
        assert operate(proxy, "undrain", two)[2] == ""
        eventually(lambda: not _refuses(proxy), "they are served again")
        eventually_reached(proxy, [two])


def _refuses(proxy: Proxy) -> bool:
    try:
        return not ask(proxy.address)
    except ConnectionResetError:
        return True


def test_a_drain_outlives_the_process_that_took_it(tmp_path: Path) -> None:
    with two_servers(tmp_path) as (proxy, (one, two)):
        operate(proxy, "drain", one)
        eventually_reached(proxy, [two])
        control = proxy.control()
        control.kill()
        eventually(lambda: gone(control), "control has ended")
        assert [server.drained for server in proxy.servers()] == [True, False]
        assert reached(proxy) == {two}


def test_what_probes_have_found(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = stack.enter_context(EchoServers())
        (nobody,) = stack.enter_context(refusing(["127.0.0.1"]))
        config = a_config(stack.enter_context(reserved()), [*servers.addresses, nobody])
        probed = replace(config.pools["pool"], health=configured.Health(probe="tcp"))
        proxy = stack.enter_context(running(tmp_path, config=replace(config, pools={"pool": probed})))
        eventually(lambda: all(server.probe for server in proxy.servers()), "all are probed")
        text = operate(proxy, "status")[1]
    (name,) = map(name_of, servers.addresses)
    assert re.search(rf"^{re.escape(name)} +up .* [\d.]+ ms, \d\.\d s ago *$", text, re.MULTILINE)
    assert re.search(
        rf"^{re.escape(name_of(nobody))} +suspect .*connection refused.* connection refused, \d\.\d s ago *$",
        text,
        re.MULTILINE,
    )


def test_whom_nobody_knows_is_one_line(tmp_path: Path) -> None:
    with two_servers(tmp_path) as (proxy, (one, two)):
        for words, fault in (
            (["drain", "10.9.9.9:1"], f'no server "10.9.9.9:1"; there are: {one}, {two}'),
            (["undrain", one, "--pool", "pond"], 'no pool "pond"; there are: pool'),
            (["drain", "a\nb\udcff"], f'no server "a\\nb\\udcff"; there are: {one}, {two}'),
        ):
            assert operate(proxy, *words) == (1, "", f"kubelb {words[0]}: {fault}\n")
        assert reached(proxy) == {one, two}


def test_a_name_stands_for_all_its_addresses(tmp_path: Path) -> None:
    with reserved() as (_, port), reserved("127.0.0.2", port) as second:
        servers = [configured.Server(address=Address("localhost", port)), configured.Server(address=Address(*second))]
        with a_proxy(tmp_path, servers) as proxy:
            addresses = [server.address for server in proxy.servers() if server.name == f"localhost:{port}"]
            code, text, _ = operate(proxy, "drain", f"localhost:{port}")
    assert code == 0
    assert text.splitlines() == [
        f"localhost:{port} at {address} (pool): draining, 0 sessions left" for address in addresses
    ]
