from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from kubelb import log
from kubelb.control.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def turn(loop: Loop, *calls: Callable[[], None]) -> None:
    """Run it with these calls first, until it has nothing left to do at once."""
    for call in calls:
        loop.post(call)
    loop.post(lambda: loop.post(loop.stop))
    loop.run()


def test_calls_are_made_in_order_on_the_loops_thread(loop: Loop) -> None:
    seen: list[tuple[int, int]] = []

    def post() -> None:
        for number in range(100):
            loop.post(lambda number=number: seen.append((number, threading.get_ident())))  # type: ignore[misc]
        loop.stop()

    thread = threading.Thread(target=post)
    thread.start()
    loop.run()
    thread.join()
    assert seen == [(number, threading.get_ident()) for number in range(100)]


def test_timers_come_up_in_order_of_their_time_and_not_before(loop: Loop) -> None:
    begun, seen = time.monotonic(), []
    for name, delay in (("b", 0.02), ("a", 0.01), ("c", 0.03)):
        loop.at(begun + delay, lambda name=name, due=begun + delay: seen.append((name, time.monotonic() >= due)))  # type: ignore[misc]
    loop.at(begun + 0.015, lambda: seen.append(("never", True))).cancel()
    loop.at(begun + 0.04, loop.stop)
    loop.run()
    assert seen == [("a", True), ("b", True), ("c", True)]


def test_a_watched_descriptor_is_told_of_until_it_is_not_watched(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        heard: list[bytes] = []

        def hear() -> None:
            heard.append(ours.recv(1))
            if len(heard) == 2:
                loop.unwatch(ours.fileno())
                loop.stop()

        loop.watch(ours.fileno(), selectors.EVENT_WRITE, lambda: pytest.fail("the newer watch counts"))
        loop.watch(ours.fileno(), selectors.EVENT_READ, hear)
        theirs.send(b"abc")
        loop.run()
        assert heard == [b"a", b"b"]


def test_an_earlier_call_of_the_turn_may_unwatch(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    told: list[int] = []

    def tell(number: int) -> None:
        told.append(number)
        for ours, _ in pairs:
            loop.unwatch(ours.fileno())
        loop.stop()

    for number, (ours, theirs) in enumerate(pairs):
        theirs.send(b"x")
        loop.watch(ours.fileno(), selectors.EVENT_READ, lambda number=number: tell(number))  # type: ignore[misc]
    loop.run()
    assert len(told) == 1
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_a_fault_keeps_nothing_else_from_being_done(loop: Loop, capfd: pytest.CaptureFixture[str]) -> None:
    log.set_up("test")
    done: list[str] = []
    loop.at(0.0, lambda: 1 / 0)  # type: ignore[arg-type]
    turn(loop, lambda: 1 / 0, lambda: done.append("after"))  # type: ignore[arg-type]
    assert done == ["after"]
    assert capfd.readouterr().err.count("internal_error") == 2
