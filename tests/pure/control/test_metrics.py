"""What Prometheus reads is what the status says, whatever the names are."""

from __future__ import annotations

import math
import re
import typing
from itertools import accumulate

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from kubelb.config.model.pools import Balance
from kubelb.control.metrics import Usage, exposition
from kubelb.control.status import Clients, Pool, Probe, Server, Status
from kubelb.control.tally import (
    DEATHS,
    DIAL_FAILURES,
    ENDS,
    RELAYS,
    RELOADS,
    RESULTS,
    TURNED_AWAY,
    Counts,
    ServerTally,
    Tally,
    Times,
)
from kubelb.snapshot import Finding, State

Labels = frozenset[tuple[str, str]]

STATES: tuple[State, ...] = typing.get_args(State)
BALANCES: tuple[Balance, ...] = typing.get_args(Balance)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', "\\", "\n", '\\"', "\\n", 'a="b",c="d"} 1', "# HELP", "a b", "käse", "{}"]
)
counts = st.integers(0, 2**53)
seconds = st.floats(0, 1e10)
probes = st.builds(Probe, at=seconds, seconds=seconds, fault=st.just("") | texts)
servers = st.builds(
    Server,
    name=texts,
    address=texts,
    active=counts,
    opened=counts,
    bytes_up=counts,
    bytes_down=counts,
    dial_failures=counts,
    resets=counts,
    state=st.sampled_from(STATES),
    since=seconds,
    reason=texts,
    tier=counts,
    backup=st.booleans(),
    drained=st.booleans(),
    failing=st.booleans(),
    ramping=st.booleans(),
    probe=st.none() | probes,
)
pools = st.builds(
    Pool,
    name=texts,
    balance=st.sampled_from(BALANCES),
    servers=st.lists(servers, max_size=4, unique_by=lambda server: (server.name, server.address)).map(tuple),
)
statuses = st.builds(
    Status,
    version=texts,
    pid=counts,
    snapshot=counts,
    clients=st.builds(Clients, active=counts, accepted=counts),
    pools=st.lists(pools, max_size=3, unique_by=lambda pool: pool.name).map(tuple),
)


def counted(labels: typing.Iterable[str]) -> st.SearchStrategy[Counts]:
    return st.fixed_dictionaries(dict.fromkeys(labels, counts))


def times_of(total: float, bounds: list[float], numbers: list[int]) -> Times:
    return Times(total, tuple(zip([*sorted(bounds), math.inf], accumulate(numbers), strict=False)))


times = st.builds(
    times_of,
    seconds,
    st.lists(st.floats(0.001, 1e4), max_size=4, unique=True),
    st.lists(st.integers(0, 2**40), min_size=5, max_size=5),
)
server_tallies = st.builds(
    ServerTally,
    dials=times,
    dial_failures=counted(DIAL_FAILURES),
    sessions=times,
    ends=counted(ENDS),
    probes=times,
    results=counted(RESULTS),
)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Status, Tally]:
    """Of the same servers."""
    status = draw(statuses)
    tallies = [tuple(draw(server_tallies) for _ in pool.servers) for pool in status.pools]
    return status, Tally(
        turned_away=draw(counted(TURNED_AWAY)),
        relays=draw(counted(RELAYS)),
        alone=draw(counts),
        deaths=draw(counted(DEATHS)),
        reloads=draw(counted(RELOADS)),
        reloaded_at=draw(st.none() | seconds),
        pools=tuple(tallies),
    )


usages = st.lists(
    st.builds(Usage, process=texts, cpu_seconds=seconds, memory_bytes=counts, open_fds=counts),
    max_size=3,
    unique_by=lambda usage: usage.process,
)


def parsed(text: bytes) -> dict[tuple[str, Labels], float]:
    samples = [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples)
    return found


def expected(picture: tuple[Status, Tally], used: list[Usage]) -> dict[tuple[str, Labels], float]:
    status, tally = picture
    values: dict[tuple[str, Labels], float] = {
        ("kubelb_build_info", frozenset({("version", status.version)})): 1,
        ("kubelb_snapshot_version", frozenset()): status.snapshot,
        ("kubelb_clients", frozenset()): status.clients.active,
        ("kubelb_clients_total", frozenset()): status.clients.accepted,
        **by("kubelb_clients_turned_away_total", frozenset(), "reason", tally.turned_away),
        ("kubelb_sessions_on_own_thread", frozenset()): tally.alone,
        **by("kubelb_relay_threads", frozenset(), "mode", tally.relays),
        **by("kubelb_child_deaths_total", frozenset(), "kind", tally.deaths),
        **by("kubelb_reloads_total", frozenset(), "result", tally.reloads),
    }
    if tally.reloaded_at is not None:
        values["kubelb_last_reload_timestamp_seconds", frozenset()] = tally.reloaded_at
    for pool, tallies in zip(status.pools, tally.pools, strict=True):
        for server, counted in zip(pool.servers, tallies, strict=True):
            labels = frozenset({("pool", pool.name), ("server", server.name), ("address", server.address)})
            values |= {(name, labels): value for name, value in _of_server(server).items()}
            for state in STATES:
                values["kubelb_server_state", labels | {("state", state)}] = state == server.state
            for finding in typing.get_args(Finding):
                values["kubelb_server_finding", labels | {("finding", finding)}] = finding == server.finding
            values["kubelb_bytes_total", labels | {("direction", "up")}] = server.bytes_up
            values["kubelb_bytes_total", labels | {("direction", "down")}] = server.bytes_down
            values |= by("kubelb_dial_failures_total", labels, "reason", counted.dial_failures)
            values |= by("kubelb_sessions_ended_total", labels, "cause", counted.ends)
            values |= by("kubelb_probes_total", labels, "result", counted.results)
            values |= histogram("kubelb_dial_duration_seconds", labels, counted.dials)
            values |= histogram("kubelb_session_duration_seconds", labels, counted.sessions)
            values |= histogram("kubelb_probe_duration_seconds", labels, counted.probes)
    for usage in used:
        labels = frozenset({("process", usage.process)})
        values["kubelb_process_cpu_seconds_total", labels] = usage.cpu_seconds
        values["kubelb_process_memory_bytes", labels] = usage.memory_bytes
        values["kubelb_process_open_fds", labels] = usage.open_fds
    return values


