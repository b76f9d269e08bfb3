from __future__ import annotations

import math
from typing import Any, cast, get_args

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubelb.config.model.listeners import Binding
from kubelb.config.model.logs import Log
from kubelb.config.model.pools import Balance
from kubelb.snapshot import Listener, Pool, Probe, Server, Snapshot, State
from kubelb.stats import ROWS, SLOTS
from kubelb.wire import message_sets
from kubelb.wire.message_sets import (
    FROM_CONTROL,
    FROM_WORKER,
    TO_CONTROL,
    TO_WORKER,
    Message,
    MessageFault,
    MessageSet,
    encode,
)
from kubelb.wire.messages import (
    SESSIONS_AT_MOST,
    AskSessions,
    Listen,
    PoolsChanged,
    Quit,
    Read,
    Ready,
    Release,
    Reopen,
    Retire,
    SessionList,
    SessionSeen,
    Sighting,
    SnapshotChanged,
    Stalled,
    Stop,
    Unlisten,
    Upgrade,
    Upgraded,
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
sightings = st.builds(Sighting, slot=st.integers(1, 255), at=seconds, fault=texts)
stalls = st.builds(
    Stalled,
    slot=st.integers(1, 255),
    at=seconds,
    since=seconds,
    acknowledged=st.booleans(),
    retransmissions=st.integers(0, 255),
)
releases = st.builds(
    Release,
    slot=st.integers(1, 255),
    counts=st.lists(st.integers(0, 1 << 40), max_size=65).map(tuple),
    quiet=seconds,
)
questions = st.builds(
    AskSessions, number=counts, slots=st.none() | st.lists(st.integers(1, 255), max_size=4).map(tuple)
)
lists = st.builds(
    SessionList,
    number=counts,
    row=st.integers(0, ROWS - 1),
    part=st.integers(0, 255),
    sessions=st.lists(seen, max_size=4).map(tuple),
    last=st.booleans(),
)
pictures = st.builds(SnapshotChanged, snapshots)
changed = st.builds(PoolsChanged, generation=counts, version=counts, pools=st.lists(pools, max_size=3).map(tuple))
from_worker = st.just(Ready()) | sightings | stalls | lists
to_worker = pictures | releases | questions | st.just(Stop())
from_control = st.just(Ready()) | changed | releases | questions | st.builds(Quit, gracefully=st.booleans())
to_control = sightings | stalls | lists | st.just(Stop())
SETS: dict[str, MessageSet[Any]] = {
    name: found for name, found in vars(message_sets).items() if isinstance(found, MessageSet)
}
spoken: st.SearchStrategy[tuple[MessageSet[Any], Message]] = st.one_of(
    st.tuples(st.just(FROM_WORKER), from_worker),
    st.tuples(st.just(TO_WORKER), to_worker),
    st.tuples(st.just(FROM_CONTROL), from_control),
    st.tuples(st.just(TO_CONTROL), to_control),
)

unlike = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
every_set = pytest.mark.parametrize("takes", SETS.values(), ids=SETS)


@settings(deadline=None)
@given(spoken)
def test_what_is_decoded_is_what_was_encoded(said: tuple[MessageSet[Any], Message]) -> None:
    takes, message = said
    again = takes.decode(encode(message))
    assert again == message
    assert type(again) is type(message)


def read(takes: MessageSet[Any], data: bytes) -> Message | None:
    """The message, None where there is none; any other failing is a fault."""
    try:
        return cast(Message, takes.decode(data))
    except MessageFault:
        return None


@every_set
@settings(deadline=None)
@given(st.binary())
@example(b"\x81\xa4type\xa2\xff\xff")
@example(b"\x82\xa4type\xa5Ready\xa1\xff\xc0")
def test_junk_is_refused_by_one_kind_of_error(takes: MessageSet[Any], data: bytes) -> None:
    assert read(takes, data) is None or data.startswith((b"\x81", b"\x82", b"\xde", b"\xdf"))


@every_set
@settings(deadline=None)
@given(unlike)
def test_other_values_are_not_messages(takes: MessageSet[Any], value: object) -> None:
    assert read(takes, msgspec.msgpack.encode(value)) is None


KINDS = [kind for takes in SETS.values() for kind in get_args(takes.decoder.type) or (takes.decoder.type,)]


@st.composite
def alike(draw: st.DrawFn) -> dict[str, object]:
    """A message by its name and its fields, if not by what is in them."""
    kind = draw(st.sampled_from(KINDS))
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    return {"type": kind.__struct_config__.tag, **{name: draw(unlike) for name in names}}


@every_set
@settings(deadline=None)
@given(alike())
def test_what_has_the_wrong_fields_is_refused_by_one_kind_of_error(
    takes: MessageSet[Any], value: dict[str, object]
) -> None:
    read(takes, msgspec.msgpack.encode(value))


@every_set
@pytest.mark.parametrize(
    "data", [b"\x81\x80\x01", b"\x81\x90\x01", b"\x81\xc7\x01\x01\x01\x01", b"\xd4\xff\x00", b"\xc1"]
)
def test_what_msgpack_may_have_and_python_may_not_is_refused(takes: MessageSet[Any], data: bytes) -> None:
    assert read(takes, data) is None


@settings(deadline=None)
@given(spoken, st.data())
def test_a_message_cut_short_or_changed_is_refused_or_another_message(
    said: tuple[MessageSet[Any], Message], data: st.DataObject
) -> None:
    takes, message = said
    whole = encode(message)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert read(takes, whole[:cut]) is None
    changed = bytearray(whole)
    changed[cut] = data.draw(st.integers(0, 255))
    read(takes, bytes(changed))


@every_set
def test_endless_nesting_is_refused(takes: MessageSet[Any]) -> None:
    nested = b"\x82\xa4type\xa5Ready\xa1x" + b"\x91" * 100_000 + b"\xc0"
    assert read(takes, nested) is None


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"type": "Nonsense"}, 'no message "Nonsense" may come from there'),
        ({"type": "Quit", "gracefully": False}, 'no message "Quit" may come from there'),
        ({"type": "x" * 1000}, f'no message "{"x" * 59}... may come from there'),
        ({"type": ["Ready"]}, "no message a list may come from there"),
        ([], "no message null may come from there"),
        ({"type": "Sighting", "slot": 1, "at": 0.0}, "Sighting: fault: missing"),
        ({"type": "Sighting", "slot": "1", "at": 0.0, "fault": ""}, 'Sighting: slot: not "1"'),
        ({"type": "Sighting", "slot": 256, "at": 0.0, "fault": ""}, "Sighting: slot: not 256"),
        (
            {"type": "SessionList", "number": 1, "row": 1, "part": 1, "sessions": [{"slot": 1}], "last": True},
            "SessionList: sessions[0].client: missing",
        ),
        ({"type": "Nonsense", "more": "x" * (64 << 10)}, "not as it is known"),
    ],
)
def test_what_is_no_message_is_said(value: object, fault: str) -> None:
    with pytest.raises(MessageFault) as caught:
        FROM_WORKER.decode(msgspec.msgpack.encode(value))
    assert str(caught.value) == fault


