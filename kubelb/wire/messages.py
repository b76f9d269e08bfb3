"""The messages between the supervisor and its children; pure.

Each is one SEQPACKET datagram of MessagePack, its type told by a tag.
"""

from __future__ import annotations

import msgspec

from kubelb.snapshot import Snapshot


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
    """Control to supervisor, for the next control process: what is configured since a reload."""

    toml: str


class Stop(_Message, frozen=True, tag=True):
    """Supervisor to child: accept no more, and end once the last session has ended."""


class Drained(_Message, frozen=True, tag=True):
    """Worker to supervisor: stopped, and no session is left."""


Message = Ready | SnapshotChanged | Sighting | Release | Reload | Reloading | Configured | Stop | Drained

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode(data: bytes) -> Message:
    """Raises :class:`msgspec.DecodeError` for anything that is not a message."""
    try:
        return _decoder.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
