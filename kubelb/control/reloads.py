"""Has the configuration read anew and the proxy go by it, one reload at a time, on the thread of whoever asks.

What can fail is done before anything is changed: the supervisor has the files read, and listens on addresses that are
new. Then control's loop takes the new members and settings all at once.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from kubelb import log
from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.model.config import Config
from kubelb.config.toml.reader import parse_toml
from kubelb.control.discoverer import Discoverer
from kubelb.control.keeper import Keeper
from kubelb.control.leveller import Leveller
from kubelb.control.loop import BusyFault, Loop
from kubelb.control.upgrades import UNDER_WAY, Upgrades
from kubelb.discovery.members import TooManyServers
from kubelb.snapshot import Snapshot
from kubelb.stats import Count, Row
from kubelb.wire.message_sets import FromControl
from kubelb.wire.messages import Configuration, GiveUp, NoConfiguration, ReadAnew, Reloading

_BUSY = 10.0
"""Seconds that the supervisor may take for its part, beside those that reading may take."""


@dataclass(frozen=True)
class Wanted:
    """A configuration that can be gone by."""

    config: Config
    snapshot: Snapshot
    warnings: tuple[str, ...]


class Reloads:
    def __init__(
        self,
        loop: Loop,
        say: Callable[[FromControl], None],
        keeper: Keeper,
        leveller: Leveller,
        discoverer: Discoverer,
        row: Row,
        upgrades: Upgrades,
        follow: Callable[[Config, Snapshot], None],
        await_workers: Callable[[int], tuple[str, ...]],
        patience: float,
    ) -> None:
        """``say`` tells the supervisor, from any thread; ``row`` is control's in the shared counters; ``follow`` is
        called on the loop with each configuration that is gone by; ``await_workers`` returns once the workers go by a
        snapshot of this version, with a warning for each that does not. Reading may take ``patience`` seconds.

        While one of the ``upgrades`` is under way nothing is changed.
        """
        self._loop = loop
        self._say = say
        self._keeper = keeper
        self._leveller = leveller
        self._discoverer = discoverer
        self._row = row
        self._upgrades = upgrades
        self._follow = follow
        self._await_workers = await_workers
        self._patience = patience + _BUSY
        self._numbers = itertools.count(1)
        self._one_at_a_time = threading.Lock()
        self._next = threading.Lock()
        """Held on behalf of a reload by signal that has not begun yet."""
        self._answers: queue.SimpleQueue[Configuration | NoConfiguration] = queue.SimpleQueue()

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
                number = next(self._numbers)
                try:
                    wanted = self._read(number)
                    version = self._go_by(wanted)
                except ConfigFault:
                    self._say(GiveUp(number))
                    raise
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

    def answered(self, answer: Configuration | NoConfiguration) -> None:
        """On control's loop: by the supervisor."""
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

    def _read(self, number: int) -> Wanted:
        """What the files say now, bound. Raises :class:`ConfigFault`."""
        give_up_at = time.monotonic() + self._patience
        self._say(ReadAnew(number))
        try:
            while (answer := self._answers.get(timeout=max(0.0, give_up_at - time.monotonic()))).number != number:
                pass  # It is one that was not waited for.
        except queue.Empty:
            raise ConfigFault(Fault(what="the supervisor does not answer; try again")) from None
        if isinstance(answer, NoConfiguration):
            raise ConfigFault(*answer.faults)
        return Wanted(parse_toml(answer.toml, "reloaded").config, answer.snapshot, answer.warnings)

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
        self._keeper.reload(wanted.snapshot, wanted.config.pools)
        self._leveller.reload(wanted.config.pools)
        self._discoverer.reload(wanted.config.pools)
        self._follow(wanted.config, wanted.snapshot)
        log.set_levels(wanted.config.log.levels)
        return self._keeper.snapshot.version
