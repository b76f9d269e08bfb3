"""The messages between the supervisor and its children, its successor, and between relay threads; pure.

Each is one SEQPACKET datagram of MessagePack, its type told by a tag.
"""

from __future__ import annotations

import typing

import msgspec

from kubelb.config.misfits import UNDECODABLE, misfit, shown
from kubelb.config.model.listeners import Binding
from kubelb.config.variables import Opening
from kubelb.snapshot import Listener, Server, Snapshot, SocketAddress


class _Message(msgspec.Struct, frozen=True, tag=True):
    """What all messages have in common."""


class Ready(_Message, frozen=True, tag=True):
    """Child to supervisor: it serves now."""


class SnapshotChanged(_Message, frozen=True, tag=True):
    """A newer picture of the pools: control to supervisor, supervisor to every worker."""

    snapshot: Snapshot


class Sighting(_Message, frozen=True, tag=True):
    """What a worker's own dials and sessions tell of a server: worker to supervisor to control."""

    slot: int
    at: float
    """Seconds of the monotonic clock."""
    fault: str
    """What went wrong; empty: a server that is not up has accepted a connection."""


class Release(_Message, frozen=True, tag=True):
    """Close idle sessions of a server, cleanly: control to supervisor to every worker."""

    slot: int
    counts: tuple[int, ...]
    """By row of the shared counters: how many each relay thread is to close at most."""
    quiet: float
    """Seconds a session must have been idle."""


class Reload(_Message, frozen=True, tag=True):
    """Supervisor to control: read the configuration anew."""


class Reloading(_Message, frozen=True, tag=True):
    """Control to supervisor: the configuration is being read anew, or that has ended, well or not."""

    under_way: bool


class Configured(_Message, frozen=True, tag=True):
    """Control to supervisor: what is configured since a reload; for the next control process, and for itself."""

    toml: str
    workers: int | None
    """How many there are to be; None: as the machine has it."""


class Bind(_Message, frozen=True, tag=True):
    """Control to supervisor: listen on these addresses too, for a snapshot that is to come; on no others any more."""

    addresses: dict[str, Binding]


class Bound(_Message, frozen=True, tag=True):
    """The answer to :class:`Bind`."""

    addresses: tuple[str, ...]
    faults: tuple[str, ...]
    """Why that cannot be; none: all of them are bound."""


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

    state: int
    moved: int
    """Bytes."""
    moved_at: float
    held: int
    """Bytes that the destination has not taken: in the pipe whose two ends come along, or in the file."""
    in_pipe: bool
    first_at: float | None = None
    rate: int = 0
    """Bytes a second, 0: as they come."""
    due: float = 0.0
    """From when on it may read, where there is a rate."""


class Handed(_Message, frozen=True, tag=True):
    """A live session: relay thread to relay thread. Times are seconds of the monotonic clock.

    With the descriptors of the client's connection and the server's; then those of what ``up`` holds, and ``down``.
    """

    number: int
    slot: int
    up: FlowHanded
    down: FlowHanded
    idle_timeout: float | None
    client: SocketAddress
    listener: Listener
    server: Server
    opened_at: float
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
    """Worker to supervisor: stopped, and no session is left."""


class Quit(_Message, frozen=True, tag=True):
    """Control to supervisor, a new one of these to the old: the operator wants the proxy to stop."""

    gracefully: bool


class Reopen(_Message, frozen=True, tag=True):
    """Supervisor to every child: open the log files anew; they may have been renamed."""


class SessionSeen(msgspec.Struct, frozen=True):
    """One session, as its relay thread sees it. Times are seconds of the monotonic clock."""

    slot: int
    """Its server's in the shared counters."""
    client: tuple[str, int]
    listener: str
    opened_at: float
    moved_at: float
    """When bytes last moved, in either direction."""
    bytes_up: int
    bytes_down: int


class AskSessions(_Message, frozen=True, tag=True):
    """Which sessions are there? Control to supervisor to every worker."""

    number: int
    """Of the question."""
    slots: tuple[int, ...] | None
    """Of these servers; None: of all."""


class SessionList(_Message, frozen=True, tag=True):
    """A part of one relay thread's answer: worker to supervisor to control."""

    number: int
    row: int
    """Of the relay thread in the shared counters."""
    part: int
    """Counted from 0: one that is missing was lost on its way."""
    sessions: tuple[SessionSeen, ...]
    last: bool
    """No more of this relay thread's follow."""


Message = (
    Ready
    | SnapshotChanged
    | Sighting
    | Release
    | Reload
    | Reloading
    | Configured
    | Stop
    | Drained
    | Quit
    | Bind
    | Bound
    | Listen
    | Unlisten
    | HandOver
    | Receive
    | Handed
    | Taken
    | Upgrade
    | Upgraded
    | Retire
    | Inherit
    | Legacy
    | Descriptors
    | TakeOver
    | Serve
    | Failed
    | Reopen
    | AskSessions
    | SessionList
)
FOR_WORKERS = (Release, AskSessions)
"""What control says to all workers."""
FOR_CONTROL = (Sighting, SessionList)
"""What workers say to control."""


class MessageFault(Exception):
    """What has come is no message, or one of another kubelb. The text says in which way."""


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """Raises :class:`MessageFault` for anything that is not a message."""
    try:
        return _decoder.decode(data)
    except UNDECODABLE:
        raise MessageFault(_fault(data)) from None


def _fault(data: bytes) -> str:
    try:
        value = msgspec.msgpack.decode(data)
    except UNDECODABLE:
        return "not MessagePack"
    tag = value.get("type") if isinstance(value, dict) else None
    kind = next((kind for kind in typing.get_args(Message) if kind.__struct_config__.tag == tag), None)
    if kind is None:
        return f"no message {shown(tag)} is known"
    return f"{tag}: {misfit(value, kind) or 'not as it is known'}"
