"""Unix sockets on both sides: clients and servers see the same before kubelb as before nginx."""

from __future__ import annotations

import select
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.eventually import eventually
from tests.support.nginx import PREAMBLE, listen, running_nginx
from tests.support.proxy import reserved, started

_KUBELB_NGINX = str(Path(sys.executable).with_name("kubelb-nginx"))
_DEADLINE = 30.0
_BULK = bytes(range(256)) * 4096
_FORMAT = "$remote_addr|$remote_port|$binary_remote_addr|$server_addr|$server_port|$upstream_addr|$status|$bytes_sent"

Where = str | tuple[str, int]


class _Side(NamedTuple):
    """One of the two proxies: where its clients connect to, by name, and where its servers listen."""

    directory: Path
    clients: dict[str, Where]
    servers: dict[str, socket.socket]

    def connect(self, client: str, bound: str | None = None) -> socket.socket:
        where = self.clients[client]
        sock = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
        sock.settimeout(_DEADLINE)
        if bound is not None:
            sock.bind(str(self.directory / bound))
        sock.connect(where)
        return sock

    def pair(self, way: str) -> tuple[socket.socket, socket.socket]:
        """A client, and what the server accepts for it."""
        client = self.connect(way)
        server, _ = self.servers[way.partition("-")[2]].accept()
        server.settimeout(_DEADLINE)
        return client, server

    def masked(self, text: str) -> str:
        return text.replace(str(self.directory), "")


_WAYS = ("unix-unix", "unix-tcp", "tcp-unix")


def _config(directory: Path, tcp: str, server: str, half_close: str) -> str:
    unix = f"unix:{directory}"
    return f"""
    events {{}}
    stream {{
        log_format all '{_FORMAT}';
        proxy_half_close {half_close};
        upstream first {{ server {unix}/nobody.sock max_fails=0; server {unix}/server.sock backup; }}
        map $remote_addr $where {{ unix: {unix}/server.sock; default first; }}
        server {{ listen UNIX:{directory}/unix-unix.sock; proxy_pass unix:{directory}/server.sock;
            access_log {directory}/access.log all; }}
        server {{ listen {unix}/unix-tcp.sock; proxy_pass {server}; }}
        server {{ listen {tcp}; proxy_pass first; }}
        server {{ listen {unix}/told.sock; proxy_pass first; proxy_protocol on; }}
        server {{ listen {unix}/where.sock; proxy_pass $where; }}
        server {{ listen {unix}/denied.sock; deny unix:; proxy_pass first; }}
        server {{ listen {unix}/return.sock; return "$remote_addr|$server_addr"; }}
        server {{ listen {unix}/nobody-there.sock; proxy_pass {unix}/nobody.sock; }}
        server {{ listen {unix}/from.sock; proxy_bind 127.0.0.1; proxy_pass first; }}
    }}
    """


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client, suppress(FileNotFoundError, ConnectionRefusedError):
        client.settimeout(_DEADLINE)
        client.connect(str(path))
        return bool(client.recv(1))
    return False


@contextmanager
def _nginx(directory: Path, half_close: str) -> Iterator[_Side]:
    directory.mkdir()
    with ExitStack() as stack:
        servers = _servers(directory, stack)
        tcp = listen()
        address = tcp.getsockname()
        text = _config(
            directory, f"127.0.0.1:{address[1]}", f"127.0.0.1:{servers['tcp'].getsockname()[1]}", half_close
        )
        stack.enter_context(running_nginx(directory, PREAMBLE + "worker_processes 1; user root;" + text, [tcp]))
        # Told to end before a worker serves, nginx may leave its files, or think of that at the next signal only.
        eventually(lambda: _answers(directory / "return.sock"), "nginx serves")
        yield _side(directory, address, servers)


@contextmanager
def _kubelb(directory: Path, half_close: str) -> Iterator[_Side]:
    directory.mkdir()
    with ExitStack() as stack:
        servers = _servers(directory, stack)
        address = stack.enter_context(reserved())
        text = _config(
            directory, f"127.0.0.1:{address[1]}", f"127.0.0.1:{servers['tcp'].getsockname()[1]}", half_close
        )
        conf = directory / "nginx.conf"
        conf.write_text(f"daemon off; pid {directory}/nginx.pid;" + text)
        stack.enter_context(started([_KUBELB_NGINX, "-c", str(conf)], Path(f"{directory}/nginx.kubelb")))
        yield _side(directory, address, servers)