# Who may say what.

OF_THE_SUPERVISOR = (
    Listen(("127.0.0.1:79",)),
    Unlisten(("127.0.0.1:79",)),
    SnapshotChanged(Snapshot(version=1, listeners=(), pools=())),
    Read("", Snapshot(version=1, listeners=(), pools=()), {"127.0.0.1:79": Binding()}, 1, ()),
    Reopen(),
    Retire(),
    Upgraded(1, ()),
)


@settings(deadline=None)
@given(pictures | changed | releases | questions)
def test_a_worker_says_nothing_that_control_says(message: Message) -> None:
    assert read(FROM_WORKER, encode(message)) is None


@pytest.mark.parametrize("takes", [FROM_WORKER, FROM_CONTROL], ids=["worker", "control"])
@pytest.mark.parametrize("message", OF_THE_SUPERVISOR, ids=lambda message: type(message).__name__)
def test_no_child_says_what_the_supervisor_says(takes: MessageSet[Any], message: Message) -> None:
    assert read(takes, encode(message)) is None


@pytest.mark.parametrize("message", [Quit(gracefully=False), Upgrade()], ids=["stop", "upgrade"])
def test_only_control_asks_for_what_the_operator_wants(message: Message) -> None:
    assert read(FROM_CONTROL, encode(message)) == message
    assert read(FROM_WORKER, encode(message)) is None


@pytest.mark.parametrize("slot", [-1, 0, SLOTS, 1 << 63])
def test_a_slot_is_one_that_a_server_can_have(slot: int) -> None:
    assert read(FROM_WORKER, encode(Sighting(slot, 1.0, ""))) is None
    assert read(FROM_CONTROL, encode(Release(slot, (), 1.0))) is None
    assert read(FROM_CONTROL, encode(AskSessions(1, (slot,)))) is None


@pytest.mark.parametrize("at", [-1.0, math.inf, math.nan])
def test_a_time_is_one(at: float) -> None:
    assert read(FROM_WORKER, encode(Sighting(1, at, ""))) is None
    assert read(FROM_CONTROL, encode(Release(1, (), at))) is None


def test_a_list_is_no_longer_than_it_can_be() -> None:
    session = SessionSeen(1, ("127.0.0.1", 1), "x", 1.0, 1.0, 0, 0)
    assert read(FROM_WORKER, encode(SessionList(1, 0, 0, (session,) * SESSIONS_AT_MOST, last=True)))
    assert read(FROM_WORKER, encode(SessionList(1, 0, 0, (session,) * (SESSIONS_AT_MOST + 1), last=True))) is None
    assert read(FROM_WORKER, encode(SessionList(1, ROWS, 0, (), last=True))) is None
    assert read(FROM_CONTROL, encode(Release(1, (1,) * ROWS, 1.0)))
    assert read(FROM_CONTROL, encode(Release(1, (1,) * (ROWS + 1), 1.0))) is None


def test_the_longest_list_of_sessions_travels_by_itself() -> None:
    host = "fe80:1111:2222:3333:4444:5555:6666:7777%" + "x" * 15
    session = SessionSeen(255, (host, 65535), "unix:" + "/" * 107, 1e9, 1e9, 1 << 63, 1 << 63)
    assert len(encode(SessionList(1 << 63, 197, 1 << 30, (session,) * SESSIONS_AT_MOST, last=True))) < 64 << 10
