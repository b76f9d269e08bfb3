"""The same clients before nginx and before kubelb: what syslog servers get of both."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kubelb.snapshot import SocketAddress
from tests.oracle.test_access_log import refused, speak
from tests.support.identity import name_of, refusing
from tests.support.nginx import PREAMBLE, listen, running_nginx
from tests.support.proxy import EchoServers, reserved, running
from tests.support.syslogd import Message, Syslogd, udp, unix

_CLIENTS = 5
_PLAIN = "'$remote_addr $status [$bytes_received/$bytes_sent] \"$upstream_addr\" é'"


class Stage:
    """Servers, and syslog servers, of which each proxy has the same."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        echo = stack.enter_context(EchoServers(("127.0.0.1",)))
        (self._dead,) = stack.enter_context(refusing(("127.0.0.2",)))
        (self._echo,) = echo.addresses
        self.syslogds = {
            "udp": stack.enter_context(udp()),
            "udp6": stack.enter_context(udp("::1")),
            "name": stack.enter_context(udp()),
            "unix": stack.enter_context(unix(directory / "log")),
            "if": stack.enter_context(unix(directory / "if")),
            "none": stack.enter_context(unix(directory / "none")),
        }

    def stream(self, where: list[SocketAddress], directory: Path) -> str:
        name = {kind: syslogd.name for kind, syslogd in self.syslogds.items()}
        by_name = name["name"].replace("127.0.0.1", "localhost")
        one, other = map(name_of, where)
        return f"""stream {{
            log_format plain {_PLAIN};
            log_format json escape=json '{{"at": "$remote_addr", "upstream": "$upstream_addr"}}';
            log_format raw escape=none '"$upstream_addr" $status\\n$protocol';
            access_log syslog:server={name["udp"]} plain;
            access_log {directory}/a.log plain;
            access_log syslog:server={name["udp6"]},nohostname,tag=six,facility=user json;
            access_log syslog:server={by_name},facility=local0,severity=crit plain;
            access_log syslog:nohostname,server={name["unix"]},severity=debug,facility=kern,tag= plain;
            access_log syslog:server={name["if"]} plain if=$upstream_bytes_sent;
            access_log syslog:server={name["none"]} raw;
            server {{ listen {one}; proxy_pass {name_of(self._echo)}; }}
            server {{ listen {other}; proxy_pass {name_of(self._dead)}; }}
        }}"""

    def play(self, where: list[SocketAddress]) -> dict[str, list[Message]]:
        """What comes of it to each."""
        living, dead = where
        speak(living, b"")
        speak(living, b"hello")
        speak(living, b"x" * 1000, "127.0.0.77")
        refused(dead)
        speak(living, b"bye")
        return {kind: syslogd.receive(3 if kind == "if" else _CLIENTS) for kind, syslogd in self.syslogds.items()}


class Seen:
    """Of one proxy."""

    def __init__(self, messages: dict[str, list[Message]], errors: list[Message], file: list[str]) -> None:
        self.messages = {kind: sorted(some) for kind, some in messages.items()}
        self.errors = errors
        self.file = sorted(file)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Seen, Seen]]:
    """nginx's and kubelb's."""
    with ExitStack() as stack:
        stage = Stage(stack, tmp_path_factory.mktemp("syslogds"))
        yield _by_nginx(tmp_path_factory.mktemp("nginx"), stage), _by_kubelb(tmp_path_factory.mktemp("kubelb"), stage)
        assert not any(syslogd.rest() for syslogd in stage.syslogds.values())


def _error_log(syslogd: Syslogd) -> str:
    return f"error_log syslog:server={syslogd.name},facility=daemon,tag=errors,severity=emerg info;"


def _by_nginx(directory: Path, stage: Stage) -> Seen:
    sockets = [listen(), listen()]
    where: list[SocketAddress] = [sock.getsockname()[:2] for sock in sockets]
    with udp() as syslogd:
        own = f"{PREAMBLE} {_error_log(syslogd)} user root root; worker_processes 1; events {{}}"
        with running_nginx(directory, f"{own} {stage.stream(where, directory)}", sockets):
            messages = stage.play(where)
            errors = syslogd.receive_until("Connection refused")
    return Seen(messages, errors, (directory / "a.log").read_text().splitlines())


def _by_kubelb(directory: Path, stage: Stage) -> Seen:
    with ExitStack() as stack:
        where = [stack.enter_context(reserved()), stack.enter_context(reserved())]
        syslogd = stack.enter_context(udp())
        file = directory / "nginx.conf"
        file.write_text(f"error_log stderr info; {_error_log(syslogd)} events {{}} {stage.stream(where, directory)}")
        with running(directory, "--nginx-conf", str(file)):
            messages = stage.play(where)
        errors = syslogd.receive_until('"stopped"')
    return Seen(messages, errors, (directory / "a.log").read_text().splitlines())


@pytest.mark.parametrize("kind", ["udp", "udp6", "name", "unix", "if", "none"])
def test_access_logs(kind: str, seen: tuple[Seen, Seen]) -> None:
    theirs, ours = (one.messages[kind] for one in seen)
    assert ours == theirs


def test_files_beside_them(seen: tuple[Seen, Seen]) -> None:
    theirs, ours = seen
    assert ours.file == theirs.file
    assert ours.file == [message.text.encode("latin-1").decode() for message in ours.messages["udp"]]


def test_error_logs(seen: tuple[Seen, Seen]) -> None:
    """Facility, tag and host are the same, and each message's own severity in place of that of the target. While
    it starts nginx does not know the host yet."""
    theirs, ours = seen
    assert {one.tag for one in theirs.errors} == {one.tag for one in ours.errors} == {"errors"}
    assert {one.host for one in theirs.errors if one.host} == {one.host for one in ours.errors}
    assert {one.host for one in ours.errors} == {socket.gethostname().lower()}
    assert {one.priority >> 3 for one in theirs.errors} == {one.priority >> 3 for one in ours.errors} == {3}
    assert {3, 5} <= {one.priority & 7 for one in theirs.errors}
    severities = {"debug": 7, "info": 6, "warning": 4, "error": 3}
    events = [(one.priority & 7, json.loads(one.text)) for one in ours.errors]
    assert all(severities[event["level"]] == severity for severity, event in events)
    assert {"started", "stopped"} <= {event["event"] for _, event in events}
    assert not any("timestamp" in event for _, event in events)


def test_supervisor_and_worker_speak(seen: tuple[Seen, Seen]) -> None:
    processes = {json.loads(one.text)["process"] for one in seen[1].errors}
    assert {"supervisor", "worker-0"} <= processes
