"""Has names looked up again and again: when, and who is told of what comes of it.

All on control's loop, but for the lookups, which block: each has a thread of its own as long as it takes. A lookup
that fails changes nothing; it is tried again soon.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from kubelb import log
from kubelb.config.model.pools import Discovery, Pool, Server
from kubelb.config.rules.discovery import is_looked_up_again
from kubelb.control.loop import Loop, Timer
from kubelb.discovery.dns import Found, LookupFault, look_up, look_up_service
from kubelb.discovery.targets import Target

_UNSAID: Final = 30.0
"""Seconds between two lookups, where neither the operator nor the answer says how many."""
_LEAST: Final = 1.0
"""Seconds that an answer holds at least."""
_MOST: Final = 86400.0
_AGAIN: Final = 5.0
"""Seconds after which a lookup that came to nothing is made again, unless the next is due before."""

Told = Callable[[str, str, Sequence[Target]], bool]
"""Takes a pool, the name of a server in it and where this leads to now; whether that can be gone by now."""


class Discoverer:
    """Owns the timers."""

    def __init__(self, loop: Loop, settings: Mapping[str, Pool], told: Told) -> None:
        """``settings`` are the pools as configured."""
        self._loop = loop
        self._settings = settings
        self._told = told
        self._names: list[_Name] = []

    def start(self) -> None:
        self.reload(self._settings)

    def reload(self, settings: Mapping[str, Pool]) -> None:
        """Go by these from now on: every name is looked up at once."""
        self.stop()
        for pool_name, pool in settings.items():
            if pool.discovery is not None:
                for server in pool.servers:
                    if is_looked_up_again(server, pool):
                        name = _Name(self._loop, pool_name, server, pool.discovery, self._told)
                        self._names.append(name)
                        name.begin()

    def stop(self) -> None:
        """Nobody is told of anything any more."""
        for name in self._names:
            name.stop()
        self._names = []


class _Name:
    """One server of a pool."""

    def __init__(self, loop: Loop, pool: str, server: Server, discovery: Discovery, told: Told) -> None:
        self._loop = loop
        self._pool = pool
        self._server = server
        self._discovery = discovery
        self._told = told
        self._timer: Timer | None = None
        self._stopped = False

    def begin(self) -> None:
        try:
            threading.Thread(target=self._look_up, name="lookup", daemon=True).start()
        except RuntimeError:
            self._ended(LookupFault("the system has no room for another thread"))

    def stop(self) -> None:
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _look_up(self) -> None:
        """On its own thread."""
        try:
            outcome: Found | LookupFault = self._found()
        except LookupFault as fault:
            outcome = fault
        with suppress(OSError):  # The loop may be closed by now.
            self._loop.post(lambda: self._ended(outcome))

    def _found(self) -> Found:
        if self._server.service:
            return look_up_service(self._server.name, self._discovery)
        return look_up(self._server.address.host, self._discovery)

    def _ended(self, outcome: Found | LookupFault) -> None:
        if self._stopped:
            return
        name, ttl, gone_by = self._server.name, None, False
        faults = outcome.faults if isinstance(outcome, Found) else (str(outcome),)
        for fault in faults:
            log.limited().warning("lookup_failed", pool=self._pool, server=name, reason=fault)
        if isinstance(outcome, Found):
            ttl, gone_by = outcome.ttl, self._told(self._pool, name, outcome.targets) and not faults
        wait = pause(self._discovery, ttl)
        self._timer = self._loop.at(time.monotonic() + (wait if gone_by else min(wait, _AGAIN)), self.begin)


def pause(discovery: Discovery, ttl: int | None) -> float:
    """Seconds from an answer to the next lookup; ``ttl`` as in :class:`~kubelb.discovery.dns.Found`."""
    if discovery.interval is not None:
        return discovery.interval
    return _UNSAID if ttl is None else min(max(_LEAST, ttl), _MOST)
