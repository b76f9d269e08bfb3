"""The messages between the supervisor and its children, its successor, and between relay threads; pure.

Each is one SEQPACKET datagram of MessagePack, its type told by a tag.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kubelb.config.faults import Fault
from kubelb.config.model.listeners import Binding
from kubelb.config.variables import Opening
from kubelb.snapshot import Listener, Pool, Server, Slot, Snapshot, SocketAddress
from kubelb.stats import ROWS, SLOTS

AT_MOST = 128
"""Descriptors that travel with one message (the kernel's limit is SCM_MAX_FD, 253)."""
SESSIONS_AT_MOST = 200
"""Sessions in a message: some 20 KiB, which is less than a millisecond's work, and less than 64 KiB however long the
paths of listeners are."""

Seconds = Annotated[float, Meta(ge=0, le=1e12)]
Size = Annotated[int, Meta(ge=0)]
"""Bytes, or how many there are of something."""
RowIndex = Annotated[int, Meta(ge=0, lt=ROWS)]


class _Message(msgspec.Struct, frozen=True, tag=True):
    """What all messages have in common."""


class Ready(_Message, frozen=True, tag=True):
    """Child to supervisor: it serves now."""


class SnapshotChanged(_Message, frozen=True, tag=True):
    """A newer picture of everything: supervisor to every worker."""

    snapshot: Snapshot


class PoolsChanged(_Message, frozen=True, tag=True):
    """A newer picture of the pools: control to supervisor. All else of a snapshot is the supervisor's."""

    generation: int
    """Of the configuration that it is made from: the running one, or the one that is to be gone by from now on."""
    version: int
    """The snapshot's."""
    pools: tuple[Pool, ...]


class Sighting(_Message, frozen=True, tag=True):
    """What a worker's own dials and sessions tell of a server: worker to supervisor to control."""

    slot: Slot
    at: Seconds
    """On the monotonic clock."""
    fault: Annotated[str, Meta(max_length=1000)]
    """What went wrong; empty: a server that is not up has accepted a connection."""


class Stalled(_Message, frozen=True, tag=True):
    """A session waits for its server: worker to supervisor to control. Times are on the monotonic clock."""

    slot: Slot
    at: Seconds
    """When it was looked at."""
    since: Seconds
    """It has heard nothing from the server since then, although it has asked."""
    acknowledged: bool
    """The server's kernel has acknowledged all that was sent."""
    retransmissions: Size
    """So often what is not acknowledged has been sent again, or TCP has asked in vain whether the server is there."""


class Release(_Message, frozen=True, tag=True):
    """Close idle sessions of a server, cleanly: control to supervisor to every worker."""

    slot: Slot
    counts: Annotated[tuple[Size, ...], Meta(max_length=ROWS)]
    """By row of the shared counters: how many each relay thread is to close at most."""
    quiet: Seconds
    """For so long a session must have been idle."""


class Reload(_Message, frozen=True, tag=True):
    """Supervisor to control: have the proxy go by its configuration as it now is."""


class Reloading(_Message, frozen=True, tag=True):
    """Control to supervisor: the configuration is being read anew, or that has ended, well or not."""

    under_way: bool


class ReadAnew(_Message, frozen=True, tag=True):
    """Control to supervisor: have the operator's files read, and listen where they say so."""

    number: int
    """Of the question."""


class GiveUp(_Message, frozen=True, tag=True):
    """Control to supervisor: what comes of this question, or has come, is not gone by."""

    number: int


class Read(_Message, frozen=True, tag=True):
    """Reader to supervisor: what the operator's files say now."""

    toml: str
    """The configuration, for control."""
    snapshot: Snapshot
    """What it comes to, with names resolved."""
    bindings: dict[str, Binding]
    """Where clients are to be listened for."""
    workers: int | None
    """How many there are to be; None: as the machine has it."""
    warnings: tuple[str, ...]


class Refused(_Message, frozen=True, tag=True):
    """Reader to supervisor: the proxy cannot go by what they say."""

    faults: tuple[Fault, ...]


class Configuration(_Message, frozen=True, tag=True):
    """Supervisor to control: the answer to :class:`ReadAnew`. Its addresses are listened on."""

    number: int
    toml: str
    snapshot: Snapshot
    """As in :class:`Read`, with its generation."""
    warnings: tuple[str, ...]


class NoConfiguration(_Message, frozen=True, tag=True):
    """The same where it cannot be gone by: nothing has changed."""

    number: int
    faults: tuple[Fault, ...]


class Listen(_Message, frozen=True, tag=True):
    """Supervisor to worker: accept here too. With a descriptor for each address."""

    addresses: tuple[str, ...]


class Unlisten(_Message, frozen=True, tag=True):
    """Supervisor to worker: take whoever waits there, and then nobody any more."""

    addresses: tuple[str, ...]


class HandOver(_Message, frozen=True, tag=True):
    """Supervisor to worker: accept no more, give all sessions to others, and end. With the channels to them.

    The same number for each relay thread, in order.
    """


class Receive(_Message, frozen=True, tag=True):
    """Supervisor to worker: take the sessions that come through these channels; each comes as a descriptor."""


class FlowHanded(msgspec.Struct, frozen=True):
    """One direction of a session, as :class:`kubelb.relay.session.Flow` has it."""

    state: Annotated[int, Meta(ge=0, le=3)]
    moved: Size
    """Bytes."""
    moved_at: Seconds
    held: Annotated[int, Meta(ge=0, le=64 << 20)]
    """Bytes that the destination has not taken: in the pipe whose two ends come along, or in the file."""
    in_pipe: bool
    first_at: Seconds | None = None
    rate: Size = 0
    """Bytes a second, 0: as they come."""
    due: Seconds = 0.0
    """From when on it may read, where there is a rate."""


class Handed(_Message, frozen=True, tag=True):
    """A live session: relay thread to relay thread. Times are seconds of the monotonic clock.

    With the descriptors of the client's connection and the server's; then those of what ``up`` holds, and ``down``.
    """

    number: int
    slot: Slot
    up: FlowHanded
    down: FlowHanded
    idle_timeout: Seconds | None
    client: SocketAddress
    listener: Listener
    server: Server
    opened_at: Seconds
    opening: Opening | None = None
    """For the access log; None: nothing was to be logged then."""
    counted_as: tuple[int, ...] = ()
    """The kinds of clients among which it is counted, by the secret of the shared counters."""


class Taken(_Message, frozen=True, tag=True):
    """The answer to :class:`Handed`, before a byte is moved; not taken, it stays where it was."""

    number: int
    taken: bool


class Upgrade(_Message, frozen=True, tag=True):
    """Control to supervisor: put the installed kubelb in your place. Supervisor to control: that is under way."""


class Upgraded(_Message, frozen=True, tag=True):
    """Supervisor to control: how it went."""

    pid: int
    """Of the new supervisor; 0: there is none, and all is as before."""
    faults: tuple[str, ...]
    """Why, a line each."""


class Retire(_Message, frozen=True, tag=True):
    """Supervisor to control: another one decides from now on, and answers."""


class Inherit(_Message, frozen=True, tag=True):
    """The new supervisor to the old: its configuration can be run, and it wants to have what there is."""

    pid: int
    version: str
    """kubelb's own."""


class Legacy(_Message, frozen=True, tag=True):
    """What a supervisor leaves to the one that succeeds it, together with the descriptors that follow."""

    snapshot: Snapshot
    rows: tuple[int, ...]
    """Those of the shared counters that are in use."""
    descriptors: tuple[str, ...]
    """What each of them is, in order."""


class Descriptors(_Message, frozen=True, tag=True):
    """The next ones of a :class:`Legacy`, or of the channels through which sessions come."""


class TakeOver(_Message, frozen=True, tag=True):
    """The new supervisor to the old: everybody could serve here."""

    threads: int
    """Relay threads, in all."""


class Serve(_Message, frozen=True, tag=True):
    """The answer to :class:`TakeOver`; sent by one who has not given up the upgrade meanwhile."""


class Failed(_Message, frozen=True, tag=True):
    """The new supervisor to the old: it cannot."""

    faults: tuple[str, ...]
    """Why, a line each."""


class Stop(_Message, frozen=True, tag=True):
    """Supervisor to child: accept no more, and end once the last session has ended."""


class Drained(_Message, frozen=True, tag=True):
    """The old supervisor to the new: it has gone, and all its workers."""


class Quit(_Message, frozen=True, tag=True):
    """Control to supervisor, a new one of these to the old: the operator wants the proxy to stop."""

    gracefully: bool


class LogOpened(_Message, frozen=True, tag=True):
    """A file of the log has been opened anew, and its descriptor comes with it: opener to supervisor to control."""

    index: Size
    """Among the files that the log has targets for."""


class Reopen(_Message, frozen=True, tag=True):
    """Supervisor to every child: open the log files anew; they may have been renamed."""


class SessionSeen(msgspec.Struct, frozen=True):
    """One session, as its relay thread sees it. Times are seconds of the monotonic clock."""

    slot: Slot
    """Its server's in the shared counters."""
    client: tuple[str, int]
    listener: str
    opened_at: Seconds
    moved_at: Seconds
    """When bytes last moved, in either direction."""
    bytes_up: Size
    bytes_down: Size


class AskSessions(_Message, frozen=True, tag=True):
    """Which sessions are there? Control to supervisor to every worker."""

    number: int
    """Of the question."""
    slots: Annotated[tuple[Slot, ...], Meta(max_length=SLOTS)] | None
    """Of these servers; None: of all."""


class SessionList(_Message, frozen=True, tag=True):
    """A part of one relay thread's answer: worker to supervisor to control."""

    number: int
    row: RowIndex
    """Of the relay thread in the shared counters."""
    part: Size
    """Counted from 0: one that is missing was lost on its way."""
    sessions: Annotated[tuple[SessionSeen, ...], Meta(max_length=SESSIONS_AT_MOST)]
    last: bool
    """No more of this relay thread's follow."""
