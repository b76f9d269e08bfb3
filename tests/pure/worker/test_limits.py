"""What becomes of a client under several limits; that they hold is tests/oracle/test_limit_conn.py's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from kubelb.config.model.listeners import Limit
from kubelb.config.variables import Client, Worker
from kubelb.crowds import Crowds
from kubelb.snapshot import Listener
from kubelb.stats import Table
from kubelb.worker.limits import Limits

ADDR = Limit(key="$remote_addr", connections=2, zone="addr")
ALL = Limit(key="$server_port", connections=3, zone="all")
WHO = Client(1, ("10.0.0.9", 50001), ("10.0.0.1", 6443))


@pytest.fixture
def crowds() -> Iterator[Crowds]:
    table = Table(1)
    yield Crowds(table, 0)
    table.close()


def limits(crowds: Crowds, *wanted: Limit) -> Limits:
    return Limits(Listener(address="x", pool="p", connect_timeout=1.0, limits=wanted), crowds, Worker("node", 1))


def test_who_is_rejected_by_one_is_counted_by_none(crowds: Crowds) -> None:
    both = limits(crowds, ADDR, ALL)
    (kind, _) = both.counted(WHO).counted_as
    assert limits(crowds, ALL).counted(WHO).limit_status == "PASSED"
    assert limits(crowds, ALL).counted(WHO).limit_status == "PASSED"
    rejected = both.counted(WHO)
    assert (rejected.limit_status, rejected.counted_as) == ("REJECTED", ())
    assert crowds.count(kind) == 1


def test_who_has_no_key_or_too_long_a_one_is_not_counted(crowds: Crowds) -> None:
    nobody = Limit(key="$proxy_protocol_addr", connections=1)
    long = Limit(key="$hostname" * 64, connections=1)
    with capture_logs() as logs:
        for _ in range(3):
            who = limits(crowds, nobody, long).counted(WHO)
            assert (who.limit_status, who.counted_as) == ("", ())
    assert logs[0]["event"] == "limit_key_too_long"
    assert limits(crowds, Limit(key="$hostname" * 63, connections=1)).counted(WHO).limit_status == "PASSED"


def test_zones_and_keys_are_counted_apart(crowds: Crowds) -> None:
    kinds = {
        kind
        for limit in (ADDR, ALL, Limit(key="$remote_addr", connections=2), Limit(key="${remote_addr}", connections=2))
        for kind in limits(crowds, limit).counted(WHO).counted_as
    }
    assert len(kinds) == 4
    assert len({*kinds, *limits(crowds, ADDR).counted(WHO).counted_as}) == 4


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_who_is_too_many_is_told_of(crowds: Crowds, level: str) -> None:
    limit = Limit(key="$remote_addr", connections=1, zone="z", dry_run=True, log_level=level)  # type: ignore[arg-type]
    with capture_logs() as logs:
        assert limits(crowds, limit).counted(WHO).limit_status == "PASSED"
        assert not logs
        rejected = limits(crowds, limit).counted(WHO)
    assert (rejected.limit_status, rejected.counted_as) == ("REJECTED_DRY_RUN", ())
    (told,) = logs
    assert (told["event"], told["log_level"], told["zone"]) == ("limiting_connections", level, "z")
