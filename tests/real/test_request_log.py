"""Where requests for health are logged: who is not held up by it, reopening, reloads, and the end."""

from __future__ import annotations

import fcntl
import gzip
import http.client
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.config.model.config import Config, Process
from kubelb.config.model.http import HttpServer, Location
from kubelb.config.model.logs import AccessLog, Syslog
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address, parse_address
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.log import DEADLINE
from tests.support.proxy import KUBELB, Proxy, a_config, reserved, running
from tests.support.syslogd import udp

pytestmark = pytest.mark.usefixtures("no_leaks")

PLAIN = "$request_method $uri $status $body_bytes_sent $pid"


class Rig:
    """A proxy with one health endpoint, and the file it goes by."""

    def __init__(self, proxy: Proxy, directory: Path, config: Config, where: SocketAddress) -> None:
        self.proxy = proxy
        self._directory = directory
        self._config = config
        self._where = where

    def path(self, name: str) -> Path:
        return self._directory / name

    def ask(self, *paths: str, agent: str = "x") -> int:
        """On one connection. With the answer to one request the line of the one before is on its way."""
        status = 0
        connection = http.client.HTTPConnection(*self._where, timeout=DEADLINE)
        try:
            for path in paths:
                connection.request("GET", path, headers={"User-Agent": agent})
                response = connection.getresponse()
                response.read()
                status = response.status
        finally:
            connection.close()
        return status

    def lines(self, name: str) -> list[str]:
        path = self.path(name)
        return path.read_text().splitlines() if path.exists() else []

    def wait_for(self, name: str, count: int) -> list[str]:
        eventually(lambda: len(self.lines(name)) >= count, f"{count} lines in {name}")
        return self.lines(name)

    def reload(self, *logs: AccessLog, location: tuple[AccessLog, ...] | None = None) -> None:
        (server,) = self._config.http
        self.path("kubelb.toml").write_text(write_toml(_with(self._config, _server(server.listen, logs, location))))
        assert adminclient.reload(self.proxy.runtime_dir) == ()


def _server(
    listen: tuple[Address, ...], logs: tuple[AccessLog, ...], location: tuple[AccessLog, ...] | None
) -> HttpServer:
    locations = Location(path="/", body="ok"), Location(path="/own", body="own", access_logs=location)
    return HttpServer(listen=listen, locations=locations, access_logs=logs)


def _with(config: Config, server: HttpServer) -> Config:
    return msgspec.structs.replace(config, http=(server,))


@contextmanager
def a_rig(
    directory: Path, *logs: AccessLog, location: tuple[AccessLog, ...] | None = None, process: Process | None = None
) -> Iterator[Rig]:
    with ExitStack() as stack:
        listen, where = (stack.enter_context(reserved()) for _ in range(2))
        config = a_config(listen, [("127.0.0.1", 1)], workers=1, process=process or Process())
        config = _with(config, _server((Address(*where),), logs, location))
        yield Rig(stack.enter_context(running(directory, config=config)), directory, config, where)


def _log(directory: Path, name: str, **settings: object) -> AccessLog:
    return msgspec.structs.replace(AccessLog(file=str(directory / name), format=PLAIN), **settings)


def test_a_line_for_each_request(tmp_path: Path) -> None:
    with a_rig(tmp_path, _log(tmp_path, "a"), location=(_log(tmp_path, "own"),)) as rig:
        rig.ask("/healthz")
        (line,) = rig.wait_for("a", 1)
        rig.ask("/own")
        (own,) = rig.wait_for("own", 1)
        assert re.fullmatch(r"GET /healthz 200 2 \d+", line)
        assert re.fullmatch(r"GET /own 200 3 \d+", own)
        assert len(rig.lines("a")) == 1


def test_a_location_that_is_not_logged(tmp_path: Path) -> None:
    with a_rig(tmp_path, _log(tmp_path, "a"), location=()) as rig:
        rig.ask("/own")
        rig.ask("/healthz")
        (line,) = rig.wait_for("a", 1)
        assert "/healthz" in line


def test_a_json_object_a_line_without_a_format(tmp_path: Path) -> None:
    with a_rig(tmp_path, _log(tmp_path, "a", format="")) as rig:
        rig.ask("/healthz?a=b", agent="kube-probe/1.30")
        (line,) = rig.wait_for("a", 1)
        record = json.loads(line)
        assert record.pop("seconds") >= 0
        assert record.pop("timestamp").startswith("20")
        assert record.pop("bytes_sent") > 100
        client, listener = record.pop("client"), record.pop("listener")
        assert client.startswith("127.0.0.1:")
        assert client != listener
        assert record == {
            "host": "127.0.0.1",
            "request": "GET /healthz?a=b HTTP/1.1",
            "status": 200,
            "user_agent": "kube-probe/1.30",
        }


