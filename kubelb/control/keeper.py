"""Keeps the picture of the servers: takes evidence and commands, decides, publishes what workers have to know.

All of it happens on control's loop; :attr:`Keeper.snapshot` may be read from any thread, for it is one reference to
an immutable thing. What decides is pure (:mod:`kubelb.health.machine`, :mod:`kubelb.control.decide`); this is where
it meets the clock, the probes and the channel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from kubelb import log
from kubelb.config.model import pools as configured
from kubelb.control.conditions import Conditions, Subject
from kubelb.control.decide import decide, news
from kubelb.control.loop import Loop, Timer
from kubelb.control.watch import Watch
from kubelb.discovery.local import is_local
from kubelb.discovery.members import TooManyServers, changes, found, left_out, merge, sweep
from kubelb.discovery.targets import Target
from kubelb.health.machine import GOOD_ANSWERS, Evidence, Kind
from kubelb.health.probes import Prober
from kubelb.snapshot import GOOD, Condition, Probe, Server, Snapshot
from kubelb.stats import SLOTS, Count, Row, Table
from kubelb.wire.messages import Sighting, Stalled

_SWEEPING = 1.0
"""Seconds between two looks whether servers that have left are empty."""

_RESULTS: Final[Mapping[Kind, int]] = {
    Kind.PASSED: Count.PROBES_PASSED,
    Kind.NOT_TOLD: Count.PROBES_PASSED,
    Kind.FORBIDDEN: Count.PROBES_UNREADY,
    Kind.UNREADY: Count.PROBES_UNREADY,
    Kind.REFUSED: Count.PROBES_FAILED,
    Kind.UNANSWERED: Count.PROBES_FAILED,
    Kind.SILENT: Count.PROBES_FAILED,
    Kind.BROKEN: Count.PROBES_FAILED,
}
_RARELY = 2
"""Intervals of probes between two looks for which there is no other reason than that a session waits: long requests
are normal, and a server with much to do is not to be asked more often for that."""

Publish = Callable[[Snapshot], None]
"""Takes a snapshot that workers have to know."""


class Keeper:
    """Owns the watches."""

    def __init__(
        self,
        loop: Loop,
        snapshot: Snapshot,
        settings: Mapping[str, configured.Pool],
        table: Table,
        row: Row,
        publish: Publish,
    ) -> None:
        """``settings`` are the pools as configured, ``row`` is control's own in the table."""
        self.snapshot = snapshot
        self._loop = loop
        self._settings = dict(settings)
        """Not of a pool that is leaving since before this process was born."""
        self._table = table
        self._row = row
        self._publish = publish
        self._not_asked_slots: set[int] = set()
        """Of servers whose last probe could not be made."""
        self._conditions = Conditions(table)
        self._watches: dict[int, Watch] = {}
        """By slot."""
        self._left_out: dict[tuple[str, str], tuple[str, ...]] = {}
        """By pool and name: why addresses that the name leads to are no servers."""
        self._look_again: dict[int, float] = {}
        """By slot: when a session that waits may have the server looked at again."""
        self._sweeping: Timer | None = None
        self._first_version = snapshot.version
        """What has left before is in no snapshot from this one on."""
        self._left_in: dict[int, int] = {}
        """By slot: the first version without the server that has left it."""

    def start(self) -> None:
        """Watch whom the snapshot and the settings say, and go on from what was known before. A supervisor that
        succeeds another has members of its own."""
        subjects = {subject.server.slot: subject for subject in _subjects(self.snapshot, self._settings)}
        new = [slot for slot in subjects if slot not in self._watches]
        for slot in new:
            self._conditions.begin(subjects[slot])
        self._decide(self.snapshot)
        for slot in new:
            watch = self._watches[slot] = self._watch(subjects[slot])
            watch.start()
            if self._conditions.known[slot].state not in GOOD:
                # What is held against it may be old, and a pool without probes would never ask.
                watch.hurry()
        self._plan_sweep()

    def reload(self, wanted: Snapshot, settings: Mapping[str, configured.Pool]) -> None:
        """Go on with these members and settings. Raises :class:`~kubelb.discovery.members.TooManyServers`."""
        snapshot = merge(self.snapshot, wanted, SLOTS - 1, self._is_held, is_local)
        self._settings |= settings
        self._go_on_with(snapshot)

    def found(self, pool: str, name: str, targets: Sequence[Target]) -> bool:
        """That name leads to these now. Whether there is room for them."""
        before = self.snapshot
        self._tell_left_out(pool, name, left_out(before, pool, name, targets, is_local))
        try:
            snapshot = found(before, pool, name, targets, SLOTS - 1, time.monotonic(), self._is_held, is_local)
        except TooManyServers:
            what = "too many servers, with those that have not left yet"
            count = sum(len(target.hosts) for target in targets)
            log.limited().error("members_not_changed", pool=pool, server=name, found=count, reason=what)
            return False
        if snapshot is not before:
            added, removed, altered = changes(before, snapshot, pool)
            log.get().info("members_changed", pool=pool, server=name, added=added, removed=removed, altered=altered)
            self._go_on_with(snapshot)
        return True

    def _tell_left_out(self, pool: str, name: str, reasons: tuple[str, ...]) -> None:
        """Once, as long as they are the same."""
        if reasons != self._left_out.get((pool, name), ()):
            self._left_out[pool, name] = reasons
            for reason in reasons:
                log.get().warning("server_left_out", pool=pool, server=name, reason=reason)

    def _is_held(self, slot: int) -> bool:
        """Whether the slot is nobody's yet: a worker may count there that has not heard which server has left."""
        return self._table.is_held(slot, self._left_in.get(slot, self._first_version))

    def _go_on_with(self, snapshot: Snapshot) -> None:
        for slot in snapshot.slots - self.snapshot.slots:
            self._row.forget(slot)
        self._leave({subject.server.slot: subject for subject in _subjects(snapshot, self._settings)})
        self._decide(snapshot)
        self.start()

    def _leave(self, subjects: Mapping[int, Subject]) -> None:
        """Watch only servers that are looked at in the same way as before; a slot has still the same server here."""
        for slot, before in list(self._conditions.subjects.items()):
            after = subjects.get(slot)
            if after is None or after.health != before.health:
                self._conditions.end(slot, time.monotonic(), after)
                self._watches.pop(slot).stop()

    def _plan_sweep(self) -> None:
        leaving = any(server.removed for pool in self.snapshot.pools for server in pool.servers)
        if leaving and self._sweeping is None:
            self._sweeping = self._loop.at(time.monotonic() + _SWEEPING, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        swept = sweep(self.snapshot, lambda slot: self._table.total(slot, Count.ACTIVE))
        if swept is not self.snapshot:
            self._left_in |= dict.fromkeys(self.snapshot.slots - swept.slots, swept.version)
            self._decide(swept)
        self._plan_sweep()

    def _watch(self, subject: Subject) -> Watch:
        server, slot = subject.server, subject.server.slot

        def told(evidence: Evidence | None, probe: Probe | None) -> Condition:
            if probe is not None:
                self._note(slot, probe)
                if evidence is None:
                    return self._not_asked(subject, probe.fault)
                self._count(slot, evidence.kind, probe.seconds)
                self._not_asked_slots.discard(slot)
            if evidence is None:
                return self._conditions.known[slot]
            if evidence.kind in GOOD_ANSWERS:
                self._row.put(slot, Count.PASSED_AT, int(evidence.since * 1e9))
            return self._consider(slot, evidence)

        host = server.name.rpartition(":")[0].strip("[]") if server.address[1] else "localhost"
        dormant = subject.health.probe == "off"
        health = msgspec.structs.replace(subject.health, probe="tcp") if dormant else subject.health
        return Watch(self._loop, Prober(server.address, host, health), health, told, dormant=dormant)

    def _not_asked(self, subject: Subject, fault: str) -> Condition:
        """Something here is wrong, not the server: it stays what it was."""
        slot = subject.server.slot
        if slot not in self._not_asked_slots:
            self._not_asked_slots.add(slot)
            log.limited().warning("probe_impossible", pool=subject.pool, server=subject.server.name, reason=fault)
        return self._conditions.known[slot]

    def stop(self) -> None:
        """No server is probed any more, and what workers meet changes nothing: another control may decide already."""
        for watch in self._watches.values():
            watch.stop()
        self._watches.clear()
        if self._sweeping is not None:
            self._sweeping.cancel()

    def sighted(self, sighting: Sighting | Stalled) -> None:
        """A worker has met something; the dials to servers that nobody probes are the workers' own affair."""
        if sighting.slot not in self._watches:
            return
        subject = self._conditions.subjects[sighting.slot]
        if isinstance(sighting, Stalled):
            self._stalled(subject, sighting)
        elif subject.health.probe != "off":
            if sighting.fault:
                self._consider(sighting.slot, Evidence(Kind.DOUBT, sighting.at, sighting.fault))
            self._watches[sighting.slot].hurry()

    def _stalled(self, subject: Subject, stalled: Stalled) -> None:
        slot, now = stalled.slot, time.monotonic()
        if not stalled.acknowledged:
            what = f"nothing acknowledged, sent {stalled.retransmissions} times again"
            kind = Kind.UNACKNOWLEDGED
            self._consider(slot, Evidence(kind, stalled.at, what, stalled.since, stalled.retransmissions))
            self._watches[slot].hurry()
        elif subject.health.probe != "off" and now >= self._look_again.get(slot, now):
            self._look_again[slot] = now + _RARELY * subject.health.interval
            self._consider(slot, Evidence(Kind.UNHEARD, stalled.at, "a session waits", stalled.since))
            self._watches[slot].hurry()

    def drain(self, slots: Collection[int], wanted: bool) -> None:
        """The operator wants these servers empty, or not any more."""
        self._decide(_changed(self.snapshot, slots, drained=wanted))

    def _decide(self, snapshot: Snapshot) -> None:
        self._conditions.note_signs()
        self._judge(snapshot)

    def _judge(self, snapshot: Snapshot) -> None:
        """By what is known."""
        self._show(decide(snapshot, self._conditions.known, self._settings, time.monotonic()))

    def _consider(self, slot: int, evidence: Evidence) -> Condition:
        change = self._conditions.consider(slot, evidence)
        self._judge(self.snapshot)
        if change.of_trouble:
            self._look_at_others(self._conditions.subjects[slot])
        return change.after

    def _look_at_others(self, subject: Subject) -> None:
        """One has got into trouble, or out of it: whether the others have is what decides over sessions."""
        for slot in self._conditions.others(subject):
            if (watch := self._watches.get(slot)) is not None:
                # A fleet of nodes does so at the same moment: that is not to be a handshake each.
                watch.hurry(anew=False)

    def _note(self, slot: int, probe: Probe) -> None:
        """How the last probe went is for whoever asks; it alone is not worth a message to the workers."""
        self.snapshot = _changed(self.snapshot, {slot}, probe=probe)

    def _count(self, slot: int, kind: Kind, seconds: float) -> None:
        self._row.add(slot, _RESULTS[kind])
        self._row.observe(slot, Count.PROBE_SECONDS, seconds)

    def _show(self, snapshot: Snapshot) -> None:
        before, self.snapshot = self.snapshot, snapshot
        for event in news(before, snapshot):
            log.get().log(log.LEVELS[event.level], event.name, **event.fields)
        if snapshot.version != before.version:
            self._publish(snapshot)


def _subjects(snapshot: Snapshot, settings: Mapping[str, configured.Pool]) -> Iterator[Subject]:
    for pool in snapshot.pools:
        if pool.name in settings:
            health = settings[pool.name].health
            for server in pool.servers:
                if server.state != "disabled" and not server.removed:
                    yield Subject(pool.name, server, health)


def _changed(snapshot: Snapshot, slots: Collection[int], **fields: object) -> Snapshot:
    """The snapshot with these fields of these servers."""

    def server(one: Server) -> Server:
        return msgspec.structs.replace(one, **fields) if one.slot in slots else one

    pools = [msgspec.structs.replace(pool, servers=tuple(map(server, pool.servers))) for pool in snapshot.pools]
    return msgspec.structs.replace(snapshot, pools=tuple(pools))
