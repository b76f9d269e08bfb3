"""log_format, access_log and error_log into the model."""

from __future__ import annotations

import msgspec
import pytest

from kubelb.config.faults import ConfigFault
from kubelb.config.model.config import Config, Loaded
from kubelb.config.model.logs import AccessLog, Log, LogTarget, Syslog
from kubelb.config.nginx.syntax import Directive, NginxOptions
from kubelb.config.nginx.translate import translate
from kubelb.config.values import Address, Duration


def _directive(line: int, name: str, *args: str, block: tuple[Directive, ...] | None = None) -> Directive:
    return Directive(name, args, "F", line, block)


def _server(line: int, *inside: Directive) -> Directive:
    """``inside`` comes after its first two directives."""
    serving = (_directive(line + 1, "listen", f"127.0.0.1:{line}"), _directive(line + 2, "proxy_pass", "10.0.0.1:1"))
    return _directive(line, "server", block=(*serving, *inside))


def _loaded(*stream: Directive, main: tuple[Directive, ...] = ()) -> Loaded:
    events = _directive(1, "events", block=())
    return translate((events, *main, _directive(2, "stream", block=stream)), "F", NginxOptions("/p/"))


def _logs(config: Config) -> list[tuple[AccessLog, ...]]:
    return [listener.access_logs for listener in config.listeners]


def _log(*parameters: str) -> AccessLog:
    """Of an ``access_log`` with a format f."""
    config = _loaded(
        _directive(3, "log_format", "f", "$status"), _directive(4, "access_log", *parameters), _server(10)
    ).config
    ((log,),) = _logs(config)
    return log


def _fault(*stream: Directive, main: tuple[Directive, ...] = ()) -> str:
    with pytest.raises(ConfigFault) as caught:
        _loaded(*stream, main=main)
    (fault,) = caught.value.faults
    return str(fault)


def _log_fault(*parameters: str) -> str:
    return _fault(_directive(3, "log_format", "f", "$status"), _directive(4, "access_log", *parameters), _server(10))


@pytest.mark.parametrize(
    ("parameters", "settings"),
    [
        ((), AccessLog(file="")),
        (("buffer=32k",), AccessLog(file="", buffer=32768)),
        (("buffer=1M", "flush=1m30s"), AccessLog(file="", buffer=1 << 20, flush=Duration(90))),
        (("gzip",), AccessLog(file="", buffer=65536, gzip=1)),
        (("gzip=9", "buffer=4096"), AccessLog(file="", buffer=4096, gzip=9)),
        (("flush=5s", "gzip=2"), AccessLog(file="", buffer=65536, gzip=2, flush=Duration(5))),
        (("if=$status$protocol",), AccessLog(file="", condition="$status$protocol")),
    ],
)
def test_parameters(parameters: tuple[str, ...], settings: AccessLog) -> None:
    made = AccessLog(
        file="/p/logs/a",
        format="$status",
        buffer=settings.buffer,
        flush=settings.flush,
        gzip=settings.gzip,
        condition=settings.condition,
    )
    assert _log("logs/a", "f", *parameters) == made


