"""What is told of sessions that wait: whatever a connection goes through, as the kernel would tell of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from kubelb.relay.tcp_info import TcpInfo
from kubelb.worker.waits import OVER, SOON, Finding, Wait, after_look, is_asked

KEEPALIVE = 30.0
RTO = 200_000
START = 1000.0


@dataclass
class Connection:
    """A model of one, and what is remembered of it; times are in whole milliseconds, as the kernel tells them."""

    now: float = START
    asked: float | None = None
    heard: float = START
    packet: float = START
    data: float = START
    unacked: int = 0
    first_unacked: float = START
    retransmits: int = 0
    total: int = 0
    sent: float = START
    sent_again: list[float] = field(default_factory=list)
    """When, since the server's last packet."""
    probes: int = 0
    probed: float = START
    wait: Wait | None = None
    told: list[tuple[float, Finding]] = field(default_factory=list)

    def passes(self, milliseconds: int) -> None:
        self.now += milliseconds / 1000

    def ask(self, milliseconds: int) -> None:
        self.passes(milliseconds)
        self.asked = self.sent = self.now
        if not self.unacked:
            self.first_unacked = self.now
        self.unacked += 1

    def acknowledge(self, milliseconds: int) -> None:
        self.passes(milliseconds)
        self.unacked = 0
        self._packet()

    def acknowledge_some(self, milliseconds: int) -> None:
        self.passes(milliseconds)
        if self.unacked > 1:
            self.unacked -= 1
            self._packet()

    def answer(self, milliseconds: int) -> None:
        self.acknowledge(milliseconds)
        self.heard = self.data = self.now

    def send_again(self, milliseconds: int) -> None:
        """The first time is a tail loss probe's (RFC 8985), which the kernel does not count as a timeout."""
        self.passes(milliseconds)
        if self.unacked:
            self.retransmits = len(self.sent_again)
            self.total += 1
            self.sent_again.append(self.now)
            self.sent = self.now

    def probe(self, milliseconds: int) -> None:
        self.passes(milliseconds)
        if not self.unacked:
            self.probed = self.probed if self.probes else self.now
            self.probes += 1

    def _packet(self) -> None:
        self.packet = self.now
        self.retransmits = self.probes = 0
        self.sent_again = []

    def info(self) -> TcpInfo:
        sent, data, packet = (round((self.now - at) * 1000) for at in (self.sent, self.data, self.packet))
        retrans = min(1, self.retransmits)
        return TcpInfo(self.retransmits, self.probes, RTO, self.unacked, retrans, sent, data, packet, self.total)

    def look(self, milliseconds: int) -> Finding | None:
        """As :class:`kubelb.worker.stalls.Stalls` does it."""
        self.passes(milliseconds)
        asked = self.asked if self.asked is not None and is_asked(self.asked, self.heard, self.now) else None
        wait, self.wait = self.wait, None
        if wait is None or self.heard > wait.since:
            if asked is None and not self.probes:
                return None
            wait = Wait(self.now if asked is None else asked)
        self.wait = wait
        if self.now - wait.since < SOON:
            return None
        self.wait, finding = after_look(wait, asked, self.info(), KEEPALIVE, self.now)
        if finding is not None:
            self.told.append((self.now, finding))
        return finding


DEEDS = ("ask", "acknowledge", "acknowledge_some", "answer", "send_again", "probe", "look", "look", "look")
pauses = st.sampled_from([0, 1, 5, 40, 100, 250, 500, 1000, 2000, 12_000]) | st.integers(0, 3000)
histories = st.lists(st.tuples(st.sampled_from(DEEDS), pauses), max_size=40)


def lived(history: list[tuple[str, int]]) -> Connection:
    connection = Connection()
    for deed, pause in history:
        getattr(connection, deed)(pause)
    return connection


