"""What explains a client's failure under load: a worker that is short of something may cut its own, and no others."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.support.load.faults import WorkerShort, unexplained
from tests.support.load.records import Failure

SHORT = WorkerShort(since=100.0, until=102.0, ports=frozenset({7}))
CUT = Failure("idle", "reset", "cut", "being idle", began=10.0, at=101.0, server=None, port=7)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param({}, id="its client's"),
        pytest.param({"how": "ended"}, id="its client's, by an end"),
        pytest.param({"at": 103.0}, id="noticed a moment later"),
        pytest.param({"port": 8, "began": 100.5}, id="of one that came meanwhile"),
    ],
)
def test_a_cut_of_its_own_client_is_explained(failure: dict[str, Any]) -> None:
    assert unexplained([dataclasses.replace(CUT, **failure)], [SHORT]) == []


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param({"how": "wrong"}, id="others' bytes"),
        pytest.param({"how": "late"}, id="silence"),
        pytest.param({"how": "refused"}, id="no connection"),
        pytest.param({"port": 8}, id="another worker's client"),
        pytest.param({"at": 99.0}, id="before"),
        pytest.param({"at": 110.0}, id="long after"),
        pytest.param({"began": 103.0, "at": 103.5}, id="of one that came after"),
    ],
)
def test_nothing_else_is(failure: dict[str, Any]) -> None:
    failed = dataclasses.replace(CUT, **failure)
    assert unexplained([failed], [SHORT]) == [failed]