def _servers(directory: Path, stack: ExitStack) -> dict[str, socket.socket]:
    unix = stack.enter_context(socket.socket(socket.AF_UNIX))
    unix.bind(str(directory / "server.sock"))
    unix.listen()
    tcp = stack.enter_context(listen())
    for sock in (unix, tcp):
        sock.settimeout(_DEADLINE)
    return {"unix": unix, "tcp": tcp}


def _side(directory: Path, address: tuple[str, int], servers: dict[str, socket.socket]) -> _Side:
    names = ("unix-unix", "unix-tcp", "told", "where", "denied", "return", "nobody-there", "from")
    clients: dict[str, Where] = {name: str(directory / f"{name}.sock") for name in names}
    return _Side(directory, clients | {"tcp-unix": address}, servers)


@pytest.fixture(scope="module", params=["off", "on"])
def sides(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[_Side, _Side]]:
    directory = tmp_path_factory.mktemp("unix")
    with _nginx(directory / "n", request.param) as theirs, _kubelb(directory / "k", request.param) as ours:
        yield theirs, ours


def _rest(sock: socket.socket) -> tuple[bytes, str]:
    """What still comes, and how it ends."""
    heard = b""
    try:
        while piece := sock.recv(1 << 16):
            heard += piece
    except ConnectionResetError:
        return heard, "reset"
    return heard, "end"


def _both_speak_and_the_client_ends(client: socket.socket, server: socket.socket) -> object:
    client.sendall(b"question")
    question = server.recv(100)
    server.sendall(b"answer")
    answer = client.recv(100)
    client.shutdown(socket.SHUT_WR)
    seen = _rest(server)
    server.close()
    return question, answer, seen, _rest(client)


def _both_speak_and_the_server_ends(client: socket.socket, server: socket.socket) -> object:
    server.sendall(b"welcome")
    welcome = client.recv(100)
    server.shutdown(socket.SHUT_WR)
    seen = _rest(client)
    client.close()
    return welcome, seen, _rest(server)


def _the_client_says_much_and_is_gone(client: socket.socket, server: socket.socket) -> object:
    return _pour(client, server)


def _the_server_says_much_and_is_gone(client: socket.socket, server: socket.socket) -> object:
    return _pour(server, client)


def _pour(source: socket.socket, sink: socket.socket) -> object:
    heard = b""
    left = memoryview(_BULK)
    source.setblocking(False)
    while left:
        try:
            left = left[source.send(left) :]
        except BlockingIOError:
            heard += sink.recv(1 << 16)
    source.close()
    rest, end = _rest(sink)
    return heard + rest == _BULK, end


def _the_client_speaks_and_is_gone(client: socket.socket, server: socket.socket) -> object:
    client.sendall(b"farewell")
    client.close()
    return _rest(server)


def _the_server_speaks_and_is_gone(client: socket.socket, server: socket.socket) -> object:
    server.sendall(b"farewell")
    server.close()
    return _rest(client)


def _the_client_ends_and_is_gone(client: socket.socket, server: socket.socket) -> object:
    client.sendall(b"farewell")
    client.shutdown(socket.SHUT_WR)
    heard = server.recv(100)
    client.close()
    return heard, _rest(server)


def _nobody_says_anything(client: socket.socket, server: socket.socket) -> object:
    client.close()
    return _rest(server)


_SCENES = (
    _both_speak_and_the_client_ends,
    _both_speak_and_the_server_ends,
    _the_client_says_much_and_is_gone,
    _the_server_says_much_and_is_gone,
    _the_client_speaks_and_is_gone,
    _the_server_speaks_and_is_gone,
    _the_client_ends_and_is_gone,
    _nobody_says_anything,
)


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("scene", _SCENES, ids=lambda scene: scene.__name__.strip("_"))
def test_both_see_the_same(
    sides: tuple[_Side, _Side], way: str, scene: Callable[[socket.socket, socket.socket], object]
) -> None:
    theirs, ours = (_played(side, way, scene) for side in sides)
    assert ours == theirs


