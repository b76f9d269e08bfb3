"""A relay thread with all that stands around it in a worker: its row, its books, its pools, its acceptors."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Collection, Sequence
from socket import SocketType

from kubelb.relay.thread import RelayThread
from kubelb.snapshot import Listener, Snapshot
from kubelb.stats import Row, Table
from kubelb.wire.messages import Release, Sighting
from kubelb.worker.acceptor import Acceptor
from kubelb.worker.accesslog import AccessLog
from kubelb.worker.books import Books
from kubelb.worker.cuts import Cuts, release
from kubelb.worker.dial import Dial
from kubelb.worker.sightings import Sightings
from kubelb.worker.view import PoolView


class Lane:
    """All but construction happens on the relay thread; from elsewhere go through ``thread.post``."""

    def __init__(
        self,
        table: Table,
        row: Row,
        listening: Sequence[socket.socket],
        snapshot: Snapshot,
        share: bool,
        alone_cpus: Collection[int] | None,
        report: Callable[[Sighting], object],
    ) -> None:
        """``listening`` are the sockets of ``snapshot.listeners``, in the same order; the rest: RelayThread.

        ``report`` must not wait.
        """
        self._table = table
        self._row = row
        self._rng = random.Random()
        self._access: AccessLog | None = None
        self._sightings = Sightings(report)
        self.books = Books(row)
        self.books.broken = self._broken
        self.thread = RelayThread(self.books, share=share, alone_cpus=alone_cpus)
        self._cuts = Cuts(self.thread, self._rng)
        self._views: dict[str, PoolView] = {}
        self._snapshot = snapshot
        self.see(snapshot)
        self._acceptors = [Acceptor(sock, self.thread, self._welcomer(index)) for index, sock in enumerate(listening)]
        for acceptor in self._acceptors:
            acceptor.start()

    def see(self, snapshot: Snapshot) -> None:
        """Go by this snapshot from now on. A pool that is the same keeps its selector's state."""
        for slot in _slots(snapshot) - _slots(self._snapshot):
            self._row.forget(slot)
        old = self._views
        self._views = {
            pool.name: old[pool.name]
            if pool.name in old and old[pool.name].pool == pool
            else PoolView(pool, self._table, self._row, self._rng, self._sightings, old.get(pool.name))
            for pool in snapshot.pools
        }
        self._snapshot = snapshot
        self._cuts.see(snapshot)
        self._keep_access_log(snapshot.log.access)

    def release(self, order: Release) -> None:
        """Close as many idle sessions as this row is asked for."""
        release(self.thread, order.slot, order.counts[self._row.index], order.quiet)

    def _keep_access_log(self, wanted: bool) -> None:
        if wanted and self._access is None:
            self._access = AccessLog()
        self.books.record = self._access.record if wanted and self._access is not None else None

    def _broken(self, slot: int) -> None:
        self._sightings.fault(slot, "connection reset")

    def _welcomer(self, index: int) -> Callable[[SocketType, tuple[str, int]], None]:
        def welcome(client: SocketType, address: tuple[str, int]) -> None:
            listener: Listener = self._snapshot.listeners[index]
            self.books.accepted()
            view = self._views[listener.pool]
            Dial(client, address, listener, view, self.thread, self.books, self._exhausted).begin()

        return welcome

    def _exhausted(self) -> None:
        for acceptor in self._acceptors:
            acceptor.pause()

    def stop(self, stopped: Callable[[], None], emptied: Callable[[], None]) -> None:
        """Accept no more, then call ``stopped``; when the last client has gone call ``emptied``."""
        for acceptor in self._acceptors:
            acceptor.stop()
        stopped()
        self.books.emptied = emptied
        if not self.books.clients:
            emptied()

    def close(self) -> None:
        """From any thread, once the relay thread has stopped: until the access log is written."""
        if self._access is not None:
            self._access.close()


def _slots(snapshot: Snapshot) -> set[int]:
    return {server.slot for pool in snapshot.pools for server in pool.servers}
