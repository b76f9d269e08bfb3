"""Looks at real servers, on a real loop."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import groupby, pairwise
from typing import Any

import pytest

from kubelb.config.model.pools import Health, ProbeKind
from kubelb.config.values import Duration
from kubelb.control.loop import Loop
from kubelb.control.watch import Told, Watch
from kubelb.health.machine import Evidence, Kind, Rules, after
from kubelb.health.probes import Prober
from kubelb.snapshot import Condition, Probe, SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import refusing

pytestmark = pytest.mark.usefixtures("no_leaks")

NEVER = 3600.0
"""Seconds; what is planned for then does not happen in a test."""
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Observer:
    """Watches one server and collects the evidence."""

    def __init__(
        self, address: SocketAddress, kind: ProbeKind, settings: Mapping[str, float], dormant: bool, loop: Loop
    ) -> None:
        self.loop = loop
        self.evidence: list[Evidence] = []
        self.probes: list[Probe | None] = []
        """To each piece of evidence; None: that was a stage of one."""
        self.condition = Condition()
        self.wanted: Callable[[], bool] = lambda: False
        durations = {"interval": NEVER, "timeout": NEVER, "hang_timeout": NEVER, **settings}
        given: dict[str, Any] = {name: Duration(seconds) for name, seconds in durations.items()}
        health = Health(probe=kind, **given)
        self._rules = Rules(1, health.fall)
        self.watch = Watch(loop, Prober(address, address[0], health), health, self._told, dormant=dormant)

    def _told(self, evidence: Evidence | None, probe: Probe | None) -> Condition:
        assert evidence is not None
        self.evidence.append(evidence)
        self.probes.append(probe)
        self.condition = after(self.condition, evidence, self._rules)
        if self.wanted():
            self.loop.stop()
        return self.condition

    def run_until(self, wanted: Callable[[], bool], deadline: float = 30.0) -> None:
        if wanted():
            return
        self.wanted = wanted
        give_up = self.loop.at(time.monotonic() + deadline, self.loop.stop)
        self.loop.run()
        give_up.cancel()
        self.wanted = lambda: False
        self.loop._stopped = False
        assert wanted(), self.evidence

    def kinds(self) -> list[Kind]:
        return [piece.kind for piece in self.evidence]

    def first(self, kind: Kind) -> tuple[Evidence, Probe | None]:
        return next(told for told in zip(self.evidence, self.probes, strict=True) if told[0].kind is kind)


@contextmanager
def observing(
    address: SocketAddress,
    kind: ProbeKind = "tcp",
    *,
    dormant: bool = False,
    on: Loop | None = None,
    **settings: float,
) -> Iterator[Observer]:
    """``on`` another's loop, or one of its own. ``settings`` are seconds."""
    observer = Observer(address, kind, settings, dormant, on or Loop())
    try:
        observer.watch.start()
        yield observer
    finally:
        observer.watch.stop()
        if on is None:
            observer.loop.close()


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[SocketAddress]:
    with socket.create_server(("127.0.0.1", 0)) as listener, accepting(listener, serve):
        yield listener.getsockname()


