from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.snapshot import Pool, Server, Snapshot
from kubelb.supervisor.credence import Known, fault_in
from kubelb.supervisor.plan import Place
from kubelb.wire.message_sets import FromControl, FromWorker
from kubelb.wire.messages import (
    AskSessions,
    GiveUp,
    PoolsChanged,
    Quit,
    ReadAnew,
    Ready,
    Release,
    SessionList,
    Sighting,
    Stalled,
    Upgrade,
)

NOW = 1000.0
WORKER = Place("worker-0", rows=(2, 3), pid=7)
RUNNING = Snapshot(version=5, generation=2, listeners=(), pools=())
KNOWN = Known(NOW, RUNNING, read=4)


def changed(version: int, *slots: int, generation: int = 2) -> PoolsChanged:
    servers = tuple(Server(slot=slot, name=f"10.0.0.{slot}:1", address=(f"10.0.0.{slot}", 1)) for slot in slots)
    return PoolsChanged(generation, version, (Pool(name="p", balance="least_conn", hash_key="", servers=servers),))


def fault(message: FromWorker | FromControl, place: Place = WORKER, known: Known = KNOWN) -> str | None:
    return fault_in(message, place, known)


@pytest.mark.parametrize(
    "message",
    [
        Ready(),
        Sighting(1, NOW, "connection refused"),
        Stalled(1, NOW, NOW - 1, acknowledged=False, retransmissions=2),
        SessionList(1, 3, 0, (), last=True),
        changed(6, 2, 1, 255),
        changed(7),
        changed(7, generation=4),
        ReadAnew(1),
        GiveUp(1),
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


def test_it_does_not_ask_again_before_it_is_answered() -> None:
    assert fault(ReadAnew(2), known=KNOWN._replace(reading=True))


@given(st.floats(NOW + 2, 1e12))
def test_nobody_has_seen_what_is_still_to_come(at: float) -> None:
    assert fault(Sighting(1, at, ""))
    assert fault(Stalled(1, at, NOW, acknowledged=True, retransmissions=0))


@given(st.integers(0, 197).filter(lambda row: row not in WORKER.rows))
def test_nobody_tells_of_the_sessions_of_another_row(row: int) -> None:
    assert fault(SessionList(1, row, 0, (), last=True))


@given(st.integers(0, RUNNING.version))
def test_versions_grow(version: int) -> None:
    assert fault(changed(version, 1))


@given(st.integers().filter(lambda generation: generation not in (2, 4)))
def test_only_what_root_has_read_is_gone_by(generation: int) -> None:
    assert fault(changed(6, 1, generation=generation))
    assert fault(changed(6, 1, generation=4), known=KNOWN._replace(read=None))


@given(st.lists(st.integers(0, 255), max_size=20))
def test_a_server_has_a_slot_of_its_own(slots: list[int]) -> None:
    wrong = 0 in slots or len(set(slots)) < len(slots)
    assert bool(fault(changed(6, *slots))) == wrong
