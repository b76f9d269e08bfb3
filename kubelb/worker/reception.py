"""What becomes of a client between the listening socket and the server: nginx's phases, in their order.

``src/stream/ngx_stream_handler.c`` and ``ngx_stream_core_module.c`` of nginx 1.22 are the source, also of what the
access log says of those who are not let in. Runs on the relay thread that accepted the client, and owns his socket
until it is handed on or closed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from socket import SocketType
from typing import Final

import msgspec

from kubelb import log
from kubelb.config.access import allowed, real_client
from kubelb.config.own_variables import captures
from kubelb.config.variables import Client, Ended, Opening, Worker, address_text, compile_answer, compile_key
from kubelb.proxyproto import Header
from kubelb.relay.thread import RelayThread
from kubelb.snapshot import Listener
from kubelb.stats import Count
from kubelb.worker.abandon import give_up
from kubelb.worker.answer import Answer
from kubelb.worker.books import Books
from kubelb.worker.limits import REJECTED, Limits
from kubelb.worker.preface import Preface

Proxy = Callable[[Listener, SocketType, Client], None]
"""Takes a client to a server."""


def is_needed(listener: Listener, worker: Worker) -> bool:
    """Whether there is more to do with a client than to take him to a server."""
    lists = listener.access or listener.assignments or listener.limits or captures(worker.own)
    return listener.accept_proxy_protocol or bool(lists) or listener.answer is not None


class Reception:
    """Of one listener, as one snapshot has it."""

    def __init__(
        self,
        listener: Listener,
        thread: RelayThread,
        books: Books,
        proxy: Proxy,
        worker: Worker,
        limits: Limits,
    ) -> None:
        """``worker`` knows the variables."""
        self._listener: Final = listener
        self._thread = thread
        self._books = books
        self._proxy = proxy
        self._limits = limits
        self._answer = None if listener.answer is None else compile_answer(listener.answer, worker)
        self._keeps_values = bool(worker.own)
        self._assignments = [(one.variable, compile_key(one.value, worker)) for one in listener.assignments]

    def welcome(self, client: SocketType, who: Client) -> None:
        """A client was accepted; from then on all goes its way by itself."""
        if self._keeps_values:
            who = msgspec.structs.replace(who, own={})
        if not self._listener.accept_proxy_protocol:
            self._receive(client, who)
            return
        read = partial(self._header_read, client, who)
        left = partial(self._left, client, who)
        broken = partial(self._header_broken, client, who)
        failed = partial(give_up, client, self._books)
        Preface(client, self._thread, read, left, broken, failed).begin(self._listener.proxy_protocol_timeout)

    def _header_read(self, client: SocketType, who: Client, header: Header) -> None:
        if header.source is not None:
            who = self._as_told(who, header)
        self._receive(client, who)

    def _as_told(self, who: Client, header: Header) -> Client:
        """With what the header tells, which counts if it is believed."""
        assert header.source is not None
        told = {"told_source": header.source, "told_destination": header.destination}
        real = real_client(self._listener.trusted_proxies, who.remote, header.source)
        if real is not who.remote:
            told |= {"remote": real, "connected_from": who.remote}
        return msgspec.structs.replace(who, **told)

    def _receive(self, client: SocketType, who: Client) -> None:
        """Who has come is known now."""
        listener = self._listener
        self._assign(who)
        if listener.limits:
            who = self._limits.counted(who)
        try:
            self._go_on(client, who)
        except Exception:
            give_up(client, self._books, who.counted_as)
            raise

    def _go_on(self, client: SocketType, who: Client) -> None:
        """The client is counted among its kinds."""
        listener = self._listener
        if who.limit_status == REJECTED:
            self._turn_away(client, who, "limited", 503, Count.LIMITED)
        elif not allowed(listener.access, who.remote[0]):
            self._turn_away(client, who, "denied", 403, Count.DENIED)
            log.limited().warning("client_denied", listener=listener.address, client=address_text(who.remote))
        elif self._answer is not None:
            now, at = time.monotonic(), datetime.now().astimezone()
            text = self._answer(Ended(_opening(who), 0, now, at, 0, 0))
            answered = partial(self._answered, client, who)
            failed = partial(give_up, client, self._books, who.counted_as)
            Answer(client, text, self._thread, answered, failed).begin()
        else:
            self._proxy(listener, client, who)

    def _assign(self, who: Client) -> None:
        for name, text in self._assignments:
            assert who.own is not None
            who.own[name] = text(who)

    def _left(self, client: SocketType, who: Client) -> None:
        """Without a header, or too late."""
        self._turn_away(client, who, "no_header", 200, Count.NO_HEADER)

    def _header_broken(self, client: SocketType, who: Client, reason: str) -> None:
        self._turn_away(client, who, "no_header", 400, Count.NO_HEADER)
        log.limited().warning(
            "proxy_header_broken", listener=self._listener.address, client=address_text(who.remote), reason=reason
        )

    def _answered(self, client: SocketType, who: Client, sent: int, status: int) -> None:
        self._tell(who, "answered", status, sent)
        self._books.gave_up(who)
        client.close()

    def _turn_away(self, client: SocketType, who: Client, end: str, status: int, reason: int) -> None:
        """Close as nginx does, with an orderly end."""
        self._tell(who, end, status)
        self._books.turned_away(who, reason)
        client.close()

    def _tell(self, who: Client, end: str, status: int, sent: int = 0) -> None:
        """The access log."""
        if self._books.journal is not None:
            self._books.journal.unserved(self._listener, _opening(who), end, status, sent)


def _opening(who: Client) -> Opening:
    return Opening(who, who.accepted_at, ())