def test_a_syslog_server() -> None:
    server = Syslog(server=Address("unix:/dev/log", 0), tag="nginx", facility="user", severity="debug")
    target = "syslog:server=unix:/dev/log,facility=user,severity=debug"
    assert _log(target, "f", "if=$status") == AccessLog(syslog=server, format="$status", condition="$status")


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/stderr", "/var/log/a"])
def test_absolute_paths_stay(path: str) -> None:
    assert _log(path, "F").file == path


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        (("/a",), "log format is not specified"),
        (("/a", "g"), 'unknown log format "g"'),
        (("/a", "f", "buffer=0"), 'invalid buffer size "0"; write for example 32k'),
        (("/a", "f", "buffer=1g"), 'invalid buffer size "1g"; write for example 32k'),
        (("/a", "f", "buffer"), 'invalid parameter "buffer"'),
        (("/a", "f", "buffer=1k", "flush=0"), 'invalid flush time "0"; write for example 5s'),
        (("/a", "f", "buffer=1k", "flush=x"), 'invalid flush time "x"; write for example 5s'),
        (("/a", "f", "flush=5s"), 'no buffer is defined for access_log "/a"'),
        (("/a", "f", "gzip=10"), 'invalid compression level "10"; write a number from 1 to 9'),
        (("/a", "f", "gzip="), 'invalid compression level ""; write a number from 1 to 9'),
        (("/a", "f", "zip"), 'invalid parameter "zip"'),
        (("/a", "f", "if=$x"), 'unknown "x" variable'),
        (("/a", "f", "if="), "an empty condition logs nobody; write access_log off"),
        (("off", "f"), 'invalid parameter "f"'),
        (("/$pid", "f"), "a path with variables is not supported; write one file for all"),
        (("syslog:", "f"), 'unknown syslog parameter ""'),
        (("syslog:server=[::1]",), "log format is not specified"),
        (("syslog:server=[::1]", "f", "buffer=1k"), "logs to syslog cannot be buffered"),
        (("syslog:server=[::1]", "f", "gzip"), "logs to syslog cannot be buffered"),
        (("syslog:server=[::1]", "f", "flush=1s"), 'no buffer is defined for access_log "syslog:server=[::1]"'),
        (("syslog:server=[::1]", "f", "buffer=1k", "flush=1s"), "logs to syslog cannot be buffered"),
        (("memory:1m", "f"), "a log in memory is not supported; write a file or stderr"),
        (("", "f"), "empty; write a path"),
    ],
)
def test_what_is_refused(parameters: tuple[str, ...], fault: str) -> None:
    assert _log_fault(*parameters) == f"F:4: access_log: {fault}"


@pytest.mark.parametrize(
    ("args", "text", "escape"),
    [
        (("$status",), "$status", "default"),
        (("escape=json", "{", "$status}"), "{$status}", "json"),
        (("escape=none", "a $status", "_b"), "a ${status}_b", "none"),
        (("escape=default", "$status", " $pid", ""), "$status $pid", "default"),
    ],
)
def test_formats(args: tuple[str, ...], text: str, escape: str) -> None:
    formats = _directive(3, "log_format", "f", *args)
    ((log,),) = _logs(_loaded(formats, _directive(4, "access_log", "/a", "f"), _server(10)).config)
    assert (log.format, log.escape) == (text, escape)


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        (("f", "$stat"), 'unknown "stat" variable; did you mean "status"?'),
        (("f", "$"), "invalid variable name; a dollar sign is followed by the name of a variable"),
        (("f", "escape=xml", "x"), 'unknown log format escaping "xml"; one of default, json, none'),
        (("f", ""), "an empty format; write what a line is to hold"),
        (("f", "escape=json"), "an empty format; write what a line is to hold"),
        (("g", "x"), 'duplicate "log_format" name "g"'),
    ],
)
def test_formats_that_are_none(args: tuple[str, ...], fault: str) -> None:
    assert _fault(_directive(3, "log_format", "g", "x"), _directive(4, "log_format", *args), _server(10)) == (
        f"F:4: log_format: {fault}"
    )


def test_a_format_stands_before_what_names_it() -> None:
    late = _server(10, _directive(13, "access_log", "/a", "f")), _directive(20, "log_format", "f", "x")
    assert _fault(*late) == 'F:13: access_log: unknown log format "f"'


def test_a_server_without_any_has_those_around_it() -> None:
    config = _loaded(
        _directive(3, "log_format", "f", "x"),
        _server(10),
        _server(20, _directive(23, "access_log", "off")),
        _server(30, _directive(33, "access_log", "/c", "f"), _directive(34, "access_log", "/a", "f")),
        _server(40, _directive(43, "access_log", "/c", "f"), _directive(44, "access_log", "off")),
        _directive(50, "access_log", "/a", "f"),
        _directive(51, "access_log", "/b", "f"),
    ).config
    assert [[log.file for log in logs] for logs in _logs(config)] == [["/a", "/b"], [], ["/c", "/a"], []]


