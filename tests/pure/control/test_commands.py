"""Whom a command is for, and what the operator is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.control.commands import Command, CommandFault, Drain, Undrain, apply, reply
from kubelb.control.status import Status, status
from kubelb.snapshot import Pool, Server, Snapshot, State
from kubelb.stats import Count
from tests.pure.control.test_status import Rows

STATES: tuple[State, ...] = ("unknown", "up", "suspect", "down", "draining", "disabled")


def a_snapshot(**pools: list[Server]) -> Snapshot:
    made = [
        Pool(name=name, balance="least_conn", hash_key="", servers=tuple(servers)) for name, servers in pools.items()
    ]
    return Snapshot(version=1, listeners=(), pools=tuple(made))


def a_server(slot: int, name: str, host: str | None = None, **settings: Any) -> Server:
    return Server(slot=slot, name=name, address=(host or name.rpartition(":")[0].strip("[]"), 6443), **settings)


ALL = a_snapshot(
    api=[
        a_server(1, "10.0.0.1:6443"),
        a_server(2, "two.example:6443", "10.0.0.2"),
        a_server(3, "two.example:6443", "fd00::2"),
    ],
    etcd=[a_server(4, "10.0.0.1:6443"), a_server(5, "[FD00::5]:6443", "fd00::5")],
)


@pytest.mark.parametrize(
    ("text", "pool", "slots"),
    [
        ("10.0.0.1:6443", None, {1, 4}),
        ("10.0.0.1:6443", "api", {1}),
        ("10.0.0.1:6443", "etcd", {4}),
        ("two.example:6443", None, {2, 3}),
        ("Two.Example:6443", None, {2, 3}),
        ("10.0.0.2:6443", None, {2}),
        ("[fd00::2]:6443", "api", {3}),
        ("[FD00:0::2]:6443", None, {3}),
        ("[fd00::5]:6443", None, {5}),
    ],
)
def test_a_name_means_all_its_addresses_and_an_address_itself(text: str, pool: str | None, slots: set[int]) -> None:
    assert apply(ALL, Drain(text, pool)) == apply(ALL, Undrain(text, pool)) == slots


@pytest.mark.parametrize(
    ("text", "pool", "fault"),
    [
        (
            "10.0.0.9:6443",
            None,
            'no server "10.0.0.9:6443"; there are: '
            "10.0.0.1:6443, two.example:6443, 10.0.0.2:6443, [fd00::2]:6443, [FD00::5]:6443, [fd00::5]:6443",
        ),
        (
            "10.0.0.2:6443",
            "etcd",
            'no server "10.0.0.2:6443" in pool "etcd"; there are: 10.0.0.1:6443, [FD00::5]:6443, [fd00::5]:6443',
        ),
        ("10.0.0.1:6443", "apo", 'no pool "apo"; there are: api, etcd'),
        (
            "10.0.0.1",
            "etcd",
            'no server "10.0.0.1" in pool "etcd"; there are: 10.0.0.1:6443, [FD00::5]:6443, [fd00::5]:6443',
        ),
    ],
)
def test_whom_it_could_have_been_for(text: str, pool: str | None, fault: str) -> None:
    with pytest.raises(CommandFault) as raised:
        apply(ALL, Drain(text, pool))
    assert str(raised.value) == fault
    with pytest.raises(CommandFault):
        reply(Drain(text, pool), ALL, seen(ALL))


def carried_out(snapshot: Snapshot, command: Command) -> Snapshot:
    """As control does it, as far as the reply goes."""
    slots, wanted = apply(snapshot, command), isinstance(command, Drain)

    def after(server: Server) -> Server:
        if server.slot not in slots or server.state == "disabled":
            return msgspec.structs.replace(server, drained=wanted) if server.slot in slots else server
        return msgspec.structs.replace(server, drained=wanted, state="draining" if wanted else "up")

    pools = (msgspec.structs.replace(pool, servers=tuple(map(after, pool.servers))) for pool in snapshot.pools)
    return msgspec.structs.replace(snapshot, pools=tuple(pools))


def seen(snapshot: Snapshot, rows: Rows | None = None) -> Status:
    return status(snapshot, rows or Rows(), pid=1, now=10**9, unix=1.8e9)


def test_the_reply() -> None:
    rows = Rows()
    rows.words[1, Count.ACTIVE], rows.words[4, Count.ACTIVE] = [7, 5], [0, 1]
    command = Drain("10.0.0.1:6443")
    after = carried_out(ALL, command)
    first = {"name": "10.0.0.1:6443", "address": "10.0.0.1:6443", "state": "draining"}
    assert msgspec.to_builtins(reply(command, ALL, seen(after, rows))) == {
        "servers": (
            {**first, "pool": "api", "active": 12, "changed": True},
            {**first, "pool": "etcd", "active": 1, "changed": True},
        ),
        "warnings": (),
    }
    again = reply(command, after, seen(carried_out(after, command), rows))
    assert [server.changed for server in again.servers] == [False, False]
    back = Undrain("10.0.0.1:6443", "api")
    (up,) = reply(back, after, seen(carried_out(after, back))).servers
    assert (up.state, up.changed) == ("up", True)
    (up,) = reply(back, ALL, seen(carried_out(ALL, back))).servers
    assert not up.changed


@given(
    st.lists(st.tuples(st.sampled_from(STATES), st.booleans(), st.booleans()), min_size=1, max_size=4),
    st.data(),
)
def test_a_drain_that_leaves_no_good_server_comes_with_a_warning(
    kinds: list[tuple[State, bool, bool]], data: st.DataObject
) -> None:
    rows = Rows()
    servers = []
    for slot, (state, drained, failing) in enumerate(kinds, 1):
        servers.append(a_server(slot, f"10.0.0.{slot}:6443", state=state, drained=drained))
        if failing:
            rows.words[slot, Count.FAILS], rows.words[slot, Count.FAILED_AT] = [1, 0], [10**9, 0]
    before = a_snapshot(api=servers, other=[a_server(9, "10.0.0.9:6443", state="down")])
    text = data.draw(st.sampled_from(servers)).name
    after = carried_out(before, Drain(text))
    warnings = reply(Drain(text), before, seen(after, rows)).warnings
    left = [
        (server, failing)
        for server, (_, _, failing) in zip(servers, kinds, strict=True)
        if server.name != text and not server.drained and server.state != "disabled"
    ]
    if any(server.state in ("unknown", "up") and not failing for server, failing in left):
        assert warnings == ()
    else:
        (warning,) = warnings
        assert warning.startswith("pool api has no other server")
        assert ("refused" in warning) == (not left)
        assert all(server.name in warning for server, _ in left)
    assert reply(Undrain(text), before, seen(carried_out(before, Undrain(text)), rows)).warnings == ()


def test_what_is_no_command_is_refused() -> None:
    for body in (b"{}", b'{"server": 1}', b'{"server": "a:1", "force": true}', b'["a:1"]', b"", b"\xff"):
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(body, type=Drain)
    assert msgspec.json.decode(b'{"server": "a:1"}', type=Undrain) == Undrain("a:1")