@given(histories)
@example([("ask", 1), ("acknowledge", 1), ("look", 600), ("ask", 300), ("send_again", 210), ("look", 10)])
@example([("ask", 1), ("send_again", 210), ("acknowledge", 1), ("ask", 1), ("look", 150)])
@example([("ask", 1), ("look", 0), ("acknowledge", 1), ("ask", 100), ("send_again", 210)])
def test_nobody_is_unacknowledged_who_was_heard_since(history: list[tuple[str, int]]) -> None:
    """Neither bytes nor any packet is newer than the wait, and TCP has tried again since then, so often."""
    connection = lived(history)
    finding = connection.look(0)
    if finding is None or finding.acknowledged:
        return
    assert max(connection.packet, connection.heard) <= finding.since + 0.001 <= connection.now
    assert finding.retransmissions > 0
    if connection.unacked:
        assert connection.retransmits <= finding.retransmissions <= len(connection.sent_again)
        assert connection.first_unacked <= finding.since + 0.001
    else:
        assert finding.retransmissions == connection.probes


@given(histories)
def test_what_is_told_to_be_acknowledged_is_so_and_was_asked_a_while_ago_but_not_for_ever(
    history: list[tuple[str, int]],
) -> None:
    connection = lived(history)
    finding = connection.look(0)
    if finding is not None and finding.acknowledged:
        assert not connection.unacked
        assert finding.since == connection.asked
        assert connection.heard <= finding.since
        assert 0.5 <= connection.now - finding.since <= OVER
        assert finding.retransmissions == 0


@given(histories)
def test_who_was_answered_is_not_remembered(history: list[tuple[str, int]]) -> None:
    connection = lived(history)
    connection.answer(1)
    connection.acknowledge(0)
    assert connection.look(500) is None
    assert connection.wait is None


@given(histories, st.integers(100, 250))
def test_a_machine_that_is_gone_is_known_by_the_first_look_after_tcp_has_tried_again(
    history: list[tuple[str, int]], every: int
) -> None:
    """From whatever state, also one in which the session has waited for an answer for long."""
    connection = lived(history)
    connection.acknowledge(1)
    connection.look(every)
    connection.ask(50)
    gone = connection.now
    counts = []
    for again in (210, 220, 430, 860):
        looks, rest = divmod(again, every)
        for _ in range(looks):
            connection.look(every)
        connection.send_again(rest)
        finding = connection.look(every)
        assert finding is not None
        assert not finding.acknowledged
        assert gone - 0.001 <= finding.since <= gone + 0.001
        counts.append(finding.retransmissions)
    assert counts == [1, 2, 3, 4]


@given(histories)
def test_a_session_that_is_answered_in_time_is_never_told_of(history: list[tuple[str, int]]) -> None:
    connection = lived(history)
    connection.answer(1)
    connection.told = []
    for _ in range(10):
        connection.look(80)
        connection.ask(5)
        connection.look(60)
        connection.acknowledge(30)
        connection.look(90)
        connection.answer(100)
    assert not connection.told


@given(histories)
def test_a_wait_that_proves_nothing_is_forgotten(history: list[tuple[str, int]]) -> None:
    """Nothing is asked anew: the last word of many a connection is the client's."""
    connection = lived(history)
    connection.acknowledge(1)
    connection.look(11_000)
    assert connection.wait is None


def test_an_answer_is_missed_after_half_a_second_and_for_ten() -> None:
    connection = Connection()
    connection.ask(0)
    connection.acknowledge(1)
    asked = Finding(START, True, 0)
    assert [connection.look(pause) for pause in (498, 1, 9400, 100, 1)] == [None, asked, asked, asked, None]
    assert connection.wait is None


def test_a_wait_is_as_old_as_the_first_question_that_is_not_acknowledged() -> None:
    """However many come after it."""
    connection = Connection()
    connection.ask(0)
    connection.acknowledge(1)
    assert connection.look(200) is None
    connection.ask(100)
    first = connection.now
    for _ in range(4):
        assert connection.look(40) is None
        connection.ask(10)
    connection.send_again(10)
    assert connection.look(0) == Finding(first, False, 1)


