"""No timer of control's loop outlives its owner: neither a stop nor a reload leaves one that would do something."""

from __future__ import annotations

import ast
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

import kubelb.control
from kubelb.config.model.pools import PASSIVE, Discovery, Health, Pool, Rebalance, Server
from kubelb.config.values import Address, Duration
from kubelb.control.discoverer import Discoverer
from kubelb.control.keeper import Keeper
from kubelb.control.leveller import Leveller
from kubelb.control.loop import Loop
from kubelb.snapshot import Snapshot, SocketAddress
from kubelb.stats import Count, Table
from kubelb.wire.messages import Sighting
from tests.support.deadlines import timers
from tests.support.eventually import eventually
from tests.support.holes import a_hole
from tests.support.identity import IdentityServers
from tests.support.lanes import a_snapshot, with_server
from tests.support.nameserver import a_name_server

pytestmark = pytest.mark.usefixtures("no_leaks")

ROOT = Path(kubelb.control.__file__).parent
LATER = Duration(3600)
TESTED = {"Leveller", "_Name", "Keeper", "Watch", "Look"}
AS_LONG_AS_THE_LOOP = {"Site": "there is no page without control", "_Control": "its timer ends the loop"}


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table(1)
    yield table
    table.close()


def run_until(loop: Loop, condition: Callable[[], object]) -> None:
    """Looks at the condition after whatever has been done."""
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at
        loop.at(time.monotonic() + 0.01, loop.stop)
        loop.run()
        loop._stopped = False


def run_what_is_posted(loop: Loop) -> None:
    loop.post(loop.stop)
    loop.run()
    loop._stopped = False


def test_every_owner_of_a_timer_is_known() -> None:
    owners = {
        definition.name
        for file in ROOT.glob("*.py")
        for definition in ast.walk(ast.parse(file.read_text()))
        if isinstance(definition, ast.ClassDef) and "_loop.at(" in ast.unparse(definition)
    }
    assert owners == TESTED | AS_LONG_AS_THE_LOOP.keys()


def levelled(*names: str) -> dict[str, Pool]:
    return {name: Pool(servers=(), rebalance=Rebalance(every=LATER)) for name in names}


def test_a_leveller_has_one_for_each_pool_however_often_it_is_reloaded(loop: Loop, table: Table) -> None:
    snapshot = a_snapshot([])
    leveller = Leveller(loop, lambda: snapshot, levelled("a", "b"), table, send=lambda message: None)
    leveller.start()
    assert len(timers(loop)) == 2
    for names in (("a", "b"), ("b",), ("b", "c"), ("a",)):
        leveller.reload(levelled(*names))
        assert len(timers(loop)) == len(names)
    leveller.stop()
    assert timers(loop) == []


def test_a_leveller_that_has_levelled_has_one_too(loop: Loop, table: Table) -> None:
    looks: list[int] = []

    def newest() -> Snapshot:
        looks.append(1)
        return a_snapshot([])

    settings = {"pool": Pool(servers=(), rebalance=Rebalance(every=Duration(0.01)))}
    leveller = Leveller(loop, newest, settings, table, send=lambda message: None)
    leveller.start()
    run_until(loop, lambda: len(looks) >= 3)
    assert len(timers(loop)) == 1
    leveller.stop()
    assert timers(loop) == []


NAME = "api.example.org"


def looked_up(resolver: SocketAddress) -> dict[str, Pool]:
    discovery = Discovery(source="dns", resolver=(Address(*resolver),), interval=LATER)
    return {"pool": Pool(servers=(Server(address=Address(NAME, 6443)),), discovery=discovery)}


def test_a_discoverer_has_one_for_each_name_however_often_it_is_reloaded(loop: Loop) -> None:
    with a_name_server() as names:
        names.hosts[NAME] = ["127.0.0.1"]
        settings, told = looked_up(names.address), []

        def tell(*what: Any) -> bool:
            told.append(what)
            return True

        discoverer = Discoverer(loop, settings, tell)
        discoverer.start()
        run_until(loop, lambda: len(told) == 1)
        assert len(timers(loop)) == 1
        discoverer.reload(settings)
        run_until(loop, lambda: len(told) == 2)
        assert len(timers(loop)) == 1
        discoverer.stop()
        assert timers(loop) == []


def test_a_discoverer_that_was_stopped_before_it_heard_the_answer_has_none(loop: Loop) -> None:
    with a_name_server() as names:
        names.hosts[NAME] = ["127.0.0.1"]
        discoverer = Discoverer(loop, looked_up(names.address), told=lambda *what: pytest.fail("nobody is told"))
        discoverer.start()
        eventually(lambda: "lookup" not in {thread.name for thread in threading.enumerate()}, "it has its answer")
        discoverer.stop()
        run_what_is_posted(loop)
        assert timers(loop) == []


