"""The relay where splice, descriptors or large pipes are refused, by a real seccomp filter and real limits."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.syscalls import require_filters


def confined(scenario: str) -> tuple[Any, list[str]]:
    """What it says, and the events in its log."""
    command = [sys.executable, "-m", "tests.real.relay.confined", scenario]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), [json.loads(line)["event"] for line in done.stderr.splitlines()]


@pytest.mark.parametrize("mode", ["shared", "alone"])
def test_where_splice_is_refused_bytes_are_copied_and_that_is_said_once(mode: str) -> None:
    require_filters()
    arrived, events = confined(f"splice-{mode}")
    assert arrived == [True] * 4
    assert events == ["splice_refused"]


def test_where_descriptors_run_out_the_pool_gives_buffers() -> None:
    given, events = confined("descriptors-pipes")
    assert given == ["SplicePipe", "CopyBuffer", "CopyBuffer", "CopyBuffer", "SplicePipe"]
    assert events == []


def test_where_descriptors_run_out_what_is_held_back_is_not_lost() -> None:
    (held_both_ways, arrived), events = confined("descriptors-blocked")
    assert held_both_ways
    assert arrived
    assert events == []


def test_where_descriptors_run_out_a_session_shares_its_thread() -> None:
    (shared, arrived), events = confined("descriptors-thread")
    assert shared
    assert arrived
    assert events == []


def test_a_pipe_makes_do_with_what_the_limit_allows() -> None:
    (room, size), events = confined("pipe-size")
    assert 4096 <= size == room < 1 << 30
    assert events == []
