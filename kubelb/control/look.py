"""A look at a server: one probe with its time limit, on up to two connections.

On control's loop. A probe that fails on a connection kept from earlier proves nothing, since that may just have been
closed: it is made again on a new one before it counts. Where the kept one stays silent for a while the new one is
tried beside it, and the first answer is the look's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from kubelb.control.loop import Loop, Timer
from kubelb.health.probes import FAULTS, Attempt, Outcome, Prober, Result
from kubelb.own_limits import own_reason

_SILENCE = 0.25
"""The part of the time limit after which a kept connection that has not answered gets company."""


class Look:
    """Owns its attempts, which own their sockets."""

    def __init__(self, loop: Loop, prober: Prober, timeout: float, ended: Callable[[Look, Result], None]) -> None:
        """``timeout`` in seconds; ``ended`` is called once, unless the look is abandoned before."""
        self._loop = loop
        self._prober = prober
        self._timeout = timeout
        self._ended = ended
        self._attempts: list[Attempt] = []
        self._timers: list[Timer] = []
        self._anew = False
        self._over = False
        self.begun_at = time.monotonic()

    def begin(self, anew: bool) -> None:
        """``anew``: not on a kept connection."""
        self._timers.append(self._loop.at(self.begun_at + self._timeout, self._give_up))
        if anew:
            self._try_anew()
        else:
            self._timers.append(self._loop.at(self.begun_at + self._timeout * _SILENCE, self._try_anew))
            self._try(self._prober.begin())

    def _give_up(self) -> None:
        accepted = any(attempt.connected and not attempt.kept for attempt in self._attempts)
        outcome = Outcome.SILENT if accepted or not self._anew else Outcome.UNANSWERED
        self._end(Result(outcome, f"no answer within {self._timeout:g} s"))

    def _try_anew(self) -> None:
        if not self._anew:
            self._try(self._prober.begin_anew())

    def _try(self, attempt: Attempt) -> None:
        self._anew |= not attempt.kept
        self._attempts.append(attempt)
        self._go_on(attempt, watched=False)

    def _go_on(self, attempt: Attempt, watched: bool = True) -> None:
        if watched:
            self._loop.unwatch(attempt.fileno())
        result = attempt.step()
        if result is None and (result := self._watch(attempt)) is None:
            return
        self._attempts.remove(attempt)
        if attempt.kept and result.outcome in FAULTS:
            self._try_anew()
        else:
            self._end(result)

    def _watch(self, attempt: Attempt) -> Result | None:
        """None: it goes on once the server has said more; else the result, which says nothing of the server."""
        try:
            self._loop.watch(attempt.fileno(), attempt.events, partial(self._go_on, attempt))
        except OSError as error:
            attempt.abandon()
            return Result(Outcome.NOT_ASKED, f"own limit: {own_reason(error.errno or 0)}")
        return None

    def _end(self, result: Result) -> None:
        if not self._over:
            self.abandon()
            self._ended(self, result)

    def abandon(self) -> None:
        """No more of it; ``ended`` is not called."""
        self._over = True
        for timer in self._timers:
            timer.cancel()
        for attempt in self._attempts:
            self._loop.unwatch(attempt.fileno())
            attempt.abandon()
        self._attempts = []
