"""Looks at real servers, on a real loop."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from kubelb.config.model.pools import Health, ProbeKind
from kubelb.config.values import Duration
from kubelb.control.loop import Loop
from kubelb.control.watch import Told, Watch
from kubelb.health.machine import Evidence, Kind, Rules, after
from kubelb.health.probes import Prober
from kubelb.snapshot import Condition, Probe, SocketAddress
from tests.support.identity import refusing

pytestmark = pytest.mark.usefixtures("no_leaks")

NEVER = 3600.0
"""Seconds; what is planned for then does not happen in a test."""
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Observer:
    """Watches one server and collects the evidence."""

    def __init__(self, address: SocketAddress, kind: ProbeKind, interval: float, timeout: float, fall: int) -> None:
        self.loop = Loop()
        self.evidence: list[Evidence] = []
        self.probes: list[Probe] = []
        self.condition = Condition()
        self.wanted: Callable[[], bool] = lambda: False
        health = Health(probe=kind, interval=Duration(interval), timeout=Duration(timeout), fall=fall)
        self._rules = Rules(1, fall)
        self.watch = Watch(self.loop, Prober(address, address[0], health), health, self._told)

    def _told(self, evidence: Evidence | None, probe: Probe) -> Condition:
        assert evidence is not None
        self.evidence.append(evidence)
        self.probes.append(probe)
        self.condition = after(self.condition, evidence, self._rules)
        if self.wanted():
            self.loop.stop()
        return self.condition

    def run_until(self, wanted: Callable[[], bool], deadline: float = 30.0) -> None:
        self.wanted = wanted
        give_up = self.loop.at(time.monotonic() + deadline, self.loop.stop)
        self.loop.run()
        give_up.cancel()
        self.loop._stopped = False
        assert wanted(), self.evidence

    def kinds(self) -> list[Kind]:
        return [piece.kind for piece in self.evidence]


@contextmanager
def observing(
    address: SocketAddress, kind: ProbeKind = "tcp", interval: float = NEVER, timeout: float = 10.0, fall: int = 2
) -> Iterator[Observer]:
    observer = Observer(address, kind, interval, timeout, fall)
    try:
        observer.watch.start()
        yield observer
    finally:
        observer.watch.stop()
        observer.loop.close()


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[SocketAddress]:
    """``serve`` each client on a thread of its own; it returns when the client has gone."""
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threads.append(threading.Thread(target=serve_and_close, args=(client,)))
                threads[-1].start()

    def serve_and_close(client: socket.socket) -> None:
        with client, suppress(OSError):
            serve(client)

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()
        for thread in threads:
            thread.join()


@contextmanager
def black_hole() -> Iterator[SocketAddress]:
    """Nobody answers: the queue of a listening socket that nobody accepts from is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()


def answer_each(client: socket.socket) -> None:
    while client.recv(65536):
        client.sendall(REPLY)


def test_looks_again_and_again() -> None:
    with serving(answer_each) as address, observing(address, "http", interval=0.01) as observer:
        observer.run_until(lambda: len(observer.evidence) == 5)
        assert observer.kinds() == [Kind.PASSED] * 5
        assert all(probe.fault == "" and 0 <= probe.seconds < math.inf for probe in observer.probes)
        assert sorted(observer.evidence, key=lambda piece: piece.at) == observer.evidence


def test_a_failure_is_looked_into_at_once() -> None:
    """The interval would never end; fall says how many looks it takes."""
    with refusing(["127.0.0.1"]) as (address,), observing(address, fall=3) as observer:
        observer.run_until(lambda: len(observer.evidence) == 3)
        assert observer.kinds() == [Kind.REFUSED] * 3
        assert observer.probes[-1].fault == "connection refused"


def test_a_server_that_does_not_answer_fails_by_the_clock() -> None:
    """Again the interval never ends: the second look is begun beside the first."""
    with black_hole() as address, observing(address, timeout=0.2) as observer:
        observer.run_until(lambda: len(observer.evidence) == 2)
        assert observer.kinds() == [Kind.UNANSWERED] * 2
        assert observer.evidence[0].reason == "no answer within 0.2 s"
        first, second = (probe.ended_at - probe.seconds for probe in observer.probes)
        assert first < second < observer.probes[0].ended_at


def test_news_makes_it_look_at_once() -> None:
    with serving(answer_each) as address, observing(address, "http") as observer:
        for count in (1, 2, 3):
            observer.run_until(lambda count=count: len(observer.evidence) >= count)  # type: ignore[misc]
            for _ in range(100):
                observer.watch.hurry()
        assert observer.kinds() == [Kind.PASSED] * 3


def test_a_kept_connection_that_was_closed_is_no_failure() -> None:
    def answer_once(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(REPLY)

    with serving(answer_once) as address, observing(address, "http", interval=0.01) as observer:
        observer.run_until(lambda: len(observer.evidence) == 5)
        assert observer.kinds() == [Kind.PASSED] * 5


def test_a_kept_connection_that_is_silent_gets_company() -> None:
    def answer_the_first(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(REPLY)
        while client.recv(65536):
            pass

    with serving(answer_the_first) as address, observing(address, "http", interval=0.01, timeout=1.0) as observer:
        observer.run_until(lambda: len(observer.evidence) == 3)
        assert observer.kinds() == [Kind.PASSED] * 3


def test_one_that_hears_and_never_answers_fails() -> None:
    def listen_only(client: socket.socket) -> None:
        while client.recv(65536):
            pass

    with serving(listen_only) as address, observing(address, "http", timeout=0.2) as observer:
        observer.run_until(lambda: len(observer.evidence) == 2)
        assert observer.kinds() == [Kind.SILENT] * 2


def test_many_servers_one_of_them_silent() -> None:
    """Nobody waits for it."""
    loop, told, probers = Loop(), [0, 0, 0], []
    with black_hole() as silent, serving(answer_each) as one, serving(answer_each) as other:
        health = Health(probe="http", interval=Duration(0.01), timeout=Duration(NEVER))

        def teller(number: int) -> Told:
            def tell(evidence: Evidence | None, probe: Probe) -> Condition:
                told[number] += 1
                if min(told[1:]) >= 5:
                    loop.stop()
                return Condition(state="up")

            return tell

        for number, address in enumerate((silent, one, other)):
            probers.append(Watch(loop, Prober(address, address[0], health), health, teller(number)))
            probers[-1].start()
        loop.run()
        for watch in probers:
            watch.stop()
        loop.close()
    assert told[0] == 0
