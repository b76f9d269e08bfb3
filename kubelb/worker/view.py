"""What one relay thread knows of a pool: its servers from the snapshot, their counts from the shared table.

Picks a server and claims a place on it in the thread's own row of the counters: first added, then looked at in
sum over all rows and taken back if that is too many, so ``max_conns`` holds over all workers without a lock.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Collection, Mapping
from typing import Final

from kubelb import log
from kubelb.balance import passive
from kubelb.balance.eligible import eligible
from kubelb.balance.ramp import ramped, ramps_until
from kubelb.balance.selector import Selector, make_selector
from kubelb.config.variables import Client, Worker, compile_key
from kubelb.reasons import reason
from kubelb.snapshot import Pool, Server
from kubelb.stats import Count, Row, Table
from kubelb.worker.sightings import Sightings
from kubelb.worker.sockets import liveness

_NS = 1_000_000_000
_KEYED = ("hash", "consistent_hash")
_COUNTING = ("least_conn", "random_two")
_AWAY = ("suspect", "down")
_KINDS: Final[Mapping[int, int]] = {
    errno.ECONNREFUSED: Count.REFUSED,
    errno.ETIMEDOUT: Count.UNANSWERED,
    errno.EHOSTUNREACH: Count.UNREACHABLE,
    errno.EHOSTDOWN: Count.UNREACHABLE,
    errno.ENETUNREACH: Count.UNREACHABLE,
    errno.ENETDOWN: Count.UNREACHABLE,
    errno.ECONNRESET: Count.RESET,
}
"""How dials that fail with these errnos are counted."""


class PoolView:
    """For the thread that writes ``row`` only."""

    def __init__(
        self,
        pool: Pool,
        table: Table,
        row: Row,
        rng: random.Random,
        sightings: Sightings,
        worker: Worker,
        before: PoolView | None = None,
    ) -> None:
        """``worker`` knows the variables; ``before`` is what this is to replace, if anything."""
        self.pool = pool
        self.liveness = liveness(pool)
        """Of server connections."""
        self._table = table
        self._row = row
        self._rng = rng
        self._sightings = sightings
        self._selector = _selector(pool, before)
        self._key = _key(pool, worker)
        limited = any(server.max_conns for server in pool.servers)
        self._counted = limited or pool.balance in _COUNTING
        self._well = None if limited else eligible(pool.servers, [0] * len(pool.servers), (), ())
        """The positions to pick from as long as nothing has failed; None where that takes a closer look."""
        self.usable = sum(server.may_be_picked for server in pool.servers)
        """How many servers a session may try."""
        self._ramps_until = ramps_until(pool)
        self._slots = [server.slot for server in pool.servers]
        self._after: PoolView | None = None
        self._retired = False
        if before is not None:
            before._after = self
        self._failures_seen = -1
        self._suspicious = False

    def newest(self) -> PoolView:
        """The one that has replaced it, or this: what a dial that takes its time has to go by."""
        view = self
        while view._after is not None:
            view = view._after
        return view

    def retire(self) -> None:
        """The pool is no more: nobody is taken there."""
        self._retired = True

    def pick(self, client: Client, tried: Collection[int], now: float) -> int | None:
        """The position of a server with a place claimed on it, or None where none is left.

        ``tried`` are the positions not to be picked, ``now`` is in seconds of the monotonic clock. The place is given
        back by :meth:`release`.
        """
        if self._retired:
            return None
        servers = self.pool.servers
        failing = self._failing(now)
        total = self._table.total
        conns = [total(slot, Count.ACTIVE) for slot in self._slots] if self._counted else [0] * len(servers)
        key = self._key(client)
        well = self._well if not failing and not tried else None
        while choice := well or eligible(servers, conns, failing, tried):
            if now < self._ramps_until:
                choice = ramped(self.pool, choice, now, self._rng)
            position = self._selector.pick(choice, conns, key, self._rng)
            server = servers[position]
            if self._claim(server):
                if self._suspicious:
                    self._note_trial(server, now)
                return position
            conns[position] = server.max_conns
        return None

    def pick_another(self, client: Client, tried: Collection[int], now: float) -> Server | None:
        """As :meth:`pick`: a server whose slot is not among ``tried``."""
        servers = self.pool.servers
        positions = [position for position, server in enumerate(servers) if server.slot in tried] if tried else ()
        position = self.pick(client, positions, now)
        return None if position is None else servers[position]

    def _active(self, server: Server) -> int:
        return self._table.total(server.slot, Count.ACTIVE)

    def _claim(self, server: Server) -> bool:
        self._row.add(server.slot, Count.ACTIVE)
        if server.max_conns and self._active(server) > server.max_conns:
            self._row.add(server.slot, Count.ACTIVE, -1)
            return False
        return True

    def release(self, server: Server) -> None:
        self._row.add(server.slot, Count.ACTIVE, -1)

    def passed(self, server: Server, begun: float, seconds: float) -> None:
        """It accepted a connection that was begun at ``begun``, and took ``seconds``."""
        self._row.opened(server.slot, seconds)
        if server.state in _AWAY:
            self._sightings.accepted(server.slot)
        if self._suspicious:
            streaks = self._streaks(server)
            window, begun_ns = int(server.fail_timeout * _NS), int(begun * _NS)
            own = passive.after_success(self._own_streak(server), streaks, server.max_fails, window, begun_ns)
            self._put_streak(server, own)

    def unanswered(self, server: Server, now: float, begun: float) -> None:
        """As :meth:`failed`: nothing has answered a connect that was begun at ``begun``."""
        self.failed(server, now, f"no answer to connect for {now - begun:.2f} s", Count.UNANSWERED)

    def connect_failed(self, server: Server, now: float, code: int) -> None:
        """As :meth:`failed`, with that errno of connect(2); none of our own limits."""
        self.failed(server, now, reason(code), _KINDS.get(code, Count.OTHERWISE))

    def failed(self, server: Server, now: float, reason: str, kind: int) -> None:
        """It did not accept a connection; ``kind`` is the word for such failures."""
        self._row.add(server.slot, kind)
        self._row.add(server.slot, Count.DIAL_FAILURES)
        self._row.add(0, Count.DIAL_FAILURES)
        self._sightings.fault(server.slot, reason)
        now_ns = int(now * _NS)
        was_failing = self._is_failing(server, now_ns)
        passed_at = self._table.latest(server.slot, Count.PASSED_AT)
        self._put_streak(server, passive.after_failure(self._own_streak(server), passed_at, now_ns))
        if not was_failing and self._is_failing(server, now_ns):
            log.limited().warning("server_failing", pool=self.pool.name, server=server.name, reason=reason)

    def _failing(self, now: float) -> Collection[int]:
        """Looks closer only after a failed dial of any worker, until all that failed have recovered."""
        failures = self._table.total(0, Count.DIAL_FAILURES)
        if failures == self._failures_seen and not self._suspicious:
            return ()
        self._failures_seen = failures
        now_ns = int(now * _NS)
        servers = self.pool.servers
        self._suspicious = any(self._table.total(server.slot, Count.FAILS) for server in servers)
        return {i for i, server in enumerate(servers) if self._is_failing(server, now_ns)} if self._suspicious else ()

    def _is_failing(self, server: Server, now_ns: int) -> bool:
        return passive.failing(self._streaks(server), server.max_fails, int(server.fail_timeout * _NS), now_ns)

    def _note_trial(self, server: Server, now: float) -> None:
        now_ns = int(now * _NS)
        if passive.is_trial(self._streaks(server), server.max_fails, int(server.fail_timeout * _NS), now_ns):
            self._row.put(server.slot, Count.TRIED_AT, now_ns)

    def _streaks(self, server: Server) -> list[passive.Streak]:
        words = (Count.FAILS, Count.FAILED_AT, Count.TRIED_AT, Count.PASSED_AT)
        return [
            passive.Streak(*values)
            for values in zip(*(self._table.each(server.slot, w) for w in words), strict=False)
        ]

    def _own_streak(self, server: Server) -> passive.Streak:
        get = self._row.get
        return passive.Streak(
            fails=get(server.slot, Count.FAILS),
            failed_at=get(server.slot, Count.FAILED_AT),
            tried_at=get(server.slot, Count.TRIED_AT),
            passed_at=get(server.slot, Count.PASSED_AT),
        )

    def _put_streak(self, server: Server, streak: passive.Streak) -> None:
        put = self._row.put
        put(server.slot, Count.FAILS, streak.fails)
        put(server.slot, Count.FAILED_AT, streak.failed_at)
        put(server.slot, Count.TRIED_AT, streak.tried_at)
        put(server.slot, Count.PASSED_AT, streak.passed_at)


def _key(pool: Pool, worker: Worker) -> Callable[[Client], bytes]:
    if pool.balance not in _KEYED:
        return lambda client: b""
    return compile_key(pool.hash_key, worker)


def _selector(pool: Pool, before: PoolView | None) -> Selector:
    """That of the view before as long as it would be made the same: its turns go on, whatever becomes of health."""
    if before is not None and _selection(before.pool) == _selection(pool):
        return before._selector
    return make_selector(pool)


def _selection(pool: Pool) -> tuple[object, ...]:
    """All that a selector is made from."""
    return pool.balance, [
        (server.name, server.found_by, server.address, server.weight, server.backup) for server in pool.servers
    ]