def _played(side: _Side, way: str, scene: Callable[[socket.socket, socket.socket], object]) -> object:
    client, server = side.pair(way)
    with client, server:
        return scene(client, server)


@pytest.mark.parametrize("where", ["denied", "nobody-there", "from", "return"])
def test_what_a_client_is_told(sides: tuple[_Side, _Side], where: str) -> None:
    theirs, ours = (_told(side, where) for side in sides)
    assert ours == theirs


def _told(side: _Side, where: str) -> tuple[str, str]:
    with side.connect(where) as client:
        heard, end = _rest(client)
    return side.masked(heard.decode()), end


@pytest.mark.parametrize("where", ["told", "where"])
def test_what_a_server_is_told(sides: tuple[_Side, _Side], where: str) -> None:
    theirs, ours = (_heard(side, where) for side in sides)
    assert ours == theirs


def _heard(side: _Side, where: str) -> tuple[bytes, str]:
    with side.connect(where) as client:
        server, _ = side.servers["unix"].accept()
        with server:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            return _rest(server)


@pytest.mark.parametrize("bound", [None, "client.sock"])
def test_the_access_log(sides: tuple[_Side, _Side], bound: str | None) -> None:
    theirs, ours = (_line(side, bound) for side in sides)
    assert ours == theirs
    assert "|unix:/server.sock|200|" in ours


def _line(side: _Side, bound: str | None) -> str:
    log = side.directory / "access.log"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    with side.connect("unix-unix", bound) as client:
        server, _ = side.servers["unix"].accept()
        with server:
            server.sendall(b"hello")
            assert client.recv(100) == b"hello"
            client.shutdown(socket.SHUT_WR)
    (line,) = eventually(lambda: log.read_text().splitlines()[before:], "a line")
    return side.masked(line)


def test_everybody_may_connect(sides: tuple[_Side, _Side]) -> None:
    theirs, ours = (
        {name: stat.filemode((side.directory / f"{name}.sock").stat().st_mode) for name in ("unix-unix", "told")}
        for side in sides
    )
    assert ours == theirs


_PICKED = 6
_HASHED = """
    events {{}}
    stream {{
        upstream a {{ hash $remote_addr consistent; {servers} }}
        server {{ listen {listen}; proxy_pass a; }}
    }}
"""


def test_the_same_server_for_a_key(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(_PICKED)]
        for number, server in enumerate(servers):
            server.bind(str(tmp_path / f"{number}:{number}.sock"))
            server.listen()
        texts = " ".join(f"server unix:{server.getsockname()} weight={n + 1};" for n, server in enumerate(servers))
        front = listen()
        address = front.getsockname()
        text = PREAMBLE + "user root;" + _HASHED.format(servers=texts, listen=f"127.0.0.1:{address[1]}")
        with running_nginx(tmp_path, text, [front]):
            theirs = [_picked(address, servers, number) for number in range(1, 40)]
        address = stack.enter_context(reserved())
        conf = tmp_path / "kubelb.conf"
        text = _HASHED.format(servers=texts, listen=f"127.0.0.1:{address[1]}")
        conf.write_text(f"daemon off; pid {tmp_path}/kubelb.pid;" + text)
        stack.enter_context(started([_KUBELB_NGINX, "-c", str(conf)], tmp_path / "kubelb.kubelb"))
        assert [_picked(address, servers, number) for number in range(1, 40)] == theirs
        assert len(set(theirs)) > 2


def _picked(address: tuple[str, int], servers: list[socket.socket], client: int) -> int:
    with socket.create_connection(address, _DEADLINE, source_address=(f"127.0.1.{client}", 0)):
        (ready, *_), _, _ = select.select(servers, [], [], _DEADLINE)
        ready.accept()[0].close()
        return servers.index(ready)


@pytest.mark.parametrize("half_close", ["off"])
def test_the_files_are_gone_at_the_end(tmp_path: Path, half_close: str) -> None:
    for name, run in (("n", _nginx), ("k", _kubelb)):
        with run(tmp_path / name, half_close):
            pass
    theirs, ours = (sorted(path.name for path in (tmp_path / name).glob("*.sock")) for name in ("n", "k"))
    assert ours == theirs == ["server.sock"]