@contextmanager
def accepting(listener: socket.socket, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """``serve`` each client on a thread of its own; it returns when the client has gone. In the end all have."""
    threads: list[threading.Thread] = []
    clients: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                clients.append(client)
                threads.append(threading.Thread(target=serve_and_close, args=(client,)))
                threads[-1].start()

    def serve_and_close(client: socket.socket) -> None:
        with client, suppress(OSError):
            serve(client)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for client in clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for one in threads:
            one.join()


@contextmanager
def black_hole() -> Iterator[SocketAddress]:
    """Nobody answers: the queue of a listening socket that nobody accepts from is full."""
    with full_queue() as (_, address):
        yield address


@contextmanager
def full_queue() -> Iterator[tuple[socket.socket, SocketAddress]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with filled(listener):
            yield listener, listener.getsockname()


@contextmanager
def filled(listener: socket.socket) -> Iterator[None]:
    """Further clients are not accepted while nobody takes these."""
    with ExitStack() as stack:
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield


def answer_each(client: socket.socket) -> None:
    while client.recv(65536):
        client.sendall(REPLY)


def test_looks_again_and_again() -> None:
    with serving(answer_each) as address, observing(address, "http", interval=0.01) as observer:
        observer.run_until(lambda: len(observer.evidence) == 5)
        assert observer.kinds() == [Kind.PASSED] * 5
        assert all(probe and probe.fault == "" and 0 <= probe.seconds < math.inf for probe in observer.probes)
        assert sorted(observer.evidence, key=lambda piece: piece.at) == observer.evidence


def test_a_failure_is_looked_into_at_once() -> None:
    """The interval would never end."""
    with refusing(["127.0.0.1"]) as (address,), observing(address) as observer:
        observer.run_until(lambda: len(observer.evidence) == 3)
        assert observer.kinds() == [Kind.REFUSED] * 3
        probe = observer.probes[-1]
        assert probe is not None
        assert probe.fault == "connection refused"


def test_a_connect_that_is_not_accepted_is_told_of_at_once() -> None:
    """The time limit would never end either. A look that waits for its connection makes room for newer ones."""
    with black_hole() as address, observing(address) as observer:
        observer.run_until(lambda: len(observer.evidence) == 4)
        assert observer.kinds() == [Kind.UNANSWERED] * 4
        assert {piece.reason for piece in observer.evidence} == {"no answer to a connect within 0.4 s"}
        begun = [piece.since for piece in observer.evidence]
        assert begun == sorted(set(begun))


def test_a_connect_may_have_less_time_than_that() -> None:
    with black_hole() as address, observing(address, timeout=0.1) as observer:
        observer.run_until(lambda: len(observer.evidence) == 2)
        assert observer.kinds() == [Kind.UNANSWERED] * 2
        assert observer.evidence[0].reason == "no answer within 0.1 s"


def test_a_connect_that_is_accepted_after_all_is_told_of() -> None:
    is_told = threading.Event()

    def answer_then(client: socket.socket) -> None:
        is_told.wait(30)
        answer_each(client)

    with full_queue() as (listener, address), observing(address, "http") as observer:
        observer.run_until(lambda: observer.kinds()[:1] == [Kind.UNANSWERED])
        with accepting(listener, answer_then):
            observer.run_until(lambda: Kind.ACCEPTED in observer.kinds())
            is_told.set()
            observer.run_until(lambda: Kind.PASSED in observer.kinds())


def test_a_late_answer_is_told_with_all_the_time_it_took() -> None:
    """Of the first connection, when it has been called silent; newer ones get none."""
    clients: list[socket.socket] = []

    def listen_only(client: socket.socket) -> None:
        clients.append(client)
        while client.recv(65536):
            pass

    with serving(listen_only) as address, observing(address, "http", timeout=0.2) as observer:
        observer.run_until(lambda: Kind.SILENT in observer.kinds())
        silence, _ = observer.first(Kind.SILENT)
        assert silence.reason == "no answer within 0.2 s"
        clients[0].sendall(REPLY)
        observer.run_until(lambda: Kind.PASSED in observer.kinds())
        passed, probe = observer.first(Kind.PASSED)
        assert passed.begun == silence.begun
        assert probe is not None
        assert probe.seconds > 0.2
        assert probe.fault == ""


def test_one_that_hears_and_never_answers_is_silent_and_not_flooded() -> None:
    """Two looks wait for their time limit, and two are late: whoever is older is given up."""
    clients: list[socket.socket] = []
    gone: list[socket.socket] = []

    def listen_only(client: socket.socket) -> None:
        clients.append(client)
        while client.recv(65536):
            pass
        gone.append(client)

    with serving(listen_only) as address, observing(address, "http", timeout=0.05, interval=0.02) as observer:
        observer.run_until(lambda: observer.kinds().count(Kind.SILENT) == 8)
        assert set(observer.kinds()) == {Kind.ACCEPTED, Kind.SILENT}
        eventually(lambda: len(clients) - len(gone) <= 4, "the others are closed")
        assert len(clients) >= 8


def test_news_makes_it_look_at_once() -> None:
    with serving(answer_each) as address, observing(address, "http") as observer:
        for count in (1, 2, 3):
            observer.run_until(lambda count=count: len(observer.evidence) >= count)  # type: ignore[misc]
            for _ in range(100):
                observer.watch.hurry()
        assert observer.kinds() == [Kind.PASSED] * 3


def test_news_of_another_server_is_no_reason_for_a_new_connection() -> None:
    used: list[socket.socket] = []

    def count(client: socket.socket) -> None:
        while client.recv(65536):
            used.append(client)
            client.sendall(REPLY)

    with serving(count) as address, observing(address, "http") as observer:
        observer.run_until(lambda: len(observer.evidence) == 1)
        for anew in (False, True):
            # Else its turn might be that of the third look.
            observer.watch._on_kept = 0
            asked = len(used)
            observer.watch.hurry(anew=anew)
            observer.watch.hurry(anew=False)
            observer.run_until(lambda asked=asked: len(used) > asked and len(observer.evidence) > asked)  # type: ignore[misc]
            assert (used[-1] is not used[-2]) is anew


def test_haste_that_goes_on_slows_down() -> None:
    """No look comes sooner than that; under load it is later."""
    with serving(answer_each) as address, observing(address, "http") as observer:
        for count in range(1, 9):
            observer.run_until(lambda count=count: len(observer.evidence) >= count)  # type: ignore[misc]
            observer.watch.hurry()
        begun = [piece.since for piece in observer.evidence]
        waits = [later - sooner for sooner, later in pairwise(begun)]
        least = [0.08, 0.08, 0.08, 0.08, 0.16, 0.32, 0.64]
        assert all(wait >= bound for wait, bound in zip(waits, least, strict=True))


def test_every_third_look_is_on_a_new_connection() -> None:
    """An old one does not show whether the server takes clients."""
    used: list[socket.socket] = []

    def count(client: socket.socket) -> None:
        while client.recv(65536):
            used.append(client)
            client.sendall(REPLY)

    with serving(count) as address, observing(address, "http", interval=0.01) as observer:
        observer.run_until(lambda: len(observer.evidence) == 12)
        assert observer.kinds() == [Kind.PASSED] * 12
    runs = [len(list(run)) for _, run in groupby(used)]
    assert 1 < max(runs) <= 3


@pytest.mark.parametrize("kind", [Kind.REFUSED, Kind.UNANSWERED])
def test_one_that_serves_its_old_connections_alone_is_found_out(kind: Kind) -> None:
    """And the old connection is given up."""
    ended = threading.Event()

    def answer_and_tell() -> None:
        client, _ = listener.accept()
        with client:
            answer_each(client)
        ended.set()

    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        observer = stack.enter_context(observing(listener.getsockname(), "http", interval=0.01))
        server = threading.Thread(target=answer_and_tell)
        server.start()
        observer.run_until(lambda: Kind.PASSED in observer.kinds())
        if kind is Kind.REFUSED:
            listener.close()
        else:
            stack.enter_context(filled(listener))
        observer.run_until(lambda: kind in observer.kinds())
        assert set(observer.kinds()) <= {Kind.PASSED, kind}
        assert ended.wait(30)
        observer.run_until(lambda: observer.kinds()[-3:] == [kind] * 3)
        server.join()


def test_a_dormant_one_asks_nothing_until_there_is_news_and_until_all_is_well() -> None:
    accepted: list[socket.socket] = []

    def count(client: socket.socket) -> None:
        accepted.append(client)
        client.recv(1)

    with (
        serving(answer_each) as other,
        observing(other, "http", interval=0.01) as clock,
        socket.create_server(("127.0.0.1", 0)) as listener,
        observing(listener.getsockname(), dormant=True, on=clock.loop, interval=0.05) as observer,
    ):
        address = listener.getsockname()

        def while_time_passes() -> None:
            past = len(clock.evidence)
            clock.run_until(lambda: len(clock.evidence) >= past + 20)

        with accepting(listener, count):
            while_time_passes()
            assert (observer.evidence, accepted) == ([], [])
            observer.watch.hurry()
            observer.run_until(lambda: len(observer.evidence) == 1)
            while_time_passes()
            assert observer.kinds() == [Kind.PASSED]
        listener.close()
        observer.watch.hurry()
        observer.run_until(lambda: len(observer.evidence) >= 5)
        assert set(observer.kinds()[1:]) == {Kind.REFUSED}
        with socket.create_server(address) as again, accepting(again, count):
            observer.run_until(lambda: observer.kinds()[-1] is Kind.PASSED)
            told = len(observer.evidence)
            while_time_passes()
            assert len(observer.evidence) == told


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

    with serving(answer_the_first) as address, observing(address, "http", interval=0.01, timeout=0.8) as observer:
        observer.run_until(lambda: len(observer.evidence) == 3)
        assert observer.kinds() == [Kind.PASSED] * 3


def test_an_answer_that_takes_its_time_is_doubted_once() -> None:
    """So that newcomers go elsewhere; the server is not asked more often for it."""
    told = threading.Event()
    asked: list[int] = []

    def answer_when_told(client: socket.socket) -> None:
        while client.recv(65536):
            asked.append(1)
            told.wait(30)
            client.sendall(REPLY)

    with serving(answer_when_told) as address, observing(address, "http") as observer:
        observer.run_until(lambda: observer.condition.state == "suspect")
        assert observer.kinds() == [Kind.DOUBT]
        told.set()
        observer.run_until(lambda: Kind.PASSED in observer.kinds())
        assert observer.kinds() == [Kind.DOUBT, Kind.PASSED]
        assert observer.first(Kind.DOUBT)[1] is None
        assert observer.condition.state == "up"
        assert len(asked) == 1


def test_many_servers_one_of_them_silent() -> None:
    """Nobody waits for it."""
    loop, told, probers = Loop(), [0, 0, 0], []
    with black_hole() as silent, serving(answer_each) as one, serving(answer_each) as other:
        health = Health(probe="http", interval=Duration(0.01), timeout=Duration(NEVER))

        def teller(number: int) -> Told:
            def tell(evidence: Evidence | None, probe: Probe | None) -> Condition:
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
