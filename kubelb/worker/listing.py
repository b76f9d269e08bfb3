"""What sessions a relay thread has, told to control a few at a time, so that the sessions themselves hardly notice.

Runs on the relay thread whose sessions they are. A message that finds no room is offered again a moment later:
a supervisor that is slow holds up the list, never a session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kubelb.relay.session import Session
from kubelb.relay.thread import RelayThread
from kubelb.wire.messages import SESSIONS_AT_MOST, AskSessions, SessionList, SessionSeen
from kubelb.worker.books import Visit

_BITE = SESSIONS_AT_MOST
_PATIENCE = 5.0
"""Seconds after which nobody waits for the rest any more."""


class Listing:
    """One relay thread's answer to one question; ``wheel_key`` is the relay thread's."""

    wheel_key = 0

    def __init__(
        self, thread: RelayThread, row: int, question: AskSessions, offer: Callable[[SessionList], bool]
    ) -> None:
        """``row`` is the relay thread's in the shared counters; ``offer`` must not wait, and says if it took it."""
        self._thread = thread
        self._row = row
        self._question = question
        self._offer = offer
        self._give_up_at = thread.now + _PATIENCE
        slots = None if question.slots is None else frozenset(question.slots)
        self._left = [session for session in thread.sessions() if slots is None or session.slot in slots]
        self._part = 0

    def expired(self) -> None:
        """As the relay thread's deadline, and to begin with: tell of a few, and come back for the rest."""
        bite, rest = self._left[:_BITE], self._left[_BITE:]
        part = SessionList(
            number=self._question.number,
            row=self._row,
            part=self._part,
            sessions=tuple(_seen(bite)),
            last=not rest,
        )
        if self._offer(part):
            self._left = rest
            self._part += 1
            if part.last:
                return
        if self._thread.now < self._give_up_at:
            # In the wheel's next tick, so that others have had their turn.
            self._thread.set_deadline(self, 0.0)


def _seen(sessions: list[Session]) -> Iterator[SessionSeen]:
    for session in sessions:
        if isinstance(session.about, Visit):
            yield SessionSeen(
                slot=session.slot,
                client=session.about.client,
                listener=session.about.listener.address,
                opened_at=session.about.opened_at,
                moved_at=session.moved_at,
                bytes_up=session.up.moved,
                bytes_down=session.down.moved,
            )
