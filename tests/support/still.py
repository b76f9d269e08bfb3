"""Control's own parts in a test that is their supervisor: nothing is probed, nothing is asked of DNS, no time passes.

What a configuration comes to can be seen then: :class:`Picture`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec
import pytest
from structlog.testing import capture_logs

from kubelb import log
from kubelb.config.faults import Key
from kubelb.config.log_targets import request_logs
from kubelb.config.model.config import Config
from kubelb.config.model.logs import AccessLog
from kubelb.config.model.pools import Discovery, Health
from kubelb.config.overrides import NO_OVERRIDES
from kubelb.config.sources import Sources
from kubelb.config.toml.writer import write_toml
from kubelb.control import discoverer, keeper
from kubelb.control.discoverer import Discoverer
from kubelb.control.keeper import Keeper
from kubelb.control.leveller import Leveller
from kubelb.control.loop import Loop
from kubelb.control.reloads import Reloads
from kubelb.control.upgrades import Upgrades
from kubelb.control.watch import Told
from kubelb.discovery import resolve as resolving
from kubelb.discovery.dns import Found
from kubelb.discovery.targets import Target
from kubelb.health.machine import Evidence, Kind
from kubelb.snapshot import Probe, Server, Snapshot, SocketAddress, State
from kubelb.stats import Count, Table
from kubelb.supervisor import reader
from kubelb.wire.message_sets import FromControl
from kubelb.wire.messages import Configuration, NoConfiguration, Read, ReadAnew, Release

_PROBED: Final = Probe(ended_at=0.0, seconds=0.0)
_LONG: Final = 10000.0
"""Seconds; nothing that is configured takes so long."""
_OFTEN: Final = 20
_NOT_OF_PROBES: Final = ("rise", "fall", "hang_timeout", "on_down", "reset_spread", "slow_start")
_TRIALS: Final[Sequence[tuple[Kind, State]]] = (
    (Kind.PASSED, "up"),
    (Kind.SILENT, "down"),
    (Kind.PASSED, "up"),
    (Kind.UNREADY, "draining"),
    (Kind.PASSED, "up"),
)
"""What is told of each server in turn, until it is so; the others are well meanwhile."""

T = TypeVar("T")


class Picture(NamedTuple):
    """What is done where a configuration is gone by. Times are seconds."""

    snapshot: Snapshot
    """Slots, states and times left out."""
    probes: list[tuple[object, ...]]
    judged: list[tuple[object, ...]]
    """Of each server how many failures and passes it takes, and when its sessions are cut in which state."""
    levelled: list[tuple[str, Release]]
    due: list[float]
    """When something is to be done, counted from a second after the reload."""
    looked_up: list[tuple[str, Discovery]]
    levels: tuple[str, ...]
    request_logs: list[tuple[Key, AccessLog]]
    workers: int | None


def _lookup(host: str, port: int, **hints: object) -> list[tuple[object, ...]]:
    """As :func:`socket.getaddrinfo`, of a machine that knows every name."""
    return [(None, None, None, "", ("10.1.3.1", port))]


resolve = partial(resolving.resolve, lookup=_lookup)


class Stage:
    """Where time stands still, and what has been asked for on it."""

    def __init__(self) -> None:
        self.now = 1000.0
        """The monotonic clock."""
        self.looked_up: list[tuple[str, Discovery]] = []
        self.levels: tuple[str, ...] = ()


@contextmanager
def a_stage() -> Iterator[Stage]:
    """Within, control's parts have no clock, no probes and no DNS."""
    stage = Stage()

    def look_up(host: str, discovery: Discovery) -> Found:
        stage.looked_up.append((host, discovery))
        return Found((Target(("10.1.1.1",)), Target(("10.1.1.2",))), None)

    def look_up_service(name: str, discovery: Discovery) -> Found:
        stage.looked_up.append((name, discovery))
        best, other = Target(("10.1.2.1",), "a.test", 443, 1, 5), Target(("10.1.2.2",), "b.test", 443, 2, 5)
        return Found((best, other), None)

    def set_levels(levels: Sequence[str]) -> None:
        stage.levels = tuple(levels)

    with pytest.MonkeyPatch.context() as patch, capture_logs():
        patch.setattr(time, "monotonic", lambda: stage.now)
        patch.setattr(reader, "resolve", resolve)
        patch.setattr(keeper, "Watch", StillWatch)
        patch.setattr(keeper, "Prober", StillProber)
        patch.setattr(discoverer._Name, "begin", discoverer._Name._look_up)
        patch.setattr(discoverer, "look_up", look_up)
        patch.setattr(discoverer, "look_up_service", look_up_service)
        patch.setattr(log, "set_levels", set_levels)
        yield stage


