"""Who may come in under ``limit_conn``, over two workers: as many as nginx lets in, and the same ones."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import keep, leave, name_of
from tests.support.nginx import PREAMBLE, listen, running_nginx
from tests.support.proxy import reserved, running

ZONES = """limit_conn_zone $remote_addr zone=addr:1m; limit_conn_zone $server_addr zone=all:1m;
limit_conn_zone $proxy_protocol_addr zone=none:1m;
log_format line '$status $limit_conn_status $remote_addr';"""
ONE, TWO, THREE = (f"127.0.0.{last}" for last in (77, 78, 79))


class Case(NamedTuple):
    stream: str
    server: str
    come: tuple[str, ...]
    served: tuple[bool, ...]


CASES = {
    "one address": Case("", "limit_conn addr 2;", (ONE, ONE, ONE, TWO), (True, True, False, True)),
    "inherited": Case("limit_conn addr 1;", "", (ONE, ONE), (True, False)),
    "in its place": Case("limit_conn addr 1;", "limit_conn all 2;", (ONE, ONE, ONE), (True, True, False)),
    "both": Case(
        "", "limit_conn addr 2; limit_conn all 3;", (ONE, ONE, ONE, TWO, THREE), (True, True, False, True, False)
    ),
    "dry run": Case("limit_conn_dry_run on;", "limit_conn all 1;", (ONE, ONE, ONE), (True, True, True)),
    "no key": Case("", "limit_conn none 1;", (ONE, ONE), (True, True)),
    "before deny": Case(f"deny {ONE};", "limit_conn all 1;", (TWO, ONE), (True, False)),
}


def _come(address: SocketAddress, case: Case) -> list[bool]:
    """Who is served, one after the other; at last they leave."""
    with ExitStack() as stack:
        clients: list[tuple[socket.socket, str]] = []
        for source in case.come:
            clients.append(keep(address, source))
            stack.enter_context(clients[-1][0])
        for client, _ in clients:
            leave(client)
        return [bool(name) for _, name in clients]


def _config(case: Case, at: SocketAddress, server: SocketAddress, log: Path, workers: int) -> str:
    own = f"listen {name_of(at)}; proxy_pass {name_of(server)}; {case.server}"
    return f"""worker_processes {workers};
events {{}}
stream {{ {ZONES} access_log {log} line; {case.stream} server {{ {own} }} }}
"""


def _lines(log: Path, count: int) -> Sequence[str]:
    eventually(lambda: log.exists() and len(log.read_text().splitlines()) == count, f"{count} lines")
    return sorted(log.read_text().splitlines())


@pytest.mark.parametrize("name", CASES)
def test_as_many_as_nginx(tmp_path: Path, staying: list[SocketAddress], name: str) -> None:
    case, server = CASES[name], staying[0]
    sock = listen()
    at = sock.getsockname()
    with running_nginx(tmp_path, PREAMBLE + _config(case, at, server, tmp_path / "nginx.log", 1), [sock]):
        theirs = _come(at, case)
        their_lines = _lines(tmp_path / "nginx.log", len(case.come))
    with reserved() as at:
        (tmp_path / "kubelb.conf").write_text(_config(case, at, server, tmp_path / "kubelb.log", 2))
        with running(tmp_path, "--nginx-conf", str(tmp_path / "kubelb.conf")) as proxy:
            ours = _come(at, case)
            our_lines = _lines(tmp_path / "kubelb.log", len(case.come))
            assert _come(at, case) == ours
            told = proxy.log.events("limiting_connections")
            assert bool(told) == any("REJECTED" in line for line in our_lines)
    assert theirs == list(case.served)
    assert ours == theirs
    assert our_lines == their_lines
