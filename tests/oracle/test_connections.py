"""How many sessions a worker has by ``worker_connections``: as many as nginx's."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import keep, name_of
from tests.support.nginx import PREAMBLE, listen, running_nginx
from tests.support.proxy import reserved, started

KUBELB_NGINX = str(Path(sys.executable).with_name("kubelb-nginx"))
_CLIENTS = 5


def _served(address: SocketAddress) -> list[bool]:
    """Of so many clients that stay, one after the other, who is."""
    with ExitStack() as stack:
        clients = [keep(address) for _ in range(_CLIENTS)]
        for client, _ in clients:
            stack.enter_context(client)
        return [bool(name) for _, name in clients]


def _config(main: str, most: int, listening: list[SocketAddress], server: SocketAddress) -> str:
    listens = " ".join(f"listen {name_of(address)};" for address in listening)
    events = f"events {{ worker_connections {most}; }}"
    return f"{main}worker_processes 1;\n{events}\nstream {{ server {{ {listens} proxy_pass {name_of(server)}; }} }}\n"


@pytest.mark.parametrize("addresses", [1, 2])
@pytest.mark.parametrize("most", [4, 5, 6, 7, 8, 9])
def test_as_many_as_nginx(tmp_path: Path, staying: list[SocketAddress], most: int, addresses: int) -> None:
    server = staying[0]
    with ExitStack() as stack:
        sockets = [listen() for _ in range(addresses)]
        listening = [sock.getsockname() for sock in sockets]
        stack.enter_context(running_nginx(tmp_path, _config(PREAMBLE, most, listening, server), sockets))
        theirs = _served(listening[0])
    conf = tmp_path / "kubelb.conf"
    with ExitStack() as stack:
        listening = [stack.enter_context(reserved()) for _ in range(addresses)]
        conf.write_text(_config(f"pid {tmp_path}/kubelb.pid;\ndaemon off;\n", most, listening, server))
        proxy = stack.enter_context(started([KUBELB_NGINX, "-c", str(conf)], tmp_path / "kubelb.kubelb"))
        assert _served(listening[0]) == theirs
        if not all(theirs):
            proxy.log.wait_for("max_connections_reached")
        eventually(lambda: any(_served(listening[0])) == any(theirs), "room again")
