"""The sessions there are this moment: what can be asked, and the answer from what the workers tell; pure.

Encoded as JSON, :class:`Sessions` is what ``GET /sessions`` answers on admin.sock. Its form is stable: fields are
added, none changes its meaning or goes. Bytes are bytes, lengths of time seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, urlencode

import msgspec

from kubelb.config.misfits import misfit
from kubelb.config.values import Address
from kubelb.reasons import ValueFault
from kubelb.snapshot import Pool, Server, Snapshot
from kubelb.wire.messages import SessionList, SessionSeen


class Inquiry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose sessions."""

    server: str | None = None
    """A server's name as configured, or its address; a name means all its addresses. None: any."""
    pool: str | None = None
    """None: in whatever pool."""


EVERYBODYS = Inquiry()


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A client connection paired with its server connection."""

    client: str
    """``host:port``, numeric; IPv6 in brackets. So are the other addresses."""
    listener: str
    """The address it came to, as configured."""
    pool: str
    server: str
    """As configured."""
    address: str
    """The server's."""
    age: float
    """Since it was opened."""
    idle: float
    """Since bytes last moved, in either direction."""
    bytes_up: int
    """From the client to the server."""
    bytes_down: int
    """From the server to the client."""
    worker: int
    """The process that has it."""
    thread: int
    """The number of its relay thread; unique over all workers."""


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """All sessions that were asked for, the oldest first; dials under way are none yet."""

    sessions: tuple[Session, ...]
    unanswered: tuple[int, ...]
    """Workers, by their process, that have not told all of theirs in time: those sessions are missing here."""


def inquiry(query: str) -> Inquiry:
    """From a URL's query. Raises :class:`ValueFault` for what is none."""
    pairs = parse_qsl(query, keep_blank_values=True)
    if len(dict(pairs)) < len(pairs):
        raise ValueFault("the same is asked for twice")
    if fault := misfit(dict(pairs), Inquiry):
        raise ValueFault(fault)
    return msgspec.convert(dict(pairs), Inquiry)


def query(inquiry: Inquiry) -> str:
    """The opposite of :func:`inquiry`."""
    asked = {"server": inquiry.server, "pool": inquiry.pool}
    return urlencode({name: value for name, value in asked.items() if value is not None})


class Gathering:
    """The parts of the relay threads' answers, put together."""

    def __init__(self, rows: Iterable[int]) -> None:
        """``rows`` are those of the relay threads that are to answer, in the shared counters."""
        self._open = dict.fromkeys(rows, 0)
        """By row: how many parts have come of an answer that is not complete."""
        self._seen: dict[int, list[SessionSeen]] = {}

    def add(self, part: SessionList) -> None:
        """Parts of one relay thread come in order; after a lost one, or one too many, its answer stays incomplete."""
        if self._open.get(part.row) != part.part:
            return
        self._seen.setdefault(part.row, []).extend(part.sessions)
        if part.last:
            del self._open[part.row]
        else:
            self._open[part.row] += 1

    @property
    def missing(self) -> frozenset[int]:
        """The rows whose answer is not complete."""
        return frozenset(self._open)

    def seen(self) -> Iterator[tuple[int, SessionSeen]]:
        """Each session there is, with its row."""
        for row, sessions in self._seen.items():
            for session in sessions:
                yield row, session


def answer(gathered: Gathering, snapshot: Snapshot, workers: Mapping[int, int], now: float) -> Sessions:
    """``workers`` are the processes that were asked, by row; ``now`` is seconds of the monotonic clock."""
    homes = {server.slot: (pool, server) for pool in snapshot.pools for server in pool.servers}
    seen = sorted(gathered.seen(), key=lambda pair: (pair[1].opened_at, pair[1].client))
    return Sessions(
        sessions=tuple(
            _session(session, *homes[session.slot], workers[row], row, now)
            for row, session in seen
            # A server that has left meanwhile had no session any more.
            if session.slot in homes
        ),
        unanswered=tuple(sorted({workers[row] for row in gathered.missing})),
    )


def _session(seen: SessionSeen, pool: Pool, server: Server, worker: int, thread: int, now: float) -> Session:
    return Session(
        client=str(Address(*seen.client)),
        listener=seen.listener,
        pool=pool.name,
        server=server.name,
        address=str(Address(*server.address)),
        age=round(max(0.0, now - seen.opened_at), 6),
        idle=round(max(0.0, now - seen.moved_at), 6),
        bytes_up=seen.bytes_up,
        bytes_down=seen.bytes_down,
        worker=worker,
        thread=thread,
    )
