"""The status document: its JSON is a promise, so it is written out here."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from kubelb import __version__
from kubelb.control.status import Status, status
from kubelb.snapshot import Condition, Pool, Probe, Server, Snapshot
from kubelb.stats import Count

SECOND = 10**9
NOON = 1.8e9
"""A moment, in Unix seconds."""


class Rows:
    """Two rows of counters."""

    def __init__(self) -> None:
        self.words: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])

    def total(self, slot: int, count: int) -> int:
        return sum(self.words[slot, count])

    def each(self, slot: int, count: int) -> list[int]:
        return self.words[slot, count]


def snapshot(*servers: Server, slow_start: float = 0) -> Snapshot:
    pool = Pool(name="api", balance="least_conn", hash_key="$remote_addr", servers=servers, slow_start=slow_start)
    return Snapshot(version=7, listeners=(), pools=(pool,))


def test_the_document() -> None:
    rows = Rows()
    rows.words[0, Count.ACTIVE], rows.words[0, Count.OPENED] = [3, 1], [10, 11]
    for n, count in enumerate((Count.ACTIVE, Count.OPENED, Count.BYTES_UP, Count.BYTES_DOWN), 1):
        rows.words[5, count] = [n, 10 * n]
    rows.words[5, Count.DIAL_FAILURES] = [5, 50]
    rows.words[5, Count.CLIENT_RESETS], rows.words[5, Count.SERVER_RESETS] = [1, 20], [2, 0]
    rows.words[5, Count.CUTS] = [3, 40]
    picture = snapshot(
        Server(
            slot=5,
            name="one:6443",
            address=("10.0.0.1", 6443),
            state="draining",
            since=900.0,
            reason="the operator wants it empty",
            drained=True,
            probe=Probe(ended_at=999.5, seconds=0.0123, fault="connection refused"),
            known=Condition(finding="closed", door="refused", heard_at=998.0, readiness_visible=True),
        ),
        Server(slot=6, name="[2001:db8::2]:6443", address=("2001:db8::2", 6443), backup=True, tier=2),
    )
    quiet = {"active": 0, "opened": 0, "bytes_up": 0, "bytes_down": 0, "dial_failures": 0, "resets": 0}
    now = status(picture, rows, pid=42, now=1000 * SECOND, unix=NOON)
    answer = msgspec.json.encode(now)
    assert msgspec.json.decode(answer) == {
        "version": __version__,
        "pid": 42,
        "snapshot": 7,
        "clients": {"active": 4, "accepted": 21},
        "pools": [
            {
                "name": "api",
                "balance": "least_conn",
                "servers": [
                    {
                        "name": "one:6443",
                        "address": "10.0.0.1:6443",
                        "active": 11,
                        "opened": 22,
                        "bytes_up": 33,
                        "bytes_down": 44,
                        "dial_failures": 55,
                        "resets": 66,
                        "state": "draining",
                        "since": NOON - 100,
                        "reason": "the operator wants it empty",
                        "tier": 0,
                        "backup": False,
                        "drained": True,
                        "failing": False,
                        "ramping": False,
                        "probe": {"at": NOON - 0.5, "seconds": 0.0123, "fault": "connection refused"},
                        "finding": "closed",
                        "evidence": "acknowledges, refuses: closed",
                        "readiness_visible": True,
                    },
                    {
                        "name": "[2001:db8::2]:6443",
                        "address": "[2001:db8::2]:6443",
                        **quiet,
                        "state": "unknown",
                        "since": NOON - 1000,
                        "reason": "",
                        "tier": 2,
                        "backup": True,
                        "drained": False,
                        "failing": False,
                        "ramping": False,
                        "probe": None,
                        "finding": "unknown",
                        "evidence": "",
                        "readiness_visible": None,
                    },
                ],
            }
        ],
    }
    assert msgspec.json.decode(answer, type=Status) == now


def test_failing_is_seen_over_all_rows_and_passes() -> None:
    rows = Rows()
    rows.words[5, Count.FAILS] = [1, 1]
    rows.words[5, Count.FAILED_AT] = [100 * SECOND, 101 * SECOND]
    picture = snapshot(Server(slot=5, name="one:6443", address=("10.0.0.1", 6443), max_fails=2, fail_timeout=10))

    def failing(now: int) -> bool:
        return status(picture, rows, pid=1, now=now, unix=NOON).pools[0].servers[0].failing

    assert failing(102 * SECOND)
    assert not failing(112 * SECOND)
    rows.words[5, Count.PASSED_AT] = [0, 102 * SECOND]
    assert not failing(103 * SECOND)
    rows.words[5, Count.PASSED_AT] = [0, 0]
    rows.words[5, Count.TRIED_AT] = [111 * SECOND, 0]
    assert failing(112 * SECOND)


def test_the_share_grows_for_as_long_as_the_slow_start_takes() -> None:
    back = Server(slot=5, name="one:6443", address=("10.0.0.1", 6443), state="up", ramp_from=100.0)
    old = Server(slot=6, name="two:6443", address=("10.0.0.2", 6443), state="up")
    picture = snapshot(back, old, slow_start=10.0)

    def ramping(now: float) -> list[bool]:
        answer = status(picture, Rows(), pid=1, now=int(now * SECOND), unix=NOON)
        return [server.ramping for server in answer.pools[0].servers]

    assert [ramping(now) for now in (100.0, 109.9, 110.0)] == [[True, False], [True, False], [False, False]]
