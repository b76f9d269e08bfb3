"""Who may say what: of each direction in which a channel is spoken through, the messages that may come; pure.

The supervisor may be root and its children nobody, so it believes no child: what a child may say is told by the set
of its kind, decoded by that set alone, and looked at once more by :mod:`kubelb.supervisor.credence`. Whatever else
comes is a :class:`MessageFault`, however it is broken, and costs the one who has sent it its life.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from kubelb.config.misfits import UNDECODABLE, cut, misfit, shown
from kubelb.wire.messages import (
    AT_MOST,
    AskSessions,
    Configuration,
    Descriptors,
    Drained,
    Failed,
    GiveUp,
    Handed,
    HandOver,
    Inherit,
    Legacy,
    Listen,
    LogOpened,
    NoConfiguration,
    PoolsChanged,
    Quit,
    Read,
    ReadAnew,
    Ready,
    Receive,
    Refused,
    Release,
    Reload,
    Reloading,
    Reopen,
    Retire,
    Serve,
    SessionList,
    Sighting,
    SnapshotChanged,
    Stalled,
    Stop,
    Taken,
    TakeOver,
    Unlisten,
    Upgrade,
    Upgraded,
)

M = TypeVar("M")

_LARGE = 64 << 20
"""Bytes of a message that has a snapshot, or as many faults as a configuration, which has at most 1 MiB, can have."""
_POOLS = 8 << 20
"""Bytes of a message that has all pools: a few hundred servers, and names."""
_SESSION = 8 << 20
"""Bytes of a message that has a listener."""


_SHOWN = 64 << 10
"""Bytes of what is no message that are looked into for what is wrong."""


class MessageFault(Exception):
    """What came is no message, or none that may come from there. The text says in which way."""


@dataclass(frozen=True)
class MessageSet(Generic[M]):
    """The messages that one end of a channel takes."""

    decoder: msgspec.msgpack.Decoder[M]
    largest: int = 0
    """Bytes of a message that is too large to travel by itself and comes in a file; 0: there are none."""
    descriptors: int = 0
    """So many may come with a message, beside the file."""
    sealed: bool = True
    """Whether that file has to be one that nobody can change any more. An older kubelb does not see to it."""

    def decode(self, data: bytes) -> M:
        """Raises :class:`MessageFault`."""
        try:
            return self.decoder.decode(data)
        except UNDECODABLE:
            raise MessageFault(self._fault(data)) from None

    def _fault(self, data: bytes) -> str:
        # Whoever has sent it may have made it so that it takes very much more room than it has bytes.
        if len(data) > _SHOWN:
            return "not as it is known"
        try:
            value = msgspec.msgpack.decode(data)
        except (*UNDECODABLE, TypeError):
            return "not MessagePack"
        tag = value.get("type") if isinstance(value, dict) else None
        kinds = typing.get_args(self.decoder.type) or (self.decoder.type,)
        kind = next((kind for kind in kinds if kind.__struct_config__.tag == tag), None)
        if kind is None:
            return f"no message {cut(shown(tag))} may come from there"
        return f"{tag}: {misfit(value, kind) or 'not as it is known'}"


FromWorker = Ready | Sighting | Stalled | SessionList
ToWorker = SnapshotChanged | Release | AskSessions | Listen | Unlisten | HandOver | Receive | Reopen | Stop
FromControl = Ready | PoolsChanged | Release | AskSessions | Reloading | ReadAnew | GiveUp | Quit | Upgrade
ToControl = (
    Sighting
    | Stalled
    | SessionList
    | Configuration
    | NoConfiguration
    | Upgrade
    | Upgraded
    | Retire
    | LogOpened
    | Reopen
    | Reload
    | Stop
)
FromReader = Read | Refused
ToReader = Reopen | Stop
FromOpener = LogOpened
ToOpener = Reopen | Stop
FromLogWriter = Ready | Stop
ToLogWriter = Reopen | Stop
FromSuccessor = Inherit | TakeOver | Failed | Quit
FromPredecessor = Legacy | Descriptors | Serve | Drained | Stop
FromGiver = Handed
FromTaker = Taken
Message = (
    FromWorker
    | ToWorker
    | FromControl
    | ToControl
    | FromReader
    | ToReader
    | FromOpener
    | FromSuccessor
    | FromPredecessor
    | FromGiver
    | FromTaker
)
"""Any of them."""

FROM_WORKER: MessageSet[FromWorker] = MessageSet(msgspec.msgpack.Decoder(FromWorker))
"""What the supervisor hears from a worker."""
TO_WORKER: MessageSet[ToWorker] = MessageSet(msgspec.msgpack.Decoder(ToWorker), _LARGE, AT_MOST)
FROM_CONTROL: MessageSet[FromControl] = MessageSet(msgspec.msgpack.Decoder(FromControl), _POOLS)
"""What the supervisor hears from control. It speaks for the operator, whom it hears on admin.sock."""
TO_CONTROL: MessageSet[ToControl] = MessageSet(msgspec.msgpack.Decoder(ToControl), _LARGE, 1)
FROM_READER: MessageSet[FromReader] = MessageSet(msgspec.msgpack.Decoder(FromReader), _LARGE)
TO_READER: MessageSet[ToReader] = MessageSet(msgspec.msgpack.Decoder(ToReader))
"""It is told nothing: it ends by itself, or is ended."""
FROM_OPENER: MessageSet[FromOpener] = MessageSet(msgspec.msgpack.Decoder(FromOpener), descriptors=1)
TO_OPENER: MessageSet[ToOpener] = MessageSet(msgspec.msgpack.Decoder(ToOpener))
"""It is told nothing, too."""
FROM_LOG_WRITER: MessageSet[FromLogWriter] = MessageSet(msgspec.msgpack.Decoder(FromLogWriter))
"""It says nothing."""
TO_LOG_WRITER: MessageSet[ToLogWriter] = MessageSet(msgspec.msgpack.Decoder(ToLogWriter))
FROM_SUCCESSOR: MessageSet[FromSuccessor] = MessageSet(msgspec.msgpack.Decoder(FromSuccessor), _LARGE, sealed=False)
"""What a supervisor hears from the one that is to take its place."""
FROM_PREDECESSOR: MessageSet[FromPredecessor] = MessageSet(
    msgspec.msgpack.Decoder(FromPredecessor), _LARGE, AT_MOST, sealed=False
)
FROM_GIVER: MessageSet[FromGiver] = MessageSet(msgspec.msgpack.Decoder(FromGiver), _SESSION, 6, sealed=False)
"""What a relay thread hears from one that gives it sessions: with both connections, and two pipes."""
FROM_TAKER: MessageSet[FromTaker] = MessageSet(msgspec.msgpack.Decoder(FromTaker))

TO_ALL_WORKERS = (Release, AskSessions)
"""What control says to them through the supervisor."""
TO_CONTROL_FROM_WORKERS = (Sighting, Stalled, SessionList)
"""The same the other way."""

_encoder = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    return _encoder.encode(message)
