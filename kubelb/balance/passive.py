"""Passive failures: a server that refuses real sessions is left out for a while; pure.

The rules of nginx's ``max_fails`` and ``fail_timeout``, shared by all workers without a lock. Every relay thread
writes its own :class:`Streak` for each server (the words from :attr:`kubelb.stats.Count.FAILS` on) and reads all of
them; the functions here combine them. Times are nanoseconds of the monotonic clock; 0 is never.

The window follows nginx's source (``ngx_stream_upstream_get_peer`` and ``ngx_stream_upstream_free_round_robin_peer``
in src/stream/ngx_stream_upstream_round_robin.c), which is what its documentation's "``max_fails`` attempts during
``fail_timeout``" comes to:

- Failures add up over all streaks, successes between them or not. The first success begun ``fail_timeout`` or more
  after the last of them voids them all; without one they stay.
- With ``max_fails`` of them the server is failing, until ``fail_timeout`` has passed since the last failure.
- Then one session is let through as a trial; whoever picks it writes ``tried_at``, and the others keep away for
  another ``fail_timeout``. The trial's success voids the failures, its failure begins the next ``fail_timeout``. A
  trial that never ends (its worker died) is followed by another.

One thing is better than in nginx: any success of a failing server voids its failures. Such a session can only be the
trial or the last resort of a pool with nothing else, and either has shown that the server is back. But a session
voids only failures from before it was begun: a connect that was under way when the server failed proves nothing.

Two threads that look at the same instant may both send a trial; that costs one session a detour, and a lock would
cost all of them time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Streak(NamedTuple):
    """What one relay thread knows of one server. Write ``fails`` before ``failed_at``: readers see each alone."""

    fails: int = 0
    failed_at: int = 0
    tried_at: int = 0
    passed_at: int = 0
    """When the last session that voided failures was begun."""


def failing(streaks: Iterable[Streak], max_fails: int, fail_timeout_ns: int, now_ns: int) -> bool:
    """Whether the server is to be left out now. ``max_fails`` 0: never."""
    fails, checked_at = _judge(tuple(streaks))
    return 0 < max_fails <= fails and now_ns - checked_at < fail_timeout_ns


def is_trial(streaks: Iterable[Streak], max_fails: int, fail_timeout_ns: int, now_ns: int) -> bool:
    """Whether a session sent to the server now is its trial: whoever sends it writes ``tried_at`` in its streak."""
    fails, checked_at = _judge(tuple(streaks))
    return 0 < max_fails <= fails and now_ns - checked_at >= fail_timeout_ns


def after_failure(own: Streak, latest_passed_at: int, now_ns: int) -> Streak:
    """The thread's streak once its dial has failed; ``latest_passed_at`` is the latest of all streaks."""
    fails = own.fails + 1 if own.failed_at > latest_passed_at else 1
    return own._replace(fails=fails, failed_at=now_ns)


def after_success(
    own: Streak, streaks: Sequence[Streak], max_fails: int, fail_timeout_ns: int, begun_ns: int
) -> Streak:
    """The thread's streak once its dial, begun at ``begun_ns``, has succeeded; ``streaks`` are all, ``own`` included.

    Own failures that are void, by this or by another thread's success, go back to 0; so while no streak has
    ``fails`` there is nothing to be asked of this module.
    """
    fails, _ = _judge(streaks)
    paused = begun_ns - max(streak.failed_at for streak in streaks) >= fail_timeout_ns
    proven = fails > 0 and (paused or 0 < max_fails <= fails)
    passed_at = max(own.passed_at, begun_ns) if proven else own.passed_at
    voided_at = max(passed_at, *(streak.passed_at for streak in streaks))
    return own._replace(fails=own.fails if own.failed_at > voided_at else 0, passed_at=passed_at)


def _judge(streaks: Sequence[Streak]) -> tuple[int, int]:
    """The failures that count, and when the server last failed or was tried."""
    passed_at = max((streak.passed_at for streak in streaks), default=0)
    fails = sum(streak.fails for streak in streaks if streak.failed_at > passed_at)
    return fails, max((max(streak.failed_at, streak.tried_at) for streak in streaks), default=0)
