"""A thread for one session: while it moves bulk data, or always where sessions do not share threads.

The same mover as a shared relay thread's, with longer steps and nothing else to do between them. The thread owns
the session until it ends or, where it is to return, until it has been quiet for a while; either way it tells the
relay thread it came from, and ends itself. Its descriptors, the eventfd that wakes it among them, are that relay
thread's: made there, and closed there once it knows that this thread is through with them.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress

from kubelb import log
from kubelb.relay.mover import Mover
from kubelb.relay.pipes import BULK, SHARED, Pool
from kubelb.relay.session import Condition, End, Session

_QUIET = 1.0
"""Seconds without a byte after which a session returns."""


Post = Callable[[Callable[[], None]], None]


class Alone:
    """Drives a mover that holds one session. Until :meth:`start` the session stays with whoever has it."""

    def __init__(self, session: Session, zero_copy: bool, returns: bool, fell_back: Callable[[], None]) -> None:
        """``returns``: it goes back when it is quiet; ``fell_back`` is told on its thread when splice is refused.

        Raises :class:`OSError` or :class:`MemoryError` when there is no room for it.
        """
        self.session = session
        self.returns = returns
        self.asked: deque[tuple[End, Condition]] = deque()
        """Not yet looked at."""
        self._end: End | None = None
        self._recalled = False
        pool = Pool(BULK if returns else SHARED, zero_copy)
        with ExitStack() as undo:
            self._mover = Mover(pool, self, time.monotonic(), fell_back=fell_back)
            undo.callback(self._mover.close)
            self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            undo.callback(os.close, self._wakeup)
            self._mover.epoll.register(self._wakeup, select.EPOLLIN)
            undo.pop_all()

    @property
    def step_size(self) -> int:
        """Bytes that a step of it moves at most: limits may have made its pipe small."""
        return self._mover.step_size

    def start(
        self,
        give_back: Callable[[Session], None],
        ended: Callable[[Session, End], None],
        post: Post,
        cpus: Collection[int] | None,
    ) -> None:
        """From now on the session is this thread's; ``give_back`` or ``ended`` is called through ``post``.

        ``cpus``: where it may run, None for where the caller may. Raises :class:`RuntimeError` when the system
        has no room for another thread.
        """

        def run() -> None:
            if cpus is not None:
                with suppress(OSError):  # CPUs may have been taken away; then it stays where the caller is.
                    os.sched_setaffinity(0, cpus)
            end = self._move()
            post(lambda: give_back(self.session) if end is None else ended(self.session, end))

        threading.Thread(target=run, name=f"alone-{self.session.up.src}", daemon=True).start()

    def ask(self, end: End, when: Condition) -> None:
        """From the relay thread it came from: have the session end, if ``when`` says so. Until :meth:`close`.

        What is still in ``asked`` when the session comes back has not been done.
        """
        self.asked.append((end, when))
        os.eventfd_write(self._wakeup, 1)

    def recall(self) -> None:
        """From the relay thread it came from: have the session return at once. Until :meth:`close`."""
        self._recalled = True
        os.eventfd_write(self._wakeup, 1)

    def moved(self, session: Session) -> None:
        """As the mover's ledger: the accounts are kept where the session came from."""

    def ended(self, session: Session, end: End) -> None:
        """As the mover's ledger."""
        self._end = end

    def _move(self) -> End | None:
        """Move until the session has ended (says how) or is to return (None; it is released)."""
        mover = self._mover
        try:
            mover.adopt(self.session)
            while self._end is None:
                events = mover.epoll.poll(self._patience(), 3)
                mover.now = time.monotonic()
                mover.handle(events, self._woken)
                if self._end is None and self._is_to_return(quiet=not events):
                    mover.release(self.session)
                    return None
                if not events and self._waited_enough():
                    mover.end(self.session, End.IDLE)
        except Exception:
            log.get().exception("internal_error", thread=threading.current_thread().name)
            if self._end is None:
                mover.end(self.session, End.INTERNAL)
        mover.reap()
        return self._end

    def _woken(self, fd: int, mask: int) -> None:
        """Somebody has asked for something, or it is an event of the session after its end in the same poll."""
        if fd != self._wakeup:
            return
        os.eventfd_read(fd)
        while self.asked and self._end is None:
            end, when = self.asked.popleft()
            if when(self.session):
                self._mover.end(self.session, end)

    def _is_to_return(self, quiet: bool) -> bool:
        return self._recalled or (self.returns and quiet and self._waited_enough())

    def _due(self) -> float | None:
        """When it returns, or ends, if nothing moves until then."""
        return self.session.moved_at + _QUIET if self.returns else self.session.due

    def _patience(self) -> float:
        due = self._due()
        return -1 if due is None else max(0.0, due - time.monotonic())

    def _waited_enough(self) -> bool:
        due = self._due()
        return due is not None and due <= self._mover.now

    def close(self) -> None:
        """Before :meth:`start`, or after what it has called through ``post``."""
        self._mover.close()
        with suppress(OSError):  # It is closed all the same: close(2).
            os.close(self._wakeup)