class StillLoop(Loop):
    """Does what is due when the test says so."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.watches: list[StillWatch] = []
        self._stage = stage
        self._posted: list[Callable[[], None]] = []

    def post(self, call: Callable[[], None]) -> None:
        self._posted.append(call)

    def ask(self, call: Callable[[], T]) -> T:
        return call()

    def due(self) -> list[float]:
        """When something is to be done, counted from now."""
        return sorted(timer.due - self._stage.now for timer in self._timers if timer.call is not None)

    def pass_time(self, seconds: float) -> None:
        """Do what has been posted, and what is due by then: once."""
        while self._posted:
            self._posted.pop(0)()
        self._stage.now += seconds
        due = [timer for timer in sorted(self._timers) if timer.due <= self._stage.now]
        self._timers = [timer for timer in self._timers if timer not in due]
        for timer in due:
            if timer.call is not None:
                timer.call()


class StillProber(NamedTuple):
    """Stands for a :class:`~kubelb.health.probes.Prober`."""

    address: SocketAddress
    host: str
    health: Health


class StillWatch:
    """Stands for a :class:`~kubelb.control.watch.Watch`, and probes nobody."""

    def __init__(
        self, loop: StillLoop, prober: StillProber, health: Health, told: Told, *, dormant: bool = False
    ) -> None:
        self.prober = prober
        self.health = health
        self.told = told
        self._watches = [] if dormant else loop.watches

    def probes(self) -> tuple[object, ...]:
        """Whom, and how: without what is done about it, which is seen elsewhere."""
        for_others = {name: getattr(Health(), name) for name in _NOT_OF_PROBES}
        healths = (msgspec.structs.replace(health, **for_others) for health in (self.prober.health, self.health))
        return (self.prober.address, self.prober.host, *healths)

    def start(self) -> None:
        self._watches.append(self)

    def hurry(self, anew: bool = True) -> None:
        """Nobody is looked at here."""

    def stop(self) -> None:
        self._watches.remove(self)


class Control:
    """As :mod:`kubelb.control.main` puts it together. On a stage only."""

    def __init__(self, stage: Stage, file: Path, config: Config) -> None:
        """Runs with ``config``, and reads ``file`` at a reload."""
        self.said: list[FromControl] = []
        """Since the last reload, but for snapshots."""
        self.read: Read
        """What the supervisor has been told by its reader at the last reload: it listens and forks by that, and
        another control goes by it, should this one die."""
        self._stage = stage
        self._file = file
        self._table = Table(1)
        self._row = self._table.row(0)
        self._loop = StillLoop(stage)
        snapshot, pools = resolve(config, now=stage.now), config.pools
        self._keeper = Keeper(self._loop, snapshot, pools, self._table, self._row, self._publish)
        self._leveller = Leveller(self._loop, lambda: self._keeper.snapshot, pools, self._table, self._say)
        self._discoverer = Discoverer(self._loop, pools, self._keeper.found)
        self._reloads = Reloads(
            self._loop,
            self._say,
            self._keeper,
            self._leveller,
            self._discoverer,
            self._row,
            Upgrades(self._say, under_way=False),
            self._follow,
            lambda version: (),
            patience=0.0,
        )
        self._running = config
        self._workers = config.workers if isinstance(config.workers, int) else None
        self._snapshot = snapshot
        """The one that was published last."""
        log.set_levels(snapshot.log.levels)
        self._follow(config, snapshot)
        self._keeper.start()
        self._leveller.start()
        self._discoverer.start()

    def close(self) -> None:
        self._loop.close()
        self._row.release()
        self._table.close()

    def _publish(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def _say(self, message: FromControl) -> None:
        self.said.append(message)
        if isinstance(message, ReadAnew):
            read = reader.read(Sources(config=str(self._file)), NO_OVERRIDES, self._running)
            if isinstance(read, Read):
                self.read = read
                self._reloads.answered(Configuration(message.number, read.toml, read.snapshot, read.warnings))
            else:
                self._reloads.answered(NoConfiguration(message.number, read.faults))

    def _follow(self, config: Config, snapshot: Snapshot) -> None:
        self._followed = config, snapshot

    def reload(self, config: Config) -> None:
        """Raises :class:`~kubelb.config.faults.ConfigFault`."""
        self._file.write_text(write_toml(config))
        self._loop.pass_time(0)
        self.said.clear()
        self._stage.looked_up.clear()
        self._reloads.reload()
        self._workers = self.read.workers

    def picture(self) -> Picture:
        """Of what has come of the start, or of the last reload; time passes."""
        looked_up = list(self._stage.looked_up)
        self._loop.pass_time(0)
        # Servers that have left are swept away.
        self._loop.pass_time(1)
        config, snapshot = self._followed
        keys = (key for key, _ in request_logs(config.http))
        return Picture(
            snapshot=_plain(self._snapshot),
            probes=sorted(watch.probes() for watch in self._loop.watches),
            judged=list(self._judged()),
            due=self._loop.due(),
            levelled=self._levelled(),
            looked_up=looked_up,
            levels=self._stage.levels,
            request_logs=list(zip(keys, snapshot.request_logs, strict=True)),
            workers=self._workers,
        )

    def _servers(self) -> Iterator[tuple[str, Server]]:
        """As they were published last, with the names of their pools."""
        yield from ((pool.name, server) for pool in self._snapshot.pools for server in pool.servers)

    def _judged(self) -> Iterator[tuple[object, ...]]:
        watches = {watch.prober.address: watch for watch in self._loop.watches}
        for pool, server in list(self._servers()):
            now = partial(self._server, server.slot)
            self._keeper.drain({server.slot}, True)
            yield pool, server.address, now().state, _cut(now())
            self._keeper.drain({server.slot}, False)
            if (watch := watches.get(server.address)) is not None:
                others = [other for other in self._loop.watches if other is not watch]
                for kind, state in _TRIALS:
                    yield server.address, kind.name, self._told(watch, others, kind, state, now), _cut(now())

    def _server(self, slot: int) -> Server:
        return next(server for _, server in self._servers() if server.slot == slot)

    def _told(
        self,
        watch: StillWatch,
        others: Sequence[StillWatch],
        kind: Kind,
        state: State,
        server: Callable[[], Server],
    ) -> int:
        """How often that has to be told of the server, so that it gets into that state."""
        for count in range(_OFTEN):
            if server().state == state:
                return count
            self._stage.now += 1
            watch.told(Evidence(kind, self._stage.now, ""), _PROBED)
            for other in others:
                other.told(Evidence(Kind.PASSED, self._stage.now, ""), _PROBED)
        return _OFTEN

    def _levelled(self) -> list[tuple[str, Release]]:
        """What is closed where each server has more sessions than the one before."""
        self._stage.now += _LONG
        names = {}
        for number, (pool, server) in enumerate(self._servers()):
            self._row.put(server.slot, Count.ACTIVE, 20 * (number + 1))
            names[server.slot] = f"{pool} {server.name}"
        self.said.clear()
        self._loop.pass_time(0)
        closed = (message for message in self.said if isinstance(message, Release))
        return [(names[message.slot], msgspec.structs.replace(message, slot=0)) for message in closed]


def _cut(server: Server) -> float | None:
    """When its sessions are cut, counted from when it came into its state."""
    return None if server.cut_at is None else server.cut_at - server.since


def _plain(snapshot: Snapshot) -> Snapshot:
    """Without what differs from one run to the next."""
    pools = tuple(
        msgspec.structs.replace(
            pool,
            servers=tuple(map(_plain_server, pool.servers)),
            names=tuple(map(_plain_server, pool.names)),
        )
        for pool in snapshot.pools
    )
    return msgspec.structs.replace(snapshot, version=0, pools=pools)


def _plain_server(server: Server) -> Server:
    return msgspec.structs.replace(server, slot=0, since=0.0, probe=None, known=None)
