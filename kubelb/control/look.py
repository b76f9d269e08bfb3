"""A look at a server: one question, on a connection that is kept or a new one, and what is seen until it is answered.

On control's loop. What is seen is told in stages. A new connection that is not accepted at once is told of while it
may still be accepted, and so is its being accepted, and that an answer takes its time. A question that is not
answered within the time limit is told of as silence, and its answer is waited for a while longer: the look is late
then, and newer ones go on beside it.

A kept connection that fails proves nothing, since it may just have been closed: the question is put again on a new
one before it counts. Where the kept one stays silent it gets company by a new one, and the first answer is the
look's. Where a new connection fails, or is not accepted, the kept one is no proof that the server takes clients, and
is given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from kubelb.config.model.pools import Health
from kubelb.control.loop import Loop, Timer
from kubelb.health.probes import FAULTS, Attempt, Outcome, Prober, Result
from kubelb.own_limits import own_reason

CONNECT_PATIENCE: Final = 0.4
"""Seconds after which a connection that was not accepted yet is told of."""
_COMPANY: Final = 0.5
"""The part of the time limit after which a question on a kept connection gets company, where the server's kernel has
acknowledged it. One that is not acknowledged within :data:`CONNECT_PATIENCE` gets it then."""


_SLOW: Final = 0.5
"""Seconds after which a question that is not answered is told of: newcomers had better go elsewhere meanwhile."""


@dataclass(eq=False)
class _Question:
    attempt: Attempt
    begun_at: float
    is_told: bool = False
    """That it was not accepted at once."""
    is_accepted: bool = False
    """That it was accepted has been told."""


class Look:
    """Owns its attempts, which own their sockets."""

    def __init__(
        self, loop: Loop, prober: Prober, health: Health, saw: Callable[[Look, Result, float], None]
    ) -> None:
        """``saw`` is told what is seen, and when the question was put that has shown it; not of a look that is
        abandoned."""
        self._loop = loop
        self._prober = prober
        self._health = health
        self._saw = saw
        self._questions: list[_Question] = []
        self._timers: list[Timer] = []
        self._anew = False
        self.is_late = False
        """It was not answered in time, and still may be."""
        self.begun_at = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Nothing more will be told of it; once it has begun."""
        return not self._questions

    @property
    def is_unanswered(self) -> bool:
        """It waits for nothing but connections of which was told that they are not accepted."""
        return all(question.is_told and not question.attempt.connected for question in self._questions)

    def begin(self, anew: bool) -> None:
        """``anew``: not on a kept connection."""
        self._after(self._health.timeout, self._reach_limit)
        attempt = self._prober.begin_anew() if anew else self._prober.begin()
        if attempt.kept:
            self._after(CONNECT_PATIENCE, self._check_kept)
            self._after(self._health.timeout * _COMPANY, self._ask_anew)
        self._ask(attempt)

    def abandon(self) -> None:
        """No more of it."""
        self._cancel()
        for question in list(self._questions):
            self._give_up(question)

    def _after(self, seconds: float, call: Callable[[], None]) -> None:
        self._timers.append(self._loop.at(time.monotonic() + seconds, call))

    def _cancel(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = []

    def _give_up(self, question: _Question) -> None:
        self._questions.remove(question)
        self._loop.unwatch(question.attempt.fileno())
        question.attempt.abandon()

    def _give_up_kept(self) -> None:
        self._prober.discard()
        for question in [question for question in self._questions if question.attempt.kept]:
            self._give_up(question)

    def _check_kept(self) -> None:
        if any(question.attempt.unacknowledged() for question in self._questions):
            self._ask_anew()

    def _ask_anew(self) -> None:
        if not self._anew:
            self._ask(self._prober.begin_anew())

    def _ask(self, attempt: Attempt) -> None:
        question = _Question(attempt, time.monotonic())
        self._anew |= not attempt.kept
        self._questions.append(question)
        self._go_on(question, watched=False)
        if question in self._questions:
            self._after(_SLOW, partial(self._doubt, question))
            if not attempt.connected:
                self._after(CONNECT_PATIENCE, partial(self._miss, question))

    def _miss(self, question: _Question) -> None:
        if question in self._questions and not question.attempt.connected:
            question.is_told = True
            self._give_up_kept()
            result = Result(Outcome.UNANSWERED, f"no answer to a connect within {CONNECT_PATIENCE:g} s")
            self._saw(self, result, question.begun_at)

    def _doubt(self, question: _Question) -> None:
        if question in self._questions and question.attempt.connected:
            self._saw(self, Result(Outcome.SLOW, f"no answer for {_SLOW:g} s"), question.begun_at)

    def _go_on(self, question: _Question, watched: bool = True) -> None:
        attempt = question.attempt
        if watched:
            self._loop.unwatch(attempt.fileno())
        result = attempt.step()
        if result is None and (result := self._watch(question)) is None:
            self._tell_accepted(question)
            return
        self._questions.remove(question)
        if not attempt.kept or result.outcome not in FAULTS:
            self._end(question, result)
        elif not self.is_late:
            self._ask_anew()

    def _watch(self, question: _Question) -> Result | None:
        """None: it goes on once the server has said more; else the result, which says nothing of the server."""
        attempt = question.attempt
        try:
            self._loop.watch(attempt.fileno(), attempt.events, partial(self._go_on, question))
        except OSError as error:
            attempt.abandon()
            return Result(Outcome.NOT_ASKED, f"own limit: {own_reason(error.errno or 0)}")
        return None

    def _tell_accepted(self, question: _Question) -> None:
        if question.attempt.connected and not question.attempt.kept and not question.is_accepted:
            question.is_accepted = True
            self._saw(self, Result(Outcome.ACCEPTED, "accepted a connection"), question.begun_at)

    def _end(self, question: _Question, result: Result) -> None:
        if result.outcome in FAULTS:
            self._give_up_kept()
        self.abandon()
        self._saw(self, result, question.begun_at)

    def _miss_limit(self, reason: str) -> None:
        """Each question is told of once."""
        question = self._questions[-1]
        if question.is_told:
            self.abandon()
        else:
            self._end(question, Result(Outcome.UNANSWERED, reason))

    def _reach_limit(self) -> None:
        self._cancel()
        reason = f"no answer within {self._health.timeout:g} s"
        connected = [question for question in self._questions if question.attempt.connected]
        if not connected:
            self._miss_limit(reason)
            return
        patient = min(connected, key=lambda question: question.attempt.unacknowledged())
        for other in [question for question in self._questions if question is not patient]:
            self._give_up(other)
        self.is_late = True
        self._after(self._health.hang_timeout, self.abandon)
        self._saw(self, Result(Outcome.SILENT, reason), patient.begun_at)
