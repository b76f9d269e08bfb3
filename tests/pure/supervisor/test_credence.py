from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.snapshot import Pool, Server, Snapshot
from kubelb.supervisor.credence import fault_in
from kubelb.supervisor.plan import Place
from kubelb.wire.message_sets import FromControl, FromWorker
from kubelb.wire.messages import (
    AskSessions,
    Configured,
    Quit,
    Ready,
    Release,
    SessionList,
    Sighting,
    SnapshotChanged,
    Upgrade,
)

NOW = 1000.0
WORKER = Place("worker-0", rows=(2, 3), pid=7)


def a_snapshot(version: int, *slots: int) -> Snapshot:
    servers = tuple(Server(slot=slot, name=f"10.0.0.{slot}:1", address=(f"10.0.0.{slot}", 1)) for slot in slots)
    return Snapshot(
        version=version, listeners=(), pools=(Pool(name="p", balance="least_conn", hash_key="", servers=servers),)
    )


RUNNING = a_snapshot(5, 1, 2)


def fault(message: FromWorker | FromControl, place: Place = WORKER) -> str | None:
    return fault_in(message, place, RUNNING, NOW)


@pytest.mark.parametrize(
    "message",
    [
        Ready(),
        Sighting(1, NOW, "connection refused"),
        SessionList(1, 3, 0, (), last=True),
        SnapshotChanged(a_snapshot(6, 2, 1, 255)),
        SnapshotChanged(a_snapshot(7)),
        Configured(a_snapshot(6, 2, 1, 255), "", None),
        AskSessions(1, None),
        Release(1, (), 0.0),
        Quit(gracefully=True),
        Upgrade(),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_can_be_is_believed(message: FromWorker | FromControl) -> None:
    assert fault(message) is None


def test_it_is_ready_once() -> None:
    assert fault(Ready(), Place("worker-0", pid=7, ready=True))


@given(st.floats(NOW + 2, 1e12))
def test_nobody_has_seen_what_is_still_to_come(at: float) -> None:
    assert fault(Sighting(1, at, ""))


@given(st.integers(0, 197).filter(lambda row: row not in WORKER.rows))
def test_nobody_tells_of_the_sessions_of_another_row(row: int) -> None:
    assert fault(SessionList(1, row, 0, (), last=True))


@given(st.integers(0, RUNNING.version))
def test_versions_grow(version: int) -> None:
    assert fault(SnapshotChanged(a_snapshot(version, 1)))
    assert fault(Configured(a_snapshot(version, 1), "", None))


@given(st.lists(st.integers(0, 255), max_size=20))
def test_a_server_has_a_slot_of_its_own(slots: list[int]) -> None:
    wrong = 0 in slots or len(set(slots)) < len(slots)
    assert bool(fault(SnapshotChanged(a_snapshot(6, *slots)))) == wrong
    assert bool(fault(Configured(a_snapshot(6, *slots), "", None))) == wrong
