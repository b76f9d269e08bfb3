"""Unix sockets to listen on and as servers, through the whole program: files, reload, upgrade, probes."""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.config.model.config import Config
from kubelb.config.model.http import HttpServer, Location
from kubelb.config.model.listeners import Listener
from kubelb.config.model.pools import Health
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address, Duration
from kubelb.control.commands import Drain
from tests.support.eventually import eventually
from tests.support.proxy import KUBELB, Proxy, a_config, echoes, reserved, running

pytestmark = pytest.mark.usefixtures("no_leaks")

DEADLINE = 30.0


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while heard := self.request.recv(65536):
            self.request.sendall(heard)


class _Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ready = self.path == "/readyz" and self.headers["Host"] == "localhost"
        self.send_response(200 if ready else 400)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Not to standard error."""

    def address_string(self) -> str:
        return "unix"


class _Threaded(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def serving(path: Path, handler: type[socketserver.BaseRequestHandler] = _Echo) -> Iterator[Path]:
    with _Threaded(str(path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield path
        server.shutdown()
        thread.join()
    path.unlink()


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(DEADLINE)
    client.connect(str(path))
    return client


def unix(path: Path) -> tuple[str, int]:
    return f"unix:{path}", 0


def a_unix_config(front: Path, *servers: Path) -> Config:
    return a_config(unix(front), [unix(server) for server in servers], "round_robin")


@contextmanager
def a_unix_proxy(directory: Path) -> Iterator[tuple[Proxy, Path, Path]]:
    """Before an echo server; where it listens, and that server."""
    front = directory / "front.sock"
    with serving(directory / "back.sock") as back, running(directory, config=a_unix_config(front, back)) as proxy:
        yield proxy, front, back


def test_it_is_shown_by_its_path(tmp_path: Path) -> None:
    with a_unix_proxy(tmp_path) as (proxy, front, back), connect(front) as client:
        assert echoes(client)
        (server,) = proxy.servers()
        assert (server.name, server.address) == (f"unix:{back}", f"unix:{back}")
        (session,) = adminclient.sessions(proxy.runtime_dir).sessions
        assert (session.client, session.listener, session.address) == ("unix:", f"unix:{front}", f"unix:{back}")
        adminclient.command(proxy.runtime_dir, Drain(f"unix:{back}"))
        eventually(lambda: proxy.servers()[0].drained, "it drains by its name")


def test_much_moves_both_ways(tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 24
    with a_unix_proxy(tmp_path) as (_, front, _), connect(front) as client:
        heard: list[bytes] = []

        def listen() -> None:
            while piece := client.recv(1 << 16):
                heard.append(piece)

        thread = threading.Thread(target=listen)
        thread.start()
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        thread.join()
        assert b"".join(heard) == data


def test_a_graceful_stop_takes_the_file_at_once(tmp_path: Path) -> None:
    with a_unix_proxy(tmp_path) as (proxy, front, _):
        with connect(front) as client:
            assert echoes(client)
            os.kill(proxy.pid, signal.SIGQUIT)
            eventually(lambda: not front.exists(), "the file is gone")
            assert echoes(client)
        assert proxy.wait() == 0


def test_what_a_killed_one_left_is_replaced(tmp_path: Path) -> None:
    front = tmp_path / "front.sock"
    with serving(tmp_path / "back.sock") as back:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(front))
        with running(tmp_path, config=a_unix_config(front, back)), connect(front) as client:
            assert echoes(client)
        assert not front.exists()


def _refused(directory: Path, config: Config) -> str:
    file = directory / "refused.toml"
    file.write_text(write_toml(config))
    command = [str(KUBELB), "run", "--runtime-dir", str(directory / "run"), "--config", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert run.returncode == 1
    return run.stderr


def test_what_is_somebody_elses_stays(tmp_path: Path) -> None:
    front, back = tmp_path / "front.sock", tmp_path / "back.sock"
    fault = f"cannot listen on unix:{front}: address already in use; stop what listens there, remove the file"
    front.write_text("precious")
    assert fault in _refused(tmp_path, a_unix_config(front, back))
    assert front.read_text() == "precious"
    front.unlink()
    with serving(front):
        whose = f"address already in use by process {os.getpid()} ("
        assert whose in _refused(tmp_path, a_unix_config(front, back))
        with connect(front) as client:
            assert echoes(client)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    nowhere, back = tmp_path / "nowhere" / "front.sock", tmp_path / "back.sock"
    assert "no such file or directory; make its directory" in _refused(tmp_path, a_unix_config(nowhere, back))


def test_who_cannot_start_leaves_no_file(tmp_path: Path) -> None:
    front, back = tmp_path / "front.sock", tmp_path / "back.sock"
    config = a_unix_config(front, back)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        tcp = Listener(listen=(Address(*taken.getsockname()),), pool="pool")
        _refused(tmp_path, msgspec.structs.replace(config, listeners=(*config.listeners, tcp)))
    assert not front.exists()


def test_a_reload_adds_and_removes(tmp_path: Path) -> None:
    second = tmp_path / "second.sock"
    with a_unix_proxy(tmp_path) as (proxy, front, back):
        file = tmp_path / "kubelb.toml"
        with connect(front) as client:
            file.write_text(write_toml(a_unix_config(second, back)))
            adminclient.reload(proxy.runtime_dir)
            eventually(lambda: not front.exists(), "the file is gone")
            assert echoes(client)
            with connect(second) as other:
                assert echoes(other)
        file.write_text(write_toml(a_unix_config(front, back)))
        adminclient.reload(proxy.runtime_dir)
        with connect(front) as client:
            assert echoes(client)
        eventually(lambda: not second.exists(), "this one too")


def test_an_upgrade_keeps_file_and_sessions(tmp_path: Path) -> None:
    with a_unix_proxy(tmp_path) as (proxy, front, _):
        inode = front.stat().st_ino
        with connect(front) as client:
            assert echoes(client)
            for _ in range(2):
                proxy.upgrade()
                assert echoes(client)
                with connect(front) as other:
                    assert echoes(other)
        assert front.stat().st_ino == inode
        assert proxy.end() == 0
        assert not front.exists()


def _health(path: Path) -> bytes:
    with connect(path) as client:
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: client.recv(1000), b""))


def test_a_health_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "health.sock"
    location = Location(path="/", body="$remote_addr $server_addr$uri")
    endpoint = HttpServer(listen=(Address(*unix(path)),), locations=(location,))
    with serving(tmp_path / "back.sock") as back:
        config = msgspec.structs.replace(a_unix_config(tmp_path / "front.sock", back), http=(endpoint,))
        with running(tmp_path, config=config) as proxy:
            answer = f"unix: unix:{path}/healthz".encode()
            assert _health(path).endswith(answer)
            proxy.upgrade()
            assert _health(path).endswith(answer)
            assert proxy.end() == 0
            assert not path.exists()


def test_an_upgrade_removes_what_is_not_configured_any_more(tmp_path: Path) -> None:
    second = tmp_path / "second.sock"
    with a_unix_proxy(tmp_path) as (proxy, front, back), connect(front) as client:
        assert echoes(client)
        (tmp_path / "kubelb.toml").write_text(write_toml(a_unix_config(second, back)))
        proxy.upgrade()
        assert not front.exists()
        assert echoes(client)
        with connect(second) as other:
            assert echoes(other)


@pytest.mark.parametrize("probe", ["tcp", "http"])
def test_probes(tmp_path: Path, probe: str) -> None:
    front, back = tmp_path / "front.sock", tmp_path / "back.sock"
    config = a_unix_config(front, back)
    health = Health(probe=probe, interval=Duration(0.05))  # type: ignore[arg-type]
    pool = msgspec.structs.replace(config.pools["pool"], health=health)
    config = msgspec.structs.replace(config, pools={"pool": pool})
    with serving(back, _Ready), running(tmp_path, config=config) as proxy:
        eventually(lambda: proxy.servers()[0].state == "up", "it is well")
        with ExitStack() as gone:
            back.rename(tmp_path / "elsewhere.sock")
            gone.callback((tmp_path / "elsewhere.sock").rename, back)
            eventually(lambda: proxy.servers()[0].state == "down", "it is not")
            assert proxy.servers()[0].reason == "no such file or directory"
        eventually(lambda: proxy.servers()[0].state == "up", "it is well again")


def test_a_full_server_is_passed_over(tmp_path: Path) -> None:
    full, front = tmp_path / "full.sock", tmp_path / "front.sock"
    with ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(full))
        busy.listen(0)
        stack.enter_context(connect(full))
        back = stack.enter_context(serving(tmp_path / "back.sock"))
        proxy = stack.enter_context(running(tmp_path, config=a_unix_config(front, full, back)))
        for _ in range(4):
            with connect(front) as client:
                assert echoes(client)
        proxy.log.wait_for("server_failing", server=f"unix:{full}", reason="resource temporarily unavailable")


def test_with_tcp_in_a_pool(tmp_path: Path) -> None:
    front = tmp_path / "front.sock"
    with ExitStack() as stack:
        back = stack.enter_context(serving(tmp_path / "back.sock"))
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listen = stack.enter_context(reserved())
        config = a_config(unix(front), [unix(back), tcp.getsockname()], "round_robin")
        both = msgspec.structs.replace(config.listeners[0], listen=(Address(*unix(front)), Address(*listen)))
        stack.enter_context(running(tmp_path, config=msgspec.structs.replace(config, workers=1, listeners=(both,))))
        with connect(front) as first, socket.create_connection(listen) as second:
            accepted, _ = tcp.accept()
            with accepted:
                accepted.sendall(b"hello")
                assert second.recv(100) == b"hello"
                assert echoes(first)


def test_the_test_of_a_file_leaves_nothing(tmp_path: Path) -> None:
    free, running_one = tmp_path / "free.sock", tmp_path / "running.sock"
    conf = tmp_path / "nginx.conf"
    servers = " ".join(f"server {{ listen unix:{one}; return x; }}" for one in (free, running_one))
    conf.write_text(f"pid {tmp_path}/nginx.pid; events {{}} stream {{ {servers} }}")
    command = [str(Path(sys.executable).with_name("kubelb-nginx")), "-t", "-q", "-c", str(conf)]
    with serving(running_one):
        run = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert (run.returncode, run.stderr) == (0, "")
        assert not free.exists()
        with connect(running_one) as client:
            assert echoes(client)
