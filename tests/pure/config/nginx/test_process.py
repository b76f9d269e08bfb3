"""nginx's main context into how the processes run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.faults import ConfigFault
from kubelb.config.model.config import RUNTIME_DIR, Config, Loaded, Process
from kubelb.config.model.http import HttpServer
from kubelb.config.model.listeners import Listener
from kubelb.config.model.logs import LogTarget
from kubelb.config.nginx.process import parse_mask
from kubelb.config.nginx.syntax import COMMAND_LINE, Directive, NginxOptions
from kubelb.config.nginx.translate import translate
from kubelb.config.rules.process import max_clients, process_problems
from kubelb.config.values import Address
from kubelb.reasons import ValueFault


def _directive(name: str, *args: str, block: tuple[Directive, ...] | None = None) -> Directive:
    return Directive(name, args, "F", 1, block)


def _translated(*main: Directive, pid: str | None = None, error_log: str | None = None) -> Loaded:
    """A file with these directives, and ``events {}`` unless it is among them."""
    events = () if any(directive.name == "events" for directive in main) else (_directive("events", block=()),)
    return translate((*main, *events), "F", NginxOptions("/p/", pid=pid, error_log=error_log))


def _process(*main: Directive) -> Process:
    return _translated(*main).config.process


def _fault(*main: Directive) -> str:
    with pytest.raises(ConfigFault) as caught:
        _translated(*main)
    (fault,) = caught.value.faults
    return str(fault)


@given(st.sets(st.integers(0, 1023)), st.integers(0, 5))
def test_masks(cpus: set[int], zeros: int) -> None:
    digits = ["1" if cpu in cpus else "0" for cpu in range(max(cpus, default=-1) + 1)]
    text = ("0" * zeros + "".join(reversed(digits)))[-1024:]
    assert parse_mask(text) == tuple(sorted(cpus))
    assert parse_mask(" ".join(text)) == tuple(sorted(cpus))


@pytest.mark.parametrize("mask", ["2", "1x0", "0" * 1025])
def test_what_is_no_mask(mask: str) -> None:
    with pytest.raises(ValueFault, match=r"invalid character|more than 1024 CPUs"):
        parse_mask(mask)


def test_the_last_mask_is_for_all_that_follow() -> None:
    loaded = _translated(_directive("worker_cpu_affinity", "01", "110"))
    assert (loaded.config.process.cpus, loaded.config.pin) == (((0,), (1, 2)), False)
    loaded = _translated(_directive("worker_cpu_affinity", "auto", "110"))
    assert (loaded.config.process.cpus, loaded.config.pin) == (((1, 2),), True)
    assert _fault(_directive("worker_cpu_affinity", "auto", "1", "1")).startswith(
        "F:1: worker_cpu_affinity: too many"
    )


@pytest.mark.parametrize(
    ("pid", "pid_file", "runtime_dir"),
    [
        (None, "/run/nginx.pid", RUNTIME_DIR),
        ("/var/run/nginx.pid", "/var/run/nginx.pid", RUNTIME_DIR),
        ("logs/nginx.pid", "/p/logs/nginx.pid", "/p/logs/nginx.kubelb"),
        ("/run/edge.pid", "/run/edge.pid", "/run/edge.kubelb"),
        ("/run/edge", "/run/edge", "/run/edge.kubelb"),
    ],
)
def test_each_pid_file_has_its_runtime_directory(pid: str | None, pid_file: str, runtime_dir: str) -> None:
    main = () if pid is None else (_directive("pid", pid),)
    config = _translated(*main, pid="/run/nginx.pid").config
    assert (config.process.pid_file, config.runtime_dir) == (pid_file, runtime_dir)


def test_no_pid_file_unless_one_is_named() -> None:
    assert (_process().pid_file, _translated().config.runtime_dir) == (None, RUNTIME_DIR)
    assert _fault(_directive("pid", "")) == "F:1: pid: empty; write a path"


def test_the_group_is_the_users_unless_it_is_named() -> None:
    assert _process(_directive("user", "a")) == Process(user="a", group="a")
    assert _process(_directive("user", "a", "b")) == Process(user="a", group="b")


@pytest.mark.parametrize(("text", "priority"), [("5", 5), ("+5", 5), ("-5", -5), ("-300", -20), ("300", 19)])
def test_priorities(text: str, priority: int) -> None:
    assert _process(_directive("worker_priority", text)).priority == priority


def test_nginx_goes_to_the_background_unless_told() -> None:
    assert _translated().daemon
    assert _translated(_directive("daemon", "On")).daemon
    assert not _translated(_directive("daemon", "off")).daemon


def test_where_logs_go_that_no_directive_sends_anywhere() -> None:
    assert _translated(error_log="e").config.log.file == "/p/e"
    assert _translated(error_log="").config.log.file is None
    assert _translated(_directive("error_log", "stderr"), error_log="e").config.log.file is None
    assert _translated(_directive("error_log", "f"), error_log="e").config.log.file == "/p/f"
    (also,) = _translated(_directive("error_log", "syslog:server=127.0.0.1"), error_log="e").config.log.also
    assert also == LogTarget(level="error", file="/p/e")


def test_a_fault_of_the_command_line_has_no_line() -> None:
    directive = Directive("worker_priority", ("x",), COMMAND_LINE)
    assert _fault(directive) == 'command line: worker_priority: not a number: "x"'


@pytest.mark.parametrize(
    "args",
    [("a",), ("a", "threads=0"), ("a", "threads=x"), ("a", "threads=1", "max=2")],
)
def test_thread_pools_are_looked_at(args: tuple[str, ...]) -> None:
    assert _fault(_directive("thread_pool", *args)).startswith("F:1: thread_pool: ")
    two = [_directive("thread_pool", "a", "threads=1")] * 2
    assert _fault(*two) == 'F:1: thread_pool: duplicate thread pool "a"'


@given(st.integers(0, 40), st.integers(0, 4), st.integers(0, 4))
def test_a_session_is_two_connections(most: int, listening: int, http: int) -> None:
    listens = tuple(Address("127.0.0.1", port + 1) for port in range(listening))
    config = Config(
        process=Process(max_connections=most),
        listeners=(Listener(listen=listens, pool="a"),),
        http=tuple(HttpServer(listen=(Address("::1", port + 1),)) for port in range(http)),
    )
    left = most - listening - http
    assert bool([*process_problems(config)]) == (left < 1)
    assert max_clients(config) == max(0, (left - 1) // 2)
    two = Config(process=config.process, threads=2, listeners=config.listeners, http=config.http)
    assert max_clients(two) == max(0, (left - 1) // 4)


def test_no_limit_unless_one_is_given() -> None:
    assert max_clients(Config()) is None


@pytest.mark.parametrize(
    ("process", "key"),
    [
        (Process(group="a"), ("process", "group")),
        (Process(user=""), ("process", "user")),
        (Process(pid_file=""), ("process", "pid_file")),
        (Process(priority=20), ("process", "priority")),
        (Process(cpus=((0,), ())), ("process", "cpus", 1)),
        (Process(cpus=((1024,),)), ("process", "cpus", 0)),
    ],
)
def test_rules(process: Process, key: tuple[object, ...]) -> None:
    assert [problem[0] for problem in process_problems(Config(process=process))] == [key]