def test_a_question_that_was_acknowledged_between_two_looks_is_not_what_is_waited_for() -> None:
    connection = Connection()
    connection.ask(5)
    assert connection.look(0) is None
    connection.acknowledge(30)
    connection.ask(200)
    second = connection.now
    assert connection.look(50) is None
    connection.send_again(150)
    assert connection.look(0) == Finding(second, False, 1)


def test_what_was_sent_again_before_a_packet_does_not_count() -> None:
    """Some of it was acknowledged, and the rest is not yet to be missed."""
    connection = Connection()
    for _ in range(3):
        connection.ask(0)
    assert connection.look(110) is None
    connection.send_again(100)
    connection.send_again(210)
    assert connection.look(10) == Finding(START, False, 2)
    connection.acknowledge_some(30)
    progress = connection.now
    connection.send_again(10)
    connection.send_again(10)
    assert connection.look(70) is None
    assert connection.look(10) == Finding(progress, False, 1)
    connection.send_again(200)
    assert connection.look(0) == Finding(progress, False, 2)


def test_what_tcp_has_tried_first_is_seen_by_the_first_look() -> None:
    """A tail loss probe: only the time when something was last sent tells of it."""
    connection = Connection()
    connection.ask(0)
    connection.send_again(205)
    assert connection.look(45) == Finding(START, False, 1)
    connection.send_again(180)
    assert connection.look(10) == Finding(START, False, 2)


def test_what_was_sent_again_before_the_first_look_counts() -> None:
    connection = Connection()
    connection.ask(0)
    connection.send_again(210)
    connection.send_again(220)
    connection.send_again(430)
    assert connection.look(40) == Finding(START, False, 2)
    connection.send_again(860)
    assert connection.look(40) == Finding(START, False, 3)


def test_the_kernel_does_not_know_the_time_of_a_packet_exactly() -> None:
    """To a tick, which may be 10 ms: an estimate that is newer by that is no newer packet."""
    wait, finding = after_look(Wait(5.0), 5.0, info(unacked=1, retrans=1, total=7, age=1000), KEEPALIVE, 5.2)
    assert finding == Finding(5.0, False, 1)
    assert wait is not None
    wait, finding = after_look(wait, 5.0, info(unacked=1, retrans=1, total=9, age=1210), KEEPALIVE, 5.43)
    assert finding == Finding(5.0, False, 3)


def info(unacked: int, retrans: int, total: int, age: int) -> TcpInfo:
    return TcpInfo(0, 0, RTO, unacked, retrans, 0, age, age, total)


def test_a_question_of_keepalive_that_may_still_be_answered_is_not_told() -> None:
    connection = Connection()
    connection.probe(30_000)
    assert connection.look(1) is None
    assert connection.look(150) is None
    assert connection.look(199) is None
    connection.acknowledge(0)
    assert connection.look(250) is None
    assert connection.wait is None


def test_a_question_of_keepalive_after_an_answer_is_a_new_one() -> None:
    connection = Connection()
    connection.probe(30_000)
    connection.look(1)
    connection.look(200)
    connection.acknowledge(20)
    connection.probe(30_000)
    assert connection.look(10) is None


def test_a_question_of_keepalive_without_an_answer_is_told() -> None:
    connection = Connection()
    connection.probe(33_000)
    assert connection.look(1) is None
    connection.look(150)
    first = connection.look(250)
    assert first == Finding(START + KEEPALIVE, False, 1)
    connection.probe(10_000)
    assert connection.look(50) == Finding(START + KEEPALIVE, False, 2)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_who_has_heard_something_since_it_asked_does_not_wait(asked: float, heard: float, later: float) -> None:
    assert is_asked(asked, heard, asked + later) == (heard <= asked and (asked + later) - asked <= OVER)
