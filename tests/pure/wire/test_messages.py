from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubelb.config.model.logs import Log
from kubelb.config.model.pools import Balance
from kubelb.snapshot import Listener, Pool, Probe, Server, Snapshot, State
from kubelb.wire.messages import (
    AskSessions,
    Drained,
    Message,
    MessageFault,
    Ready,
    Release,
    Reloading,
    SessionList,
    SessionSeen,
    Sighting,
    SnapshotChanged,
    Stop,
    decode,
    encode,
)

texts = st.text(max_size=20)
seconds = st.floats(0, 1e9)
servers = st.builds(
    Server,
    slot=st.integers(1, 255),
    name=texts,
    address=st.tuples(texts, st.integers(0, 65535)),
    weight=st.integers(1, 1000),
    max_fails=st.integers(0, 1000),
    fail_timeout=seconds,
    max_conns=st.integers(0, 1 << 40),
    backup=st.booleans(),
    tier=st.integers(0, 255),
    state=st.sampled_from(get_args(State)),
    since=seconds,
    reason=texts,
    drained=st.booleans(),
    cut_at=st.none() | seconds,
    ramp_from=st.none() | seconds,
    probe=st.none() | st.builds(Probe, ended_at=seconds, seconds=seconds, fault=texts),
)
pools = st.builds(
    Pool,
    name=texts,
    balance=st.sampled_from(get_args(Balance)),
    hash_key=texts,
    servers=st.lists(servers, max_size=4).map(tuple),
    keepalive=seconds,
    user_timeout=seconds,
    slow_start=seconds,
    reset_spread=seconds,
)
listeners = st.builds(
    Listener,
    address=texts,
    pool=texts,
    connect_timeout=seconds,
    hedge_delay=seconds,
    idle_timeout=st.none() | seconds,
)
snapshots = st.builds(
    Snapshot,
    version=st.integers(0, 1 << 40),
    listeners=st.lists(listeners, max_size=3).map(tuple),
    pools=st.lists(pools, max_size=3).map(tuple),
    log=st.builds(Log, level=st.sampled_from(["debug", "info", "warning", "error"]), access=st.booleans()),
)
counts = st.integers(0, 1 << 60)
seen = st.builds(
    SessionSeen,
    slot=st.integers(1, 255),
    client=st.tuples(texts, st.integers(0, 65535)),
    listener=texts,
    opened_at=seconds,
    moved_at=seconds,
    bytes_up=counts,
    bytes_down=counts,
)
messages: st.SearchStrategy[Message] = st.one_of(
    st.just(Ready()),
    st.just(Stop()),
    st.just(Drained()),
    st.builds(Reloading, under_way=st.booleans()),
    st.builds(SnapshotChanged, snapshots),
    st.builds(Sighting, slot=st.integers(1, 255), at=seconds, fault=texts),
    st.builds(
        Release,
        slot=st.integers(1, 255),
        counts=st.lists(st.integers(0, 1 << 40), max_size=65).map(tuple),
        quiet=seconds,
    ),
    st.builds(AskSessions, number=counts, slots=st.none() | st.lists(st.integers(1, 255), max_size=4).map(tuple)),
    st.builds(
        SessionList,
        number=counts,
        row=st.integers(0, 255),
        part=st.integers(0, 255),
        sessions=st.lists(seen, max_size=4).map(tuple),
        last=st.booleans(),
    ),
)

unlike = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(deadline=None)
@given(messages)
def test_what_is_decoded_is_what_was_encoded(message: Message) -> None:
    again = decode(encode(message))
    assert again == message
    assert type(again) is type(message)


def read(data: bytes) -> Message | None:
    """The message, None where there is none; any other failing is a fault."""
    try:
        return decode(data)
    except MessageFault:
        return None


@settings(deadline=None)
@given(st.binary())
@example(b"\x81\xa4type\xa2\xff\xff")
@example(b"\x82\xa4type\xa5Ready\xa1\xff\xc0")
def test_junk_is_refused_by_one_kind_of_error(data: bytes) -> None:
    assert read(data) is None or data.startswith((b"\x81", b"\x82", b"\xde", b"\xdf"))


@settings(deadline=None)
@given(unlike)
def test_other_values_are_not_messages(value: object) -> None:
    assert read(msgspec.msgpack.encode(value)) is None


@settings(deadline=None)
@given(messages, st.data())
def test_a_message_cut_short_or_changed_is_refused_or_another_message(message: Message, data: st.DataObject) -> None:
    whole = encode(message)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert read(whole[:cut]) is None
    changed = bytearray(whole)
    changed[cut] = data.draw(st.integers(0, 255))
    read(bytes(changed))


def test_endless_nesting_is_refused() -> None:
    nested = b"\x82\xa4type\xa5Ready\xa1x" + b"\x91" * 100_000 + b"\xc0"
    with pytest.raises(MessageFault):
        decode(nested)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"type": "Nonsense"}, 'no message "Nonsense" is known'),
        ({"type": ["Ready"]}, "no message a list is known"),
        ([], "no message null is known"),
        ({"type": "Sighting", "slot": 1, "at": 0.0}, "Sighting: fault: missing"),
        ({"type": "Sighting", "slot": "1", "at": 0.0, "fault": ""}, 'Sighting: slot: not "1"'),
        (
            {"type": "SessionList", "number": 1, "row": 1, "part": 1, "sessions": [{"slot": 1}], "last": True},
            "SessionList: sessions[0].client: missing",
        ),
    ],
)
def test_what_is_no_message_is_said(value: object, fault: str) -> None:
    with pytest.raises(MessageFault) as caught:
        decode(msgspec.msgpack.encode(value))
    assert str(caught.value) == fault
