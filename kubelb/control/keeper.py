"""Keeps the picture of the servers: takes evidence and commands, decides, publishes what workers have to know.

All of it happens on control's loop; :attr:`Keeper.snapshot` may be read from any thread, for it is one reference to
an immutable thing. What decides is pure (:mod:`kubelb.health.machine`, :mod:`kubelb.control.decide`); this is where
it meets the clock, the probes and the channel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

import msgspec

from kubelb import log
from kubelb.config import model
from kubelb.control.decide import decide, news
from kubelb.control.loop import Loop
from kubelb.control.watch import Watch
from kubelb.health.machine import Condition, Evidence, Kind, Rules, after
from kubelb.health.probes import Prober
from kubelb.snapshot import Pool, Probe, Server, Snapshot
from kubelb.stats import Count, Row
from kubelb.wire.messages import Sighting

Publish = Callable[[Snapshot], None]


class Keeper:
    """Owns the watches."""

    def __init__(
        self, loop: Loop, snapshot: Snapshot, settings: Mapping[str, model.Pool], row: Row, publish: Publish
    ) -> None:
        """``settings`` are the pools as configured, ``row`` is control's own of the shared counters."""
        self.snapshot = snapshot
        self._loop = loop
        self._settings = settings
        self._row = row
        self._publish = publish
        self._not_asked_slots: set[int] = set()
        """Of servers whose last probe could not be made."""
        probed = [
            (pool, server)
            for pool in snapshot.pools
            if settings[pool.name].health.probe != "off"
            for server in pool.servers
            if server.state != "disabled"
        ]
        self._conditions = {server.slot: _inherited(server) for _, server in probed}
        self._rules = {server.slot: _rules(settings[pool.name]) for pool, server in probed}
        self._watches = {server.slot: self._watch(pool, server) for pool, server in probed}

    def _watch(self, pool: Pool, server: Server) -> Watch:
        health = self._settings[pool.name].health
        host = server.name.rpartition(":")[0].strip("[]")
        slot = server.slot

        def told(evidence: Evidence | None, probe: Probe) -> Condition:
            self._note(slot, probe)
            if evidence is None:
                return self._not_asked(pool, server, probe.fault)
            self._not_asked_slots.discard(slot)
            if evidence.kind is Kind.PASSED:
                self._row.put(slot, Count.PASSED_AT, int((probe.ended_at - probe.seconds) * 1e9))
            return self._consider(slot, evidence)

        return Watch(self._loop, Prober(server.address, host, health), health, told)

    def _not_asked(self, pool: Pool, server: Server, fault: str) -> Condition:
        """Something here is wrong, not the server: it stays what it was."""
        if server.slot not in self._not_asked_slots:
            self._not_asked_slots.add(server.slot)
            log.get().warning("probe_impossible", pool=pool.name, server=server.name, reason=fault)
        return self._conditions[server.slot]

    def start(self) -> None:
        for watch in self._watches.values():
            watch.start()

    def stop(self) -> None:
        for watch in self._watches.values():
            watch.stop()

    def sighted(self, sighting: Sighting) -> None:
        """A worker has met something; servers that nobody probes are the workers' own affair."""
        if sighting.slot in self._watches:
            if sighting.fault:
                self._consider(sighting.slot, Evidence(Kind.DOUBT, sighting.at, sighting.fault))
            self._watches[sighting.slot].hurry()

    def drain(self, slots: Collection[int], wanted: bool) -> None:
        """The operator wants these servers empty, or not any more."""
        self._decide(_changed(self.snapshot, slots, drained=wanted))

    def _decide(self, snapshot: Snapshot) -> None:
        self._show(decide(snapshot, self._conditions, self._settings, time.monotonic()))

    def _consider(self, slot: int, evidence: Evidence) -> Condition:
        condition = self._conditions[slot] = after(self._conditions[slot], evidence, self._rules[slot])
        self._decide(self.snapshot)
        return condition

    def _note(self, slot: int, probe: Probe) -> None:
        """How the last probe went is for whoever asks; it alone is not worth a message to the workers."""
        self.snapshot = _changed(self.snapshot, {slot}, probe=probe)

    def _show(self, snapshot: Snapshot) -> None:
        before, self.snapshot = self.snapshot, snapshot
        for event in news(before, snapshot):
            log.get().log(log.LEVELS[event.level], event.name, **event.fields)
        if snapshot.version != before.version:
            self._publish(snapshot)


def _inherited(server: Server) -> Condition:
    """What a control process before this one knew: it has died, the servers have not."""
    if server.drained:
        return Condition(proven=server.proven)
    return Condition(
        state=server.state,
        since=server.since,
        reason=server.reason,
        proven=server.proven,
        back_at=server.ramp_from,
    )


def _rules(settings: model.Pool) -> Rules:
    return Rules(settings.health.rise, settings.health.fall)


def _changed(snapshot: Snapshot, slots: Collection[int], **fields: object) -> Snapshot:
    """The snapshot with these fields of these servers."""

    def server(one: Server) -> Server:
        return msgspec.structs.replace(one, **fields) if one.slot in slots else one

    pools = [msgspec.structs.replace(pool, servers=tuple(map(server, pool.servers))) for pool in snapshot.pools]
    return msgspec.structs.replace(snapshot, pools=tuple(pools))