@contextmanager
def a_keeper(
    loop: Loop, table: Table, address: SocketAddress, published: list[Snapshot], **health: Any
) -> Iterator[tuple[Keeper, dict[str, Pool]]]:
    """Of a pool whose only server is probed."""
    settings = {"pool": Pool(servers=(), health=Health(**{"probe": "tcp", "interval": LATER, **health}))}
    row = table.row(0)
    keeper = Keeper(loop, a_snapshot([address]), settings, table, row, published.append)
    try:
        keeper.start()
        yield keeper, settings
    finally:
        keeper.stop()
        row.release()


def test_a_keeper_that_was_stopped_has_none_whatever_workers_say(loop: Loop, table: Table) -> None:
    """Of an old supervisor that hands over they go on telling: no probe is made of it, and no picture."""
    published: list[Snapshot] = []
    with ExitStack() as stack:
        (address,) = stack.enter_context(IdentityServers(["127.0.0.1"])).addresses
        keeper, _ = stack.enter_context(a_keeper(loop, table, address, published))
        run_until(loop, lambda: published and published[-1].pools[0].servers[0].state == "up")
        assert len(timers(loop)) == 1
        keeper.stop()
        published.clear()
        keeper.sighted(Sighting(slot=1, at=time.monotonic(), fault="connection refused"))
        assert timers(loop) == []
        assert published == []


def test_probes_under_way_have_none_after_a_stop(loop: Loop, table: Table) -> None:
    """One look has its time limit, and those for its connection and a slow answer; the next look is planned."""
    with a_hole() as hole, a_keeper(loop, table, hole.address, [], timeout=LATER) as (keeper, _):
        keeper.sighted(Sighting(slot=1, at=time.monotonic(), fault="connection refused"))
        assert len(timers(loop)) == 4
        keeper.stop()
        assert timers(loop) == []


def test_of_two_probes_the_answer_to_one_ends_the_other(loop: Loop, table: Table) -> None:
    published: list[Snapshot] = []
    accepted: list[socket.socket] = []
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.setblocking(False)
        address = listener.getsockname()
        keeper, _ = stack.enter_context(a_keeper(loop, table, address, published, probe="http", timeout=LATER))

        def both_have_come() -> bool:
            with suppress(BlockingIOError):
                accepted.append(stack.enter_context(listener.accept()[0]))
            return len(accepted) == 2

        keeper.sighted(Sighting(slot=1, at=time.monotonic(), fault="connection refused"))
        run_until(loop, both_have_come)
        accepted[1].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        run_until(loop, lambda: published[-1].pools[0].servers[0].state == "up")
        assert len(timers(loop)) == 1


def test_who_is_not_probed_any_more_has_none(loop: Loop, table: Table) -> None:
    with a_hole() as hole, a_keeper(loop, table, hole.address, [], timeout=LATER) as (keeper, settings):
        assert timers(loop)
        unprobed = {"pool": msgspec.structs.replace(settings["pool"], health=PASSIVE)}
        keeper.reload(keeper.snapshot, unprobed)
        assert timers(loop) == []


def test_who_is_probed_otherwise_has_no_more_than_before(loop: Loop, table: Table) -> None:
    with a_hole() as hole, a_keeper(loop, table, hole.address, [], timeout=LATER) as (keeper, settings):
        before = timers(loop)
        other = msgspec.structs.replace(settings["pool"].health, fall=5)
        pools = {"pool": msgspec.structs.replace(settings["pool"], health=other)}
        keeper.reload(keeper.snapshot, pools)
        assert len(timers(loop)) == len(before)
        assert not [timer for timer in timers(loop) if timer in before]


def test_a_keeper_that_was_stopped_sweeps_nobody_out(loop: Loop, table: Table) -> None:
    """Another control may have the picture by then."""
    published: list[Snapshot] = []
    row = table.row(0)
    row.add(1, Count.ACTIVE)
    leaving = with_server(a_snapshot([("127.0.0.1", 1)]), 0, removed=True)
    settings = {"pool": Pool(servers=(), health=PASSIVE)}
    keeper = Keeper(loop, leaving, settings, table, row, published.append)
    keeper.start()
    keeper.reload(leaving, settings)
    assert len(timers(loop)) == 1
    keeper.stop()
    assert timers(loop) == []
    row.release()