def by(name: str, labels: Labels, label: str, values: Counts) -> dict[tuple[str, Labels], float]:
    return {(name, labels | {(label, value)}): count for value, count in values.items()}


def histogram(name: str, labels: Labels, counted: Times) -> dict[tuple[str, Labels], float]:
    """As the format defines it (prometheus.io/docs/instrumenting/exposition_formats); nothing without a count."""
    if not counted.up_to[-1][1]:
        return {}
    values: dict[tuple[str, Labels], float] = {
        (f"{name}_bucket", labels | {("le", "+Inf" if bound == math.inf else str(bound))}): count
        for bound, count in counted.up_to
    }
    return {**values, (f"{name}_sum", labels): counted.seconds, (f"{name}_count", labels): counted.up_to[-1][1]}


def _of_server(server: Server) -> dict[str, float]:
    values: dict[str, float] = {
        "kubelb_sessions": server.active,
        "kubelb_sessions_total": server.opened,
        "kubelb_server_state_since_seconds": server.since,
        "kubelb_server_drained": server.drained,
    }
    if server.probe is not None:
        values["kubelb_probe_seconds"] = server.probe.seconds
        values["kubelb_probe_ok"] = server.probe.fault == ""
    if server.readiness_visible is not None:
        values["kubelb_readiness_visible"] = server.readiness_visible
    return values


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pictures(), usages)
def test_every_figure_and_nothing_else(picture: tuple[Status, Tally], used: list[Usage]) -> None:
    assert parsed(exposition(*picture, used)) == expected(picture, used)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pictures(), usages)
def test_every_metric_says_what_it_is(picture: tuple[Status, Tally], used: list[Usage]) -> None:
    lines = exposition(*picture, used).decode().split("\n")
    names = {re.sub("_seconds_(bucket|sum|count)$", "_seconds", name) for name, _ in expected(picture, used)}
    helped = {line.split(" ")[2] for line in lines if line.startswith("# HELP kubelb_")}
    types = {line.split(" ")[2]: line.split(" ")[3] for line in lines if line.startswith("# TYPE kubelb_")}
    assert names <= helped == set(types)
    assert {name for name, kind in types.items() if kind == "counter"} == {
        name for name in types if name.endswith("_total")
    }
    assert {name for name, kind in types.items() if kind == "histogram"} == {
        name for name in types if name.endswith("_duration_seconds")
    }
    assert set(types.values()) == {"counter", "gauge", "histogram"}


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pictures())
def test_the_buckets_of_a_histogram_grow_up_to_its_count(picture: tuple[Status, Tally]) -> None:
    values = parsed(exposition(*picture, ()))
    for (name, labels), count in values.items():
        if name.endswith("_count"):
            buckets = {
                float(dict(has)["le"]): value
                for (other, has), value in values.items()
                if other == name.replace("_count", "_bucket") and labels < has
            }
            assert [value for _, value in sorted(buckets.items())] == sorted(buckets.values())
            assert buckets[math.inf] == count > 0


NO_TIME = Times(0.0, ((math.inf, 0),))
NOTHING_COUNTED = ServerTally(dials=NO_TIME, dial_failures={}, sessions=NO_TIME, ends={}, probes=NO_TIME, results={})


def test_a_hostile_name_stays_in_its_label() -> None:
    name = 'x"} 666\nkubelb_clients 7\\'
    pool = Pool(name=name, balance="hash", servers=(_server("10.0.0.1:6443"),))
    status = Status(version="1", pid=1, snapshot=1, clients=Clients(active=0, accepted=0), pools=(pool,))
    tally = Tally(
        turned_away={}, relays={}, alone=0, deaths={}, reloads={}, reloaded_at=None, pools=((NOTHING_COUNTED,),)
    )
    lines = exposition(status, tally, ()).decode().split("\n")
    assert (
        'kubelb_sessions{address="10.0.0.1:6443",pool="x\\"} 666\\nkubelb_clients 7\\\\",server="10.0.0.1:6443"} 5.0'
        in lines
    )
    assert [line for line in lines if line.startswith("kubelb_clients ")] == ["kubelb_clients 0.0"]


def _server(name: str) -> Server:
    return Server(
        name=name,
        address=name,
        active=5,
        opened=0,
        bytes_up=0,
        bytes_down=0,
        dial_failures=0,
        resets=0,
        state="up",
        since=0,
        reason="",
        tier=0,
        backup=False,
        drained=False,
        failing=False,
        ramping=False,
        probe=None,
    )
