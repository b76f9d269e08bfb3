"""Logs to syslog servers: who speaks, and what becomes of it when a server restarts, is gone, or does not read."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from kubelb.cli import adminclient
from kubelb.config.model.config import Config
from kubelb.config.model.logs import AccessLog, Log, LogTarget, Syslog
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address, parse_address
from kubelb.snapshot import SocketAddress
from kubelb.syslog.sender import Sender
from tests.real.test_log_files import meet, refused, with_logs
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, name_of, refusing
from tests.support.log import DEADLINE
from tests.support.proxy import KUBELB, Proxy, a_config, reserved, running
from tests.support.syslogd import Message, Syslogd, udp, unix

pytestmark = pytest.mark.usefixtures("no_leaks")
KUBELB_NGINX = Path(sys.executable).with_name("kubelb-nginx")


@contextmanager
def a_sender(address: str | tuple[str, int]) -> Iterator[Sender]:
    sender = Sender(address)
    try:
        yield sender
    finally:
        sender.close()


def _raw(text: str) -> bytes:
    return b"<1>Jan  1 00:00:00 t: " + text.encode()


def test_a_server_that_restarts_is_found_again(tmp_path: Path) -> None:
    """One that is there again when something is to be said misses nothing."""
    path = tmp_path / "log"
    with a_sender(str(path)) as sender:
        assert sender.send(b"nobody") == "no such file or directory"
        for number in range(3):
            with unix(path) as syslogd:
                assert sender.send(_raw(f"{number}")) is None
                assert [message.text for message in syslogd.receive()] == [f"{number}"]
        assert sender.send(b"nobody") == "no such file or directory"
        with unix(path) as syslogd:
            assert sender.send(_raw("again")) is None
            assert syslogd.receive()[0].text == "again"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_that_is_gone_is_noticed_by_udp(host: str) -> None:
    with udp(host) as syslogd:
        address = parse_address(syslogd.name)
        with a_sender((address.host, address.port)) as sender:
            assert sender.send(_raw("one")) is None
            assert syslogd.receive()[0].text == "one"
            syslogd.stop()
    with a_sender((address.host, address.port)) as sender:
        eventually(lambda: sender.send(b"nobody") == "connection refused", "it is noticed")
        with udp(host, address.port) as syslogd:
            sender.send(_raw("again"))
            assert syslogd.receive()[0].text == "again"


def test_a_server_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server, a_sender(path) as sender:
        server.bind(path)
        eventually(lambda: sender.send(b"x") == "it does not keep up", "its queue is full")
        server.recv(1)
        assert sender.send(b"x") is None


def test_a_message_that_is_too_long(tmp_path: Path) -> None:
    with udp() as syslogd:
        address = parse_address(syslogd.name)
        with a_sender((address.host, address.port)) as sender:
            assert sender.send(b"x" * 70_000) == "message too long"
            assert sender.send(_raw("short")) is None
            assert syslogd.receive()[0].text == "short"


class Rig:
    def __init__(self, proxy: Proxy, directory: Path, config: Config) -> None:
        self.proxy = proxy
        self.config = config
        self._directory = directory

    @property
    def address(self) -> SocketAddress:
        return self.proxy.address

    def reload(self, log: Log) -> tuple[str, ...]:
        (self._directory / "kubelb.toml").write_text(write_toml(with_logs(self.config, log, ())))
        return adminclient.reload(self.proxy.runtime_dir)


@contextmanager
def a_rig(directory: Path, server: SocketAddress, log: Log, *access_logs: AccessLog) -> Iterator[Rig]:
    """Its events are on standard error as well."""
    with ExitStack() as stack:
        config = with_logs(a_config(stack.enter_context(reserved()), [server], workers=1), log, access_logs)
        yield Rig(stack.enter_context(running(directory, config=config)), directory, config)


def a_log(syslogd: Syslogd, **settings: Any) -> Log:
    """And standard error."""
    return Log(**{"syslog": Syslog(server=parse_address(syslogd.name)), "also": (LogTarget(),), **settings})


def events(messages: list[Message]) -> list[dict[str, Any]]:
    return [json.loads(message.text) for message in messages]


def test_all_processes_speak_to_it(tmp_path: Path) -> None:
    """The same as they write elsewhere, but for the time."""
    with udp() as syslogd, refusing(["127.0.0.1"]) as (dead,):
        with a_rig(tmp_path, dead, a_log(syslogd, level="debug", access=True)) as rig:
            refused(rig.address)
            said = syslogd.receive_until('"session"')
            assert rig.reload(msgspec.structs.replace(rig.config.log, access=False)) == ()
            said += syslogd.receive_until('"reloaded"')
            assert rig.proxy.end() == 0
            said += syslogd.receive_until('"stopped"')
        assert {event["process"] for event in events(said)} == {"supervisor", "control", "worker-0"}
        assert {message.tag for message in said} == {"kubelb"}
        written = [json.loads(line) for line in rig.proxy.log.text.splitlines()]
        for event in written:
            del event["timestamp"]
        heard = [event for event in events(said) if event["level"] != "debug"]
        assert sorted(map(str, heard)) == sorted(map(str, written))


def test_each_target_has_its_level(tmp_path: Path) -> None:
    """Which a reload changes, but not where they are."""
    with udp() as syslogd, udp() as other, refusing(["127.0.0.1"]) as (dead,):
        quiet = LogTarget(level="error", syslog=Syslog(server=parse_address(other.name), hostname=False))
        log = a_log(syslogd, also=(quiet, LogTarget()))
        with a_rig(tmp_path, dead, log) as rig:
            syslogd.receive_until('"started"')
            loud = msgspec.structs.replace(quiet, level="debug")
            assert rig.reload(msgspec.structs.replace(log, also=(loud, LogTarget()))) == ()
            refused(rig.address)
            said = other.receive_until('"no_server"')
            assert {(event["process"], event["event"]) for event in events(said)} >= {("worker-0", "no_server")}
            assert not {"started"} & {event["event"] for event in events(said)}
            with pytest.raises(adminclient.AdminFault, match="cannot change by a reload"):
                rig.reload(msgspec.structs.replace(log, also=()))
        assert not any('"no_server"' in message.text for message in syslogd.rest())


def test_what_is_lost_is_told(tmp_path: Path, servers: IdentityServers) -> None:
    path = tmp_path / "log"
    log = Log(level="info", syslog=Syslog(server=Address(f"unix:{path}", 0)), also=(LogTarget(),))
    with a_rig(tmp_path, servers.addresses[0], log) as rig:
        (lost,) = rig.proxy.log.wait_for("log_lost", process="supervisor")
        assert (lost["syslog"], lost["reason"], lost["events"]) == (f"unix:{path}", "no such file or directory", 1)
        with unix(path) as syslogd:
            rig.reload(msgspec.structs.replace(rig.config.log, access=True))
            meet(rig.address)
            said = events(syslogd.receive_until('"session"'))
            rig.proxy.end()
    (told,) = (event for event in said if event["event"] == "log_lost")
    assert told["events"] >= 1


def test_what_is_lost_is_told_on_standard_error_where_there_is_nothing_else(tmp_path: Path) -> None:
    log = Log(syslog=Syslog(server=Address(f"unix:{tmp_path}/log", 0)))
    with reserved() as listen:
        config = with_logs(a_config(listen, [("127.0.0.1", 2)]), log, ())
        (tmp_path / "kubelb.toml").write_text(write_toml(config))
        command = [
            str(KUBELB),
            "run",
            "--config",
            str(tmp_path / "kubelb.toml"),
            "--runtime-dir",
            str(tmp_path / "r"),
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        proxy = Proxy(process, tmp_path / "r")
        try:
            assert proxy.log.wait_for("log_lost")
            assert proxy.end() == 0
            assert {json.loads(line)["event"] for line in proxy.log.text.splitlines()} == {"log_lost"}
        finally:
            proxy.clean_up()


def test_an_access_log_whose_server_restarts(tmp_path: Path, servers: IdentityServers) -> None:
    path = tmp_path / "log"
    settings = AccessLog(syslog=Syslog(server=Address(f"unix:{path}", 0), tag="a"), format="$remote_addr $status")
    with a_rig(tmp_path, servers.addresses[0], Log(), settings) as rig:
        for _ in range(2):
            with unix(path) as syslogd:
                meet(rig.address)
                (message,) = syslogd.receive()
                assert message == (190, socket.gethostname().lower(), "a", "127.0.0.1 200")
        meet(rig.address)
        (lost,) = rig.proxy.log.wait_for("access_log_lost")
        assert (lost["syslog"], lost["lines"]) == (f"unix:{path}", 1)


def test_a_server_that_does_not_read_holds_up_nobody(tmp_path: Path, servers: IdentityServers) -> None:
    path = str(tmp_path / "log")
    syslog = Syslog(server=Address(f"unix:{path}", 0))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        log = Log(level="debug", syslog=syslog, access=True, also=(LogTarget(),))
        with a_rig(tmp_path, servers.addresses[0], log, AccessLog(syslog=syslog)) as rig:
            eventually(lambda: meet(rig.address) and rig.proxy.log.events("access_log_lost"), "lines are lost")
            (lost,) = rig.proxy.log.events("access_log_lost")
            assert lost["reason"] == "it does not keep up"
            for _ in range(20):
                meet(rig.address)


def test_after_an_upgrade_both_are_written(tmp_path: Path, servers: IdentityServers) -> None:
    with udp() as syslogd, udp() as clients:
        settings = AccessLog(syslog=Syslog(server=parse_address(clients.name)), format="$remote_addr:$remote_port")
        with a_rig(tmp_path, servers.addresses[0], a_log(syslogd), settings) as rig:
            before = meet(rig.address)
            rig.proxy.upgrade()
            after = meet(rig.address)
            assert {message.text for message in clients.receive(2)} == {before, after}
            assert rig.proxy.end() == 0
            said = events(syslogd.receive_until('"upgraded"') + syslogd.receive_until('"stopped"'))
    assert len([event for event in said if event["event"] == "started"]) == 2


def test_a_daemon(tmp_path: Path, servers: IdentityServers) -> None:
    """USR1 changes nothing."""
    with unix(tmp_path / "log") as syslogd, reserved() as listen:
        (tmp_path / "nginx.conf").write_text(
            f"pid nginx.pid; daemon on; error_log syslog:server={syslogd.name} info;\nevents {{ }}\n"
            f"stream {{ server {{ listen {name_of(listen)}; proxy_pass {name_of(servers.addresses[0])}; }} }}\n"
        )
        command = [str(KUBELB_NGINX), "-p", str(tmp_path), "-c", "nginx.conf"]
        with (tmp_path / "errors").open("wb") as errors:
            subprocess.run(command, stderr=errors, stdout=errors, timeout=DEADLINE, check=True)
        process = psutil.Process(int((tmp_path / "nginx.pid").read_text()))
        children = process.children()
        try:
            said = syslogd.receive_until('"started"')
            process.send_signal(signal.SIGUSR1)
            meet(listen)
            process.terminate()
            said += syslogd.receive_until('"stopped"')
            _, alive = psutil.wait_procs([process, *children], DEADLINE)
        finally:
            for one in (process, *children):
                if one.is_running():
                    one.kill()
    assert not alive
    assert {message.tag for message in said} == {"nginx"}
    assert (tmp_path / "errors").read_text() == ""


@pytest.mark.parametrize("kind", ["error_log", "access_log"])
def test_a_name_that_nobody_knows(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    target = "syslog:server=nobody.invalid"
    logs = [f"error_log {target};", ""] if kind == "error_log" else ["", f"access_log {target} f;"]
    file.write_text(
        f"events {{}}\n{logs[0]}\nstream {{\nlog_format f x;\n{logs[1]}\n"
        "server { listen 127.0.0.1:9; proxy_pass 127.0.0.1:10; } }\n"
    )
    run = subprocess.run(
        [str(KUBELB), "check", "--nginx-conf", str(file)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    line = 2 if kind == "error_log" else 5
    assert run.returncode == 1
    assert run.stderr.startswith(f'{file}:{line}: {kind}: "nobody.invalid" does not resolve: ')
