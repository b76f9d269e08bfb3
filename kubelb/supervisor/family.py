"""The supervisor's children: control and the workers, the channels to them, and their rows of the shared counters.

For the supervisor's only thread. It owns the channels. What is to become of the children is decided by
:mod:`kubelb.supervisor.plan`.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from errno import ENOBUFS
from functools import partial
from typing import Final

from kubelb import log
from kubelb.deadlines import Deadlines
from kubelb.reasons import reason
from kubelb.snapshot import Snapshot
from kubelb.stats import ROWS, Count, Table
from kubelb.supervisor import plan, pulse
from kubelb.supervisor.plan import CONTROL, Place
from kubelb.supervisor.pulse import Pulse
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FROM_GIVER, FROM_TAKER, FromControl, FromGiver, FromTaker, FromWorker, Message
from kubelb.wire.messages import AT_MOST, HandOver, Listen, Receive, SnapshotChanged, Stop
from kubelb.wire.outbox import SHORT, SHORTAGE, Outbox, say_short

_AGAIN = 0.01
"""Seconds between two attempts to send the newest snapshot to a worker that is behind."""
_STUCK = 10.0
"""Seconds after which one that takes no message at all has to go."""
_MISSED = 3.0
"""Seconds after which a worker that has not said that it goes by the newest snapshot is sent it once more."""
_LAST_WORDS = 3000
"""Messages that are heard from a child that has died; as many as a socket of 1 MiB holds."""
_SHORTAGE: Final = 1.0
"""Seconds until what has not been sent is sent, where this process was short of something."""
_WORD = 1 << 64
Heard = Channel[FromWorker] | Channel[FromControl]
"""The supervisor's end of a child's channel."""


class Family:
    def __init__(self, table: Table, others: Iterable[int], deadlines: Deadlines) -> None:
        """``others`` are the rows of a supervisor that is still there, or whose workers are."""
        self._table = table
        self._deadlines = deadlines
        self._others = frozenset(others)
        self.places: dict[str, Place] = {}
        """Those that are to be filled."""
        self._spread = 0
        """Channels that have been dealt out."""
        self.leaving: list[Place] = []
        """Workers that end once their sessions have gone elsewhere."""
        self._channels: dict[int, Heard] = {}
        """By pid."""
        self._outboxes: dict[int, Outbox] = {}
        """By pid."""
        self._postponed: dict[int, Callable[[], object]] = {}
        """By pid of the worker that gives: handing over sessions that has to be tried again."""
        self._late: dict[int, tuple[SnapshotChanged, float]] = {}
        """By pid: the newest snapshot, for workers that are behind, and since when they are."""
        self._settle_at = 0.0
        """When what is owed is sent again, at the earliest; seconds of the monotonic clock."""
        self._not_before = 0.0
        """When snapshots are sent again, where something was short; seconds of the monotonic clock."""
        self._pulses: dict[int, Pulse] = {}
        """By pid."""
        self._look_at = 0.0
        """When to look who hangs."""
        self._behind: dict[int, float] = {}
        """By pid: since when a worker is behind, or was last sent what there is."""
        self._own_rows: frozenset[int] = frozenset()
        self._own_rows = frozenset(self._take_rows(1))
        self._own = table.row(min(self._own_rows))

    @property
    def rows(self) -> frozenset[int]:
        """All that are somebody's, dead or alive."""
        return self._others | self._own_rows | {row for place in self.all() for row in place.rows}

    def forget_others(self) -> None:
        """The supervisor before has gone, and all its workers."""
        self._others = frozenset()

    def add(self, name: str, rows: int) -> None:
        """A place for a child that writes so many rows."""
        self.places[name] = Place(name, self._take_rows(rows))

    def has_rows(self, count: int) -> bool:
        """Whether there are so many that are nobody's."""
        return plan.free_rows(self.rows, count)[-1] < ROWS

    def _take_rows(self, count: int) -> tuple[int, ...]:
        rows = plan.free_rows(self.rows, count)
        self._table.look_at(rows[-1] + 1)
        return rows

    def all(self) -> list[Place]:
        return [*self.places.values(), *self.leaving]

    def workers(self) -> list[Place]:
        """Those that are to stay."""
        return [place for place in self.places.values() if place.name != CONTROL]

    def leave(self, places: Iterable[Place]) -> None:
        """Nobody takes their places."""
        for place in places:
            del self.places[place.name]
            if place.pid is not None:
                self.leaving.append(place)

    def started(self, place: Place, pid: int, channel: Heard, now: float) -> Place:
        self.places[place.name] = place = plan.started(place, pid, now)
        self._channels[pid] = channel
        self._outboxes[pid] = Outbox(channel, pid=pid)
        return place

    def not_started(self, place: Place, now: float) -> None:
        """There was no room for it: as if it had died young."""
        self.places[place.name] = plan.died(plan.started(place, 0, now), now)

    def ready(self, pid: int) -> None:
        place = self.place_of(pid)
        if place is not None and place not in self.leaving:
            self.places[place.name] = plan.ready(place)

    def channels(self) -> list[Heard]:
        return list(self._channels.values())

    def place_of(self, pid: int) -> Place | None:
        return next((place for place in self.all() if place.pid == pid), None)

    def channel_of(self, pid: int) -> Heard | None:
        """None: it has closed its end, and nothing is left to be read."""
        return self._channels.get(pid)

    def hears(self, place: Place) -> bool:
        """Whether there is anybody to talk to."""
        return place.pid in self._channels

    def hear_out(self, pid: int, hear: Callable[[int, Heard], bool]) -> None:
        """What a child has said before it died counts: whoever takes its place goes on from there.

        ``hear`` says whether there was anything. It may go on without end: another process may hold the child's end
        of the channel, a debugger, or one that the child has started.
        """
        for _ in range(_LAST_WORDS):
            channel = self.channel_of(pid)
            if channel is None or not hear(pid, channel):
                break

    def closed(self, pid: int) -> None:
        """Nothing is heard from it any more."""
        self._channels.pop(pid).close()
        del self._outboxes[pid]
        self._late.pop(pid, None)
        self._postponed.pop(pid, None)

    def send(self, place: Place, message: Message, fds: Sequence[int] = ()) -> bool:
        """Whether it took it, or will: where something is short here, what has no descriptors is kept and sent later.
        One that does not even take its messages is stuck, and is ended to be replaced."""
        if place.pid is None or place.pid not in self._channels:
            return False
        try:
            if self._send(place.pid, message, fds):
                return True
        except OSError as error:
            self._tell_short(place.pid, message, error)
        else:
            self._end_stuck(place, place.pid)
        return False

    def _send(self, pid: int, message: Message, fds: Sequence[int] = ()) -> bool:
        """As :meth:`send`. Raises :class:`OSError` for what is not kept, where something is short: a socket is not
        sent then before the snapshot that says what is listened on there, nor anything that has descriptors before
        what is owed."""
        channel, outbox = self._channels[pid], self._outboxes[pid]
        try:
            newest = self._send_newest(pid, channel)
        except OSError as error:
            if isinstance(message, Listen):
                raise
            self._tell_short(pid, self._late[pid][0], error)
            newest = True
        if not newest:
            return False
        if isinstance(message, SnapshotChanged):
            return channel.send(message)
        if not fds:
            return outbox.send(message)
        if outbox.flush() and outbox.owes:
            raise OSError(ENOBUFS, reason(ENOBUFS))
        return channel.send(message, fds)

    def _tell_short(self, pid: int, message: Message, error: OSError) -> None:
        """What is not sent for want of something here is sent later, and nobody is stuck for that: a snapshot stays
        the newest for that child, and whoever does not go by it is sent the sockets once more."""
        say_short(error, message, pid=pid)
        if pid in self._late:
            now = time.monotonic()
            self._late[pid] = self._late[pid][0], now
            self._not_before = now + _SHORTAGE

    def _end_stuck(self, place: Place, pid: int) -> None:
        """Unless it is about to end by itself."""
        if place.name != CONTROL and not self._channels[pid].is_closed_there():
            log.get().error("child_stuck", child=place.name, pid=pid)
            os.kill(pid, signal.SIGKILL)

    def show(self, snapshot: Snapshot, now: float) -> None:
        """To all workers, to those that leave too. Many may come at once: who is behind gets the newest later."""
        message = SnapshotChanged(snapshot)
        for pid in [place.pid for place in (*self.workers(), *self.leaving)]:
            if pid is not None and pid in self._channels:
                since = self._late[pid][1] if pid in self._late else now
                self._late[pid] = message, since
        self.catch_up(now)

    def catch_up(self, now: float) -> None:
        """Send the newest snapshot to those who have read most of what was sent before, and at last to the others.
        Who has no room then is stuck."""
        self._settle(now)
        if now < self._not_before:
            return
        for pid, (message, since) in list(self._late.items()):
            channel, is_last = self._channels[pid], now - since > _STUCK
            try:
                if (channel.has_room() or is_last) and self._send_newest(pid, channel):
                    continue
            except OSError as error:
                self._tell_short(pid, message, error)
                continue
            if is_last and (place := self.place_of(pid)) is not None:
                del self._late[pid]
                self._end_stuck(place, pid)

    def _settle(self, now: float) -> None:
        """Send what is owed, and hand over what could not be handed over."""
        if now < self._settle_at or not self._owes:
            return
        self._settle_at = now + SHORTAGE
        for pid, outbox in list(self._outboxes.items()):
            if not outbox.flush() and (place := self.place_of(pid)) is not None:
                self._end_stuck(place, pid)
        postponed, self._postponed = self._postponed, {}
        for hand_over in postponed.values():
            hand_over()

    @property
    def _owes(self) -> bool:
        return bool(self._postponed) or any(outbox.owes for outbox in self._outboxes.values())

    def _send_newest(self, pid: int, channel: Heard) -> bool:
        """The snapshot that it is still to get, if there is one: nothing overtakes that."""
        if pid in self._late and channel.send(self._late[pid][0]):
            del self._late[pid]
        return pid not in self._late

    def end_hung(self, now: float) -> bool:
        """Whoever has not done its work for too long is ended, to be replaced. Whether it was time for a look."""
        if now < self._look_at:
            return False
        self._look_at = now + pulse.LOOK
        before, self._pulses = self._pulses, {}
        every = self._table.each(0, Count.BEAT)
        for place in self.all():
            if place.pid is None:
                continue
            beats = [every[row] for row in place.rows]
            known = before.get(place.pid)
            felt = pulse.first_look(beats, now) if known is None else pulse.next_look(known, beats, now)
            if felt.longest_silence >= self._patience_with(place):
                self._end_hung(place, place.pid, felt.longest_silence)
            else:
                self._pulses[place.pid] = felt
        return True

    def behind(self, version: int, now: float) -> list[Place]:
        """Workers that have not said for a while that they go by this snapshot: something has not arrived there. Each
        comes again after the same while, if it still has not."""
        seen, before, self._behind = self._table.each(0, Count.SNAPSHOT), self._behind, {}
        found: list[Place] = []
        for place in self.workers():
            if place.pid is None or not place.ready or all(seen[row] >= version for row in place.rows):
                continue
            self._behind[place.pid] = since = before.get(place.pid, now)
            if now - since >= _MISSED:
                self._behind[place.pid] = now
                found.append(place)
        return found

    def _patience_with(self, place: Place) -> float:
        is_control = place.name == CONTROL and place.ready
        return self._deadlines.control_hangs if is_control else self._deadlines.worker_hangs

    def _end_hung(self, place: Place, pid: int, seconds: float) -> None:
        lost = "it is replaced" if place.name == CONTROL else "it is replaced, and its sessions are lost"
        log.get().error("child_hung", child=place.name, pid=pid, seconds=round(seconds), effect=lost)
        os.kill(pid, signal.SIGKILL)

    def next_attempt(self, now: float) -> float:
        """When to :meth:`catch_up`, or look who hangs, again."""
        late = max(now + _AGAIN, self._not_before) if self._late else math.inf
        owed = max(now, self._settle_at) if self._owes else math.inf
        return min(late, owed, self._look_at)

    def send_control(self, message: Message, fds: Sequence[int] = ()) -> bool:
        return CONTROL in self.places and self.send(self.places[CONTROL], message, fds)

    def answer_control(self, message: Message) -> bool:
        """As :meth:`send_control`, but nothing is kept. Raises :class:`OSError` where something is short here."""
        pid = self.places[CONTROL].pid if CONTROL in self.places else None
        return pid is not None and pid in self._channels and self._channels[pid].send(message)

    def send_all(self, message: Message) -> None:
        for place in self.all():
            self.send(place, message)

    def send_workers(self, message: Message) -> None:
        """To those that leave too."""
        for place in (*self.workers(), *self.leaving):
            self.send(place, message)

    def pass_on(self, message: Message, places: Iterable[Place]) -> None:
        """What one child says to others. One that has much to read still does not get it: however much is said, there
        is room for what the supervisor has to say, and nobody is taken for stuck."""
        for place in places:
            if (channel := self._channels.get(place.pid or 0)) is not None and channel.has_room():
                self.send(place, message)

    def spread(self, fds: Sequence[int]) -> bool:
        """Channels through which sessions come, to the workers by turns. The descriptors are given in copy. Whether
        they have been sent, all to whom they were for."""
        delivered = True
        takers = [place for place in self.workers() if self.hears(place)]
        for number, place in enumerate(takers):
            if share := fds[(number - self._spread) % len(takers) :: len(takers)]:
                delivered = self.send(place, Receive(), share) and delivered
        self._spread += len(fds)
        return delivered

    def hand_over(self, giving: Place, taking: int, deliver: Callable[[Sequence[int]], bool]) -> None:
        """Have a worker give its sessions to so many relay threads, through channels.

        ``deliver`` passes their other ends on, in copy, and says whether that could be done: fewer, where descriptors
        run out. Where something is short here it is tried again later, for whatever sessions the worker has then.
        """
        each = plan.channels_each(len(giving.rows), taking, AT_MOST)
        pairs: list[tuple[Channel[FromTaker], Channel[FromGiver]]] = []
        try:
            pairs.extend(Channel.pair(FROM_TAKER, FROM_GIVER) for _ in range(each * len(giving.rows)))
        except OSError as error:
            if error.errno not in SHORT:
                raise
        # One that nobody takes anything from is to accept no more, at least.
        told = self.send(giving, HandOver() if pairs else Stop(), [ours.fileno() for ours, _ in pairs])
        delivered = deliver([theirs.fileno() for _, theirs in pairs])
        if giving.pid is not None and self.hears(giving) and not (pairs and told and delivered):
            self._postponed[giving.pid] = partial(self.hand_over, giving, taking, deliver)
        for ours, theirs in pairs:
            ours.close()
            theirs.close()

    def signal_all(self, number: signal.Signals) -> None:
        for place in self.all():
            if place.pid is not None:
                os.kill(place.pid, number)

    def died(self, place: Place, now: float) -> None:
        """It is empty now, its live sessions forgotten."""
        for row in place.rows:
            self._table.forget_live(row)
        if place in self.leaving:
            self.leaving.remove(place)
        else:
            self.places[place.name] = plan.died(place, now)

    def count_death(self, place: Place) -> None:
        count = Count.CONTROL_DEATHS if place.name == CONTROL else Count.WORKER_DEATHS
        # Any child may have written there.
        self._own.put(0, count, (self._own.get(0, count) + 1) % _WORD)

    def forget_slots(self, slots: Iterable[int]) -> None:
        """Other servers are counted there from now on: in rows, too, that nobody writes at the moment."""
        living = {row for place in self.all() if place.pid is not None for row in place.rows}
        for index in set(range(self._table.rows)) - living - self._others:
            for slot in slots:
                self._table.row(index).forget(slot)

    def close(self) -> None:
        self._own.release()
        for channel in self._channels.values():
            channel.close()
