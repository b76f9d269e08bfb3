"""A relay thread with all that stands around it in a worker: its row, its books, its pools, its acceptors."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Collection, Sequence
from functools import partial
from socket import SocketType

from kubelb import log
from kubelb.config.naming import is_named_by_variables
from kubelb.config.variables import Client, Opening
from kubelb.crowds import Crowds
from kubelb.relay.session import Session
from kubelb.relay.thread import RelayThread
from kubelb.snapshot import Listener, Snapshot, SocketAddress
from kubelb.stats import Count, Row, Table
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FromGiver, FromTaker
from kubelb.wire.messages import AskSessions, Release, SessionList, Sighting, Stalled
from kubelb.worker import reception
from kubelb.worker.abandon import give_up
from kubelb.worker.acceptor import Acceptor
from kubelb.worker.accesslog import AccessLog, wanted
from kubelb.worker.books import Books, Visit
from kubelb.worker.byname import ByName
from kubelb.worker.cuts import Cuts, release
from kubelb.worker.dial import Dial
from kubelb.worker.handover import Giver, Taking
from kubelb.worker.limits import Limits
from kubelb.worker.listing import Listing
from kubelb.worker.manner import Manner, manner_of
from kubelb.worker.place import place_of, same_variables
from kubelb.worker.reception import Proxy, Reception
from kubelb.worker.second_chance import SecondChances
from kubelb.worker.sightings import Sightings
from kubelb.worker.sockets import listening_address, local_address, reset
from kubelb.worker.stalls import Stalls
from kubelb.worker.view import PoolView


class Lane:
    """All but construction happens on the relay thread; from elsewhere go through ``thread.post``."""

    def __init__(
        self,
        table: Table,
        row: Row,
        snapshot: Snapshot,
        share: bool,
        alone_cpus: Collection[int] | None,
        report: Callable[[Sighting | Stalled], object],
    ) -> None:
        """``report`` must not wait; the rest: RelayThread."""
        self._table = table
        self._row = row
        self._rng = random.Random()
        self._access: AccessLog | None = None
        self._sightings = Sightings(report)
        self._crowds = Crowds(table, row.index)
        self.books = Books(row, self._crowds)
        self.books.broken = self._broken
        self.thread = RelayThread(self.books, share=share, alone_cpus=alone_cpus)
        self.thread.changed = self._note_relay
        self.thread.beat = self._beat
        self._stalls = Stalls(self.thread, row, self._sightings)
        self.thread.stirred = self._stalls.begin
        self._note_relay()
        self._chances = SecondChances(self.thread)
        self._cuts = Cuts(self.thread, self._rng, self._sightings.accepted)
        self._views: dict[str, PoolView] = {}
        self._snapshot = snapshot
        self._place = place_of(snapshot)
        self._ways: dict[str, Callable[[SocketType, Client], None]] = {}
        """By listening address: where an accepted client goes."""
        self._acceptors: dict[str, Acceptor] = {}
        self._giver = Giver(self.thread, self.books)
        self._takings: list[Taking] = []
        self._leaving = False
        self.see(snapshot)

    def see(self, snapshot: Snapshot) -> None:
        """Go by this snapshot from now on. A pool that is the same keeps its selector's state."""
        for slot in snapshot.slots - self._snapshot.slots:
            self._row.forget(slot)
        same = same_variables(snapshot, self._snapshot)
        self._place = self._place if same else place_of(snapshot)
        old = self._views
        self._views = {
            pool.name: old[pool.name]
            if same and pool.name in old and old[pool.name].pool == pool
            else PoolView(pool, self._table, self._row, self._rng, self._sightings, self._place, old.get(pool.name))
            for pool in snapshot.pools
        }
        for name in old.keys() - self._views.keys():
            old[name].retire()
        self._snapshot = snapshot
        self._ways |= {listener.address: self._way(listener) for listener in snapshot.listeners}
        self._cuts.see(snapshot)
        self._keep_access_log(snapshot)
        self._tell_snapshot()

    def _tell_snapshot(self) -> None:
        """Say which snapshot it goes by, once it listens wherever that one says: sockets come by themselves."""
        wanted = {listener.address for listener in self._snapshot.listeners}
        if not self._leaving and wanted <= self._acceptors.keys():
            self._row.put(0, Count.SNAPSHOT, self._snapshot.version)

    def release(self, order: Release) -> None:
        """Close as many idle sessions as this row is asked for; none, where the order was given before it had one."""
        if self._row.index < len(order.counts):
            release(self.thread, order.slot, order.counts[self._row.index], order.quiet)

    def list_sessions(self, question: AskSessions, offer: Callable[[SessionList], bool]) -> None:
        """Tell which there are. ``offer`` must not wait, and says whether it was taken."""
        Listing(self.thread, self._row.index, question, offer).expired()

    def _keep_access_log(self, snapshot: Snapshot) -> None:
        if wanted(snapshot) and self._access is None:
            self._access = AccessLog()
        if self._access is not None:
            self._access.see(snapshot, self._place)
        self.books.journal = self._access if wanted(snapshot) else None

    def reopen(self) -> None:
        """Open the files of the access log anew."""
        if self._access is not None:
            self._access.reopen()

    def _beat(self) -> None:
        self._row.put(0, Count.BEAT, int(self.thread.now * 1e9))
        self._stalls.beat()

    def _note_relay(self) -> None:
        self.books.relays(self.thread.splices, self.thread.alone)

    def _broken(self, slot: int) -> None:
        self._sightings.fault(slot, "connection reset")

    def listen(self, address: str, sock: socket.socket) -> None:
        """Accept there too. The socket stays the caller's; it has to be open until :meth:`unlisten`."""
        self._acceptors[address] = Acceptor(sock, self.thread, self._welcomer(address, listening_address(sock)))
        self._acceptors[address].start()
        self._tell_snapshot()

    def unlisten(self, address: str, done: Callable[[], None]) -> None:
        """Take whoever waits there, and then nobody any more; call ``done``."""
        self._acceptors.pop(address).stop()
        done()

    def _welcomer(self, listening: str, local: SocketAddress) -> Callable[[SocketType, tuple[str, int]], None]:
        def welcome(client: SocketType, address: tuple[str, int]) -> None:
            number = self.books.accepted()
            try:
                take_in(client, address, number)
            except Exception:
                give_up(client, self.books)
                raise

        def take_in(client: SocketType, address: tuple[str, int], number: int) -> None:
            if self._snapshot.max_clients is not None and self._crowded(self._snapshot.max_clients):
                client.close()
                self.books.turned_away(reason=Count.CROWDED_OUT)
                return
            came_to = local_address(client) if anywhere else local
            self._ways[listening](client, Client(number, address, came_to, self.thread.now))

        anywhere = local[0] in ("0.0.0.0", "::")

        return welcome

    def _way(self, listener: Listener) -> Callable[[SocketType, Client], None]:
        proxy: Proxy = partial(self._proxy, manner_of(listener, self._place))
        if is_named_by_variables(listener.pool):
            proxy = ByName(listener, self._place, proxy, self.books).proxy
        if reception.is_needed(listener, self._place):
            limits = Limits(listener, self._crowds, self._place)
            return Reception(listener, self.thread, self.books, proxy, self._place, limits).welcome
        return partial(proxy, listener)

    def _proxy(self, manner: Manner | None, listener: Listener, client: SocketType, who: Client) -> None:
        """Take a client to a server."""
        assert listener.pool is not None
        view = self._views.get(listener.pool)
        if view is None:
            # A reload has taken the pool away while the client kept us waiting for a header.
            if self.books.journal is not None:
                self.books.journal.unserved(listener, Opening(who, who.accepted_at, ()), "no_server", 502)
            self.books.turned_away(who)
            reset(client)
            return
        dial = Dial(client, who, listener, view, self.thread, self.books, self._exhausted, manner, self._chances)
        dial.begin()

    def _crowded(self, most: int) -> bool:
        """Whether the newest client is one too many: nginx closes it then, as well as it says so."""
        if self.books.clients <= most:
            return False
        log.limited().warning("max_connections_reached", clients=most)
        return True

    def _exhausted(self, reason: str) -> None:
        for acceptor in self._acceptors.values():
            acceptor.pause(reason)

    def hand_over(self, channels: Sequence[Channel[FromTaker]]) -> None:
        """Give the sessions to the relay threads behind these channels, which are this lane's from now on."""
        # Others have channels to the same: each begins with another one, else the first would get more.
        first = self._row.index % max(1, len(channels))
        self._giver.begin([*channels[first:], *channels[:first]])

    def receive(self, channel: Channel[FromGiver]) -> None:
        """Take sessions from there; the channel is this lane's from now on."""
        if self._leaving:
            channel.close()
        else:
            self._takings = [taking for taking in self._takings if not taking.ended]
            self._takings.append(Taking(self.thread, self.books, channel, self._adopt))

    def _adopt(self, session: Session) -> None:
        self.thread.adopt(session)
        if isinstance(session.about, Visit):
            self._cuts.include(session, session.about.opened_at)

    def leave(self, emptied: Callable[[], None]) -> None:
        """Nobody is accepted any more, nor taken: when the last client has gone call ``emptied``, once."""
        self._leaving = True
        self._row.put(0, Count.SNAPSHOT, 0)
        for taking in self._takings:
            taking.end()
        self.books.emptied = emptied
        if not self.books.clients:
            emptied()

    def close(self, patience: float | None = None) -> None:
        """From any thread, at the end: until the access log is written, or for so many seconds."""
        if self._access is not None:
            self._access.close(patience)
