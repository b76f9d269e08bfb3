"""Has the configuration read anew and the proxy go by it, one reload at a time, on the thread of whoever asks.

What can fail is done before anything is changed: the files are read, addresses are bound that are new. Then control's
loop takes the new members and settings all at once.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from kubelb import log
from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Binding
from kubelb.config.overrides import Overrides
from kubelb.config.sources import Sources
from kubelb.control import reloading
from kubelb.control.discoverer import Discoverer
from kubelb.control.keeper import Keeper
from kubelb.control.leveller import Leveller
from kubelb.control.loop import BusyFault, Loop
from kubelb.control.reloading import Wanted
from kubelb.control.upgrades import UNDER_WAY, Upgrades
from kubelb.discovery.members import TooManyServers
from kubelb.snapshot import Snapshot
from kubelb.stats import Count, Row
from kubelb.wire.message_sets import FromControl
from kubelb.wire.messages import Bind, Bound, Reloading

_PATIENCE = 10.0
"""Seconds that the supervisor may take to bind addresses."""


class Reloads:
    def __init__(
        self,
        sources: Sources,
        overrides: Overrides,
        config: Config,
        loop: Loop,
        say: Callable[[FromControl], None],
        keeper: Keeper,
        leveller: Leveller,
        discoverer: Discoverer,
        row: Row,
        upgrades: Upgrades,
        follow: Callable[[Config, Snapshot], None],
        await_workers: Callable[[int], tuple[str, ...]],
    ) -> None:
        """``say`` tells the supervisor, from any thread; ``row`` is control's in the shared counters; ``follow`` is
        called on the loop with each configuration that is gone by; ``await_workers`` returns once the workers go by a
        snapshot of this version, with a warning for each that does not.

        While one of the ``upgrades`` is under way nothing is changed.
        """
        self._sources = sources
        self._overrides = overrides
        self._config = config
        self._loop = loop
        self._say = say
        self._keeper = keeper
        self._leveller = leveller
        self._discoverer = discoverer
        self._row = row
        self._upgrades = upgrades
        self._follow = follow
        self._await_workers = await_workers
        self._one_at_a_time = threading.Lock()
        self._next = threading.Lock()
        """Held on behalf of a reload by signal that has not begun yet."""
        self._answers: queue.SimpleQueue[Bound] = queue.SimpleQueue()

    def reload(self) -> tuple[str, ...]:
        """From any thread: read the configuration anew, and return once it is gone by; the warnings.

        Raises :class:`ConfigFault`, and nothing has changed then.
        """
        return self._reload(lambda: None)

    def _reload(self, begin: Callable[[], None]) -> tuple[str, ...]:
        with self._one_at_a_time, self._supervisor_knows():
            begin()
            try:
                self._check_upgrades()
                wanted = reloading.read(self._sources, self._overrides, self._config)
                version = self._change_to(wanted)
                behind = self._await_workers(version)
            except ConfigFault as error:
                self._row.add(0, Count.RELOADS_FAILED)
                for fault in error.faults:
                    log.get().error("reload_failed", fault=str(fault))
                raise
            self._row.add(0, Count.RELOADS)
            self._row.put(0, Count.RELOADED_AT, time.monotonic_ns())
        for warning in wanted.warnings:
            log.get().warning("setting_without_effect", setting=warning)
        for warning in behind:
            log.get().warning("worker_behind", snapshot=version, reason=warning)
        log.get().info("reloaded", snapshot=version)
        return wanted.warnings + behind

    def reload_quietly(self) -> None:
        """The same; what is wrong is in the log. Where such a one has not begun yet that will do."""
        if self._next.acquire(blocking=False):
            with suppress(ConfigFault):
                self._reload(self._next.release)

    def bound(self, answer: Bound) -> None:
        """On control's loop: what the supervisor says to :class:`Bind`."""
        self._answers.put(answer)

    @contextmanager
    def _supervisor_knows(self) -> Iterator[None]:
        self._say(Reloading(under_way=True))
        try:
            yield
        finally:
            self._say(Reloading(under_way=False))

    def _check_upgrades(self) -> None:
        if self._upgrades.under_way:
            raise ConfigFault(Fault(what=UNDER_WAY))

    def _change_to(self, wanted: Wanted) -> int:
        """The version of the snapshot that says so. Raises :class:`ConfigFault`; what was bound is given up then."""
        new = reloading.new_addresses(self._config, wanted.config)
        try:
            self._bind(new)
            return self._go_by(wanted)
        except ConfigFault:
            if new:
                self._say(Bind({}))
            raise

    def _bind(self, addresses: dict[str, Binding]) -> None:
        """Have the supervisor listen on what is new. Raises :class:`ConfigFault`."""
        if not addresses:
            return
        self._say(Bind(addresses))
        try:
            while (answer := self._answers.get(timeout=_PATIENCE)).addresses != tuple(addresses):
                pass  # It is one that was not waited for.
            faults = answer.faults
        except queue.Empty:
            faults = ("the supervisor does not answer; try again",)
        if faults:
            raise ConfigFault(*(Fault(what=fault) for fault in faults))

    def _go_by(self, wanted: Wanted) -> int:
        """The version of the snapshot that says so. Raises :class:`ConfigFault`."""
        try:
            return self._loop.ask(lambda: self._change(wanted))
        except BusyFault as late:
            raise ConfigFault(Fault(what=str(late))) from None
        except TooManyServers:
            what = "too many servers, with those that have not left yet"
            raise ConfigFault(Fault(what=what, instead="try again later")) from None

    def _change(self, wanted: Wanted) -> int:
        """On control's loop. Raises :class:`ConfigFault` where an upgrade has begun meanwhile."""
        self._check_upgrades()
        self._keeper.reload(wanted.snapshot, wanted.config)
        self._leveller.reload(wanted.config.pools)
        self._discoverer.reload(wanted.config.pools)
        self._config = wanted.config
        self._follow(wanted.config, wanted.snapshot)
        log.set_levels(wanted.config.log.levels)
        return self._keeper.snapshot.version