def test_a_condition_and_a_compressed_buffer(tmp_path: Path) -> None:
    log = _log(tmp_path, "a.gz", buffer=1 << 16, gzip=6, condition="$arg_log")
    with a_rig(tmp_path, log) as rig:
        rig.ask(*(f"/healthz/{number}?log={number % 2}" for number in range(5)))
        assert rig.proxy.end() == 0
        with gzip.open(tmp_path / "a.gz", "rt") as lines:
            assert [line.split()[1] for line in lines] == ["/healthz/1", "/healthz/3"]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGQUIT])
def test_the_last_lines_are_written(tmp_path: Path, end: signal.Signals) -> None:
    with a_rig(tmp_path, _log(tmp_path, "a", buffer=1 << 16)) as rig:
        rig.ask("/healthz", "/healthz/last")
        rig.proxy.process.send_signal(end)
        assert rig.proxy.process.wait(DEADLINE) == 0
        assert "/healthz " in rig.lines("a")[0]


def test_files_are_opened_anew(tmp_path: Path) -> None:
    with a_rig(tmp_path, _log(tmp_path, "a")) as rig:
        rig.ask("/before")
        rig.wait_for("a", 1)
        rig.path("a").rename(rig.path("b"))
        rig.proxy.process.send_signal(signal.SIGUSR1)
        eventually(lambda: rig.ask("/after") and rig.path("a").exists() and rig.lines("a"), "there is a new one")
        assert "/before" in rig.lines("b")[0]


def test_a_reload_changes_where_it_is_logged(tmp_path: Path) -> None:
    with a_rig(tmp_path) as rig:
        rig.ask("/nowhere")
        rig.reload(_log(tmp_path, "a"), location=(_log(tmp_path, "own"),))
        rig.ask("/a")
        rig.ask("/own")
        assert ["/a" in line for line in rig.wait_for("a", 1)] == [True]
        rig.wait_for("own", 1)
        rig.reload(_log(tmp_path, "b"), location=())
        rig.ask("/own")
        rig.ask("/b")
        rig.wait_for("b", 1)
        assert [len(rig.lines(name)) for name in ("a", "b", "own")] == [1, 1, 1]
        control = next(child for child in rig.proxy.children() if child not in rig.proxy.workers())
        control.kill()
        eventually(lambda: _answers(rig) and len(rig.lines("b")) > 1, "another one goes by the reload")


def _answers(rig: Rig) -> bool:
    try:
        return rig.ask("/again") == 200
    except OSError:
        return False


def test_a_reader_who_has_fallen_asleep_holds_up_nobody(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    with a_rig(tmp_path, AccessLog(file=str(fifo), format="x" * 5000)) as rig:
        assert {rig.ask("/healthz") for _ in range(50)} == {200}
        assert rig.proxy.end() == 0
    os.close(reader)


def test_syslog(tmp_path: Path) -> None:
    with (
        udp() as server,
        a_rig(
            tmp_path, AccessLog(syslog=Syslog(server=parse_address(server.name), tag="probe"), format="$uri")
        ) as rig,
    ):
        rig.ask("/healthz")
        (message,) = server.receive()
        assert (message.tag, message.text) == ("probe", "/healthz")


@pytest.mark.usefixtures("root")
def test_whom_control_runs_as_can_write(tmp_path: Path) -> None:
    with TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o711)
        with a_rig(directory, _log(directory, "a"), process=Process(user="nobody")) as rig:
            rig.ask("/healthz")
            rig.wait_for("a", 1)
            assert rig.path("a").owner() == "nobody"
            rig.path("a").rename(rig.path("b"))
            rig.proxy.process.send_signal(signal.SIGUSR1)
            eventually(lambda: rig.ask("/after") and rig.path("a").exists() and rig.lines("a"), "it is written")


def test_a_file_that_cannot_be_opened_is_a_fault(tmp_path: Path) -> None:
    file, missing = tmp_path / "nginx.conf", tmp_path / "missing" / "file"
    file.write_text(
        "events {}\nstream { server { listen 127.0.0.1:1; proxy_pass 127.0.0.1:2; } }\n"
        f"http {{ server {{ listen 127.0.0.1:3; location / {{\nreturn 200;\naccess_log {missing};\n}} }} }}\n"
    )
    command = [str(KUBELB), "check", "--nginx-conf", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (run.returncode, run.stderr) == (
        1,
        f'{file}:5: access_log: "{missing}" cannot be opened: no such file or directory\n',
    )