def test_off_around_a_server() -> None:
    around = _directive(3, "access_log", "off"), _directive(4, "log_format", "f", "x")
    config = _loaded(*around, _server(10), _server(20, _directive(23, "access_log", "/a", "f"))).config
    assert [[log.file for log in logs] for logs in _logs(config)] == [[], ["/a"]]


def test_one_file_has_one_buffer() -> None:
    buffered = _directive(4, "access_log", "/a", "f", "buffer=1k")
    formats = _directive(3, "log_format", "f", "x")
    assert _loaded(formats, buffered, _server(10, _directive(13, "access_log", "/a", "f"))).config
    assert _fault(formats, buffered, _server(10, _directive(13, "access_log", "/a", "f", "buffer=2k"))) == (
        'F:13: access_log: access_log "/a" already defined with conflicting parameters'
    )


def test_they_have_their_places() -> None:
    formats = _directive(3, "log_format", "f", "x")
    loaded = _loaded(formats, _directive(4, "access_log", "/a", "f"), _server(10), _server(20))
    assert [loaded.places["listener", i, "access_log", 0].line for i in (0, 1)] == [4, 4]


_SYSLOG = "syslog:server=127.0.0.1"
_SERVER = Syslog(server=Address("127.0.0.1", 514), tag="nginx")


@pytest.mark.parametrize(
    ("logs", "log"),
    [
        ([], Log()),
        ([("stderr", "notice")], Log()),
        ([("/dev/stderr", "warn")], Log(level="warning")),
        ([("logs/e",)], Log(level="error", file="/p/logs/e")),
        ([("/e", "crit"), ("/e", "debug")], Log(level="debug", file="/e")),
        ([("/e", "debug_core", "debug_stream")], Log(level="debug", file="/e")),
        ([("/e", "warn"), ("stderr", "info")], Log(level="warning", file="/e", also=(LogTarget(),))),
        ([(_SYSLOG, "info")], Log(syslog=_SERVER, also=(LogTarget(level="error"),))),
        ([(_SYSLOG, "info"), ("/e",)], Log(syslog=_SERVER, also=(LogTarget(level="error", file="/e"),))),
        (
            [("stderr", "info"), (_SYSLOG,), (f"{_SYSLOG},tag=t", "warn")],
            Log(
                also=(
                    LogTarget(level="error", syslog=_SERVER),
                    LogTarget(level="warning", syslog=msgspec.structs.replace(_SERVER, tag="t")),
                )
            ),
        ),
    ],
)
def test_the_error_log(logs: list[tuple[str, ...]], log: Log) -> None:
    loaded = _loaded(_server(10), main=tuple(_directive(3, "error_log", *args) for args in logs))
    assert loaded.config.log == log
    assert not loaded.warnings


def test_each_error_log_has_its_place() -> None:
    logs = (
        _directive(3, "error_log", "/e"),
        _directive(4, "error_log", "/e", "info"),
        _directive(5, "error_log", "/f"),
    )
    places = _loaded(_server(10), main=logs).places
    assert (places["log",].line, places["log", "also", 0].line) == (3, 5)


def test_a_severity_of_events_has_no_effect() -> None:
    loaded = _loaded(_server(10), main=(_directive(3, "error_log", f"{_SYSLOG},severity=debug"),))
    assert loaded.config.log.syslog == _SERVER
    assert loaded.warnings == ("F:3: error_log: severity has no effect here, each event has its own",)


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        (("memory:32m",), "a log in memory takes a debugger to be read; write a file, stderr or syslog"),
        (("",), "empty; write a path"),
        (("syslog:server=127.0.0.1:0",), 'invalid port in syslog server "127.0.0.1:0"'),
        ((_SYSLOG, "info", "warn"), 'duplicate log level "warn"'),
        ((_SYSLOG, "debug_core", "warn"), 'duplicate log level "warn"'),
    ],
)
def test_error_logs_that_are_refused(args: tuple[str, ...], fault: str) -> None:
    directive = _directive(3, "error_log", *args)
    assert _fault(_server(10), main=(directive,)) == _fault(_server(10), directive) == f"F:3: error_log: {fault}"
