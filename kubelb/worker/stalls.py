"""Looks at the sessions of a relay thread: which of them wait for their server, and what the kernel says of that.

Costs nothing while nothing moves, and a fraction of a millisecond four times a second otherwise: bytes that move
touch nothing here. Whether a session waits is seen from the times of its two flows; only then the kernel is asked
(:mod:`kubelb.relay.tcp_info`), until it has said that all is acknowledged, and :mod:`kubelb.worker.waits` says what
it means. Of idle sessions a few are looked at with each beat: TCP's keepalive finds out whether their servers are
there, and leaves its questions to be seen.

Each look also leaves its sign of life in the shared counters. :attr:`Count.HEARD_AT` is when bytes last came from a
server, as the thread that moves them has it; once one of its sessions is not acknowledged the kernel's word counts,
since bytes from before may still wait to be read. :attr:`Count.ACKED_AT` is when the kernel last had any packet of
the server. Servers behind Unix sockets are heard of, and the kernel has nothing to say of them.

Runs on the relay thread, which is the writer of the row. It owns no descriptor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kubelb.relay.flow import State
from kubelb.relay.session import Session
from kubelb.relay.tcp_info import TcpInfo, keepalive, tcp_info
from kubelb.relay.thread import RelayThread
from kubelb.stats import Count, Row
from kubelb.worker.sightings import Sightings
from kubelb.worker.waits import SOON, Finding, Wait, after_look, is_asked, missed

_PASS = 0.25
"""Seconds between two passes."""
_PROMPT = 0.1
"""The same while bytes are known that are not acknowledged: TCP sends them again after 0.2, 0.4, 0.8 seconds."""
_AT_ONCE = 2000
"""Places of the relay thread that a pass looks at, two a session; those that are known to wait come on top."""
_IDLE = 128
"""The same of a beat, which asks the kernel of each session."""
_OPEN = State.OPEN


class Stalls:
    """``wheel_key`` is the relay thread's."""

    def __init__(self, thread: RelayThread, row: Row, sightings: Sightings) -> None:
        self._thread = thread
        self._row = row
        self._sightings = sightings
        self._waiting: dict[Session, Wait] = {}
        self._found: dict[tuple[int, bool], Finding] = {}
        """By slot and whether all is acknowledged: the gravest of this pass."""
        self._suspects: set[int] = set()
        """Slots of servers that have not acknowledged something, as of the last pass."""
        self._next = 0
        """Where the next pass goes on; 0: all sessions have had their turn."""
        self._next_idle = 0
        self._owed = False
        """Bytes may have moved since the turns began."""
        self._comes = False
        self.wheel_key = 0

    def begin(self) -> None:
        """Something happens on the thread again: there will be passes until nothing moves and nobody waits."""
        self._owed = True
        if not self._comes:
            self._come_back(_PASS)

    def _come_back(self, seconds: float) -> None:
        self._comes = True
        self._thread.set_deadline(self, seconds)

    def expired(self) -> None:
        """As the relay thread's deadline: a pass."""
        self._comes = False
        now = self._thread.now
        if not self._next:
            self._owed = self._thread.moving
        sessions, self._next = self._thread.some_sessions(self._next, _AT_ONCE)
        asked = self._hear(sessions, now)
        self._suspects = set()
        for session in dict.fromkeys((*asked, *self._waiting)):
            self._look(session, now)
        self._tell()
        if self._next or self._owed or self._waiting:
            self._come_back(_PROMPT if self._suspects else _PASS)

    def beat(self) -> None:
        """Every two seconds: look at a few sessions that may have been silent for long."""
        now = self._thread.now
        sessions, self._next_idle = self._thread.some_sessions(self._next_idle, _IDLE)
        for session in sessions:
            info = self._examine(session, now)
            if info is not None and (info.probes or info.retransmits) and session not in self._waiting:
                self._waiting[session] = Wait(now)
                self.begin()

    def _hear(self, sessions: Iterable[Session], now: float) -> Sequence[Session]:
        """Enter when bytes last came from each server; the sessions that may wait for an answer."""
        asked, heard = [], dict[int, float]()
        for session in sessions:
            up, down = session.up, session.down
            up_at, down_at = up.moved_at, down.moved_at
            if up_at >= down_at and up.first_at is not None:
                asked.append(session)
            slot = session.slot
            if down_at > heard.get(slot, 0.0) and down.first_at is not None:
                heard[slot] = down_at if slot not in self._suspects else self._data_at(session, now)
        for slot, at in heard.items():
            self._enter(slot, Count.HEARD_AT, min(at, now))
        return asked

    def _data_at(self, session: Session, now: float) -> float:
        info = self._examine(session, now)
        return session.down.moved_at if info is None else min(session.down.moved_at, info.data_at(now))

    def _look(self, session: Session, now: float) -> None:
        """At one that may wait; one that has ended has no connection to ask about any more."""
        up, down, wait = session.up, session.down, self._waiting.pop(session, None)
        if down.state is not _OPEN:
            # The server is not read: because its client does not read, or because it has said all.
            return
        up_at = min(up.moved_at, now)
        asked = up_at if is_asked(up_at, down.moved_at, now) else None
        if wait is None or down.moved_at > wait.since:
            if asked is None:
                return
            wait = Wait(asked)
        self._waiting[session] = wait
        if asked is not None and asked <= wait.settled:
            self._note(session.slot, missed(asked, now))
        elif now - wait.since >= SOON:
            self._consider(session, wait, asked, now)

    def _consider(self, session: Session, wait: Wait, asked: float | None, now: float) -> None:
        info = self._examine(session, now)
        if info is None:
            del self._waiting[session]
            return
        after, finding = after_look(wait, asked, info, keepalive(session.server) if info.probes else 0.0, now)
        if after is None:
            del self._waiting[session]
        else:
            self._waiting[session] = after
        if info.unacked or info.probes:
            self._suspects.add(session.slot)
        self._note(session.slot, finding)

    def _note(self, slot: int, finding: Finding | None) -> None:
        if finding is None:
            return
        kind = slot, finding.acknowledged
        known = self._found.get(kind)
        if known is None or _gravity(finding) > _gravity(known):
            self._found[kind] = finding

    def _tell(self) -> None:
        found, self._found = self._found, {}
        for (slot, _), finding in found.items():
            self._sightings.stalled(slot, finding)

    def _examine(self, session: Session, now: float) -> TcpInfo | None:
        info = tcp_info(session.server)
        if info is not None:
            self._enter(session.slot, Count.ACKED_AT, info.packet_at(now))
        return info

    def _enter(self, slot: int, word: int, at: float) -> None:
        nanoseconds = int(at * 1e9)
        if nanoseconds > self._row.get(slot, word):
            self._row.put(slot, word, nanoseconds)


def _gravity(finding: Finding) -> tuple[int, float]:
    return finding.retransmissions, -finding.since
