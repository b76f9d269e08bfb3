"""Takes each client of a listener to the pool that is called what its variables make: nginx's ``proxy_pass $NAME``.

Runs on the client's relay thread; his socket is closed here where there is no such pool, and another's otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import SocketType

import msgspec

from kubelb import log
from kubelb.config.variables import Client, Opening, Worker, compile_key
from kubelb.snapshot import Listener
from kubelb.worker.books import Books


class ByName:
    """Of one listener, as one snapshot has it."""

    def __init__(
        self,
        listener: Listener,
        place: Worker,
        proxy: Callable[[Listener, SocketType, Client], None],
        books: Books,
    ) -> None:
        """``place`` knows the variables; ``proxy`` takes a client to the pool that the listener it is given has."""
        self._name = compile_key(listener.pool or "", place)
        self._to = {pool.lower(): msgspec.structs.replace(listener, pool=pool, pools=()) for pool in listener.pools}
        self._proxy = proxy
        self._books = books

    def proxy(self, listener: Listener, client: SocketType, who: Client) -> None:
        """Case does not count. Who has the name of no pool is closed, as in nginx without a resolver."""
        name = self._name(who).decode(errors="replace")
        to = self._to.get(name.lower())
        if to is not None:
            self._proxy(to, client, who)
            return
        log.limited().error("no_such_pool", listener=listener.address, pool=name)
        if self._books.journal is not None:
            self._books.journal.unserved(listener, Opening(who, who.accepted_at, ()), "no_pool", 500)
        self._books.turned_away(who)
        client.close()
