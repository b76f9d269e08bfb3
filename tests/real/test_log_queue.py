"""The queue of log lines and its writer: every line is written or counted, in order, and who speaks never waits."""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb import log
from kubelb.logqueue import LONGEST, LogQueue
from kubelb.logwriter import LogWriter
from kubelb.outlets import Outlets, Target
from tests.support.eventually import eventually
from tests.support.log import DEADLINE

pytestmark = pytest.mark.usefixtures("no_leaks")


class Rig:
    """A queue, and a log in a small pipe that is read when the test says so."""

    def __init__(self, fifo: Path) -> None:
        os.mkfifo(fifo)
        self.reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self.reading, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.reading, True)
        self.queue = LogQueue()
        self.outlets = Outlets([Target(file=str(fifo))], lambda _: None, json.dumps)
        self.is_open = True
        self.writer = LogWriter(self.queue, self.outlets, "writer")
        self.thread = threading.Thread(target=self.writer.run)

    def say(self, number: int, speaker: int = 0) -> None:
        event = {"event": "said", "level": "info", "process": "p", "timestamp": "t"}
        self.queue.put(b"1 " + json.dumps({**event, "number": number, "speaker": speaker}).encode())

    def read(self, count: int) -> list[dict[str, Any]]:
        """The next events, or all that are written until the log is closed."""
        said = b""
        while said.count(b"\n") < count and (piece := os.read(self.reading, 1 << 16)):
            said += piece
        return [json.loads(line) for line in said.splitlines()]

    def read_to_the_end(self) -> list[dict[str, Any]]:
        """The writer ends when there is nothing more."""

        def end() -> None:
            self.writer.stop_when_empty()
            self.thread.join(DEADLINE)
            self.close_log()

        ending = threading.Thread(target=end)
        ending.start()
        events = self.read(1 << 20)
        ending.join()
        return events

    def stop(self) -> None:
        self.writer.stop()
        if self.thread.ident is not None:
            self.thread.join(DEADLINE)
            assert not self.thread.is_alive()
        self.writer.close()

    def close_log(self) -> None:
        if self.is_open:
            self.is_open = False
            self.outlets.close()

    def next_writer(self) -> None:
        self.writer = LogWriter(self.queue, self.outlets, "next")
        self.thread = threading.Thread(target=self.writer.run)
        self.thread.start()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "log")
    yield rig
    rig.stop()
    rig.queue.close()
    os.close(rig.reading)
    rig.close_log()


def _numbers(events: list[dict[str, Any]], speaker: int = 0) -> list[int]:
    return [event["number"] for event in events if event["event"] == "said" and event["speaker"] == speaker]


def test_what_is_not_written_is_counted_and_told_once(rig: Rig) -> None:
    """Many speak at once, and for a while nobody reads."""
    rig.thread.start()

    def speak(speaker: int) -> None:
        for number in range(2000):
            rig.say(number, speaker)

    speakers = [threading.Thread(target=speak, args=(number,)) for number in range(4)]
    for speaker in speakers:
        speaker.start()
    for speaker in speakers:
        speaker.join(DEADLINE)
    assert not any(speaker.is_alive() for speaker in speakers), "somebody waits for the reader"
    *said, lost = rig.read_to_the_end()
    assert (lost["event"], lost["process"], lost["level"]) == ("log_lost", "writer", "error")
    assert len(said) > 50
    assert len(said) + lost["events"] == 8000
    for number in range(4):
        numbers = _numbers(said, number)
        assert numbers == sorted(set(numbers))


def test_it_is_told_although_nobody_says_anything_more(rig: Rig) -> None:
    for number in range(4000):
        rig.say(number)
    rig.thread.start()
    events = rig.read(1)
    while events[-1]["event"] != "log_lost":
        events += rig.read(1)
    assert len(events) - 1 + events[-1]["events"] == 4000


def test_what_one_writer_has_not_written_is_the_next_ones(rig: Rig) -> None:
    """Also the line that it waits with."""
    rig.thread.start()
    for number in range(200):
        rig.say(number)
    assert select.select([rig.reading], [], [], DEADLINE)[0]
    rig.stop()
    assert rig.queue.peek()
    rig.next_writer()
    assert _numbers(rig.read_to_the_end()) == list(range(200))


def test_who_may_wait_leaves_room_to_the_others(rig: Rig) -> None:
    def speak() -> None:
        for number in range(3000):
            rig.queue.wait_for_room()
            rig.say(number, 1)

    patient = threading.Thread(target=speak)
    patient.start()
    eventually(lambda: not select.select([], [rig.queue._writing], [], 0)[1], "it waits")
    for number in range(20):
        rig.say(number)
    rig.thread.start()
    events = rig.read(1000)
    ending = threading.Thread(target=patient.join)
    ending.start()
    events += rig.read(3020 - len(events))
    ending.join()
    assert _numbers(events, 0) == list(range(20))
    assert _numbers(events, 1) == list(range(3000))


GARBAGE = [b"", b"1", b"1 ", b"x {}", b"1 {", b"1 []", b"1 " + b"[" * 50_000, b"-1 {}", b"\xff\xff", b"2 {}"]


def test_what_is_no_line_is_passed_over(rig: Rig) -> None:
    """A child that was taken over may put there what it likes. Of these some are written as they are."""
    for rubbish in GARBAGE:
        rig.queue.put(rubbish)
    rig.say(1)
    rig.thread.start()
    said = b""
    while b'"said"' not in said:
        said += os.read(rig.reading, 1 << 16)
    assert json.loads(said.splitlines()[-1])["number"] == 1
    eventually(lambda: rig.queue.peek() is None, "all are taken out")


def test_an_end_that_was_shut_by_somebody_is_no_end_of_the_writer(rig: Rig) -> None:
    rig.thread.start()
    rig.queue._writing.shutdown(socket.SHUT_RDWR)
    rig.say(1)
    (lost,) = rig.read(1)
    assert (lost["event"], lost["events"]) == ("log_lost", 1)
    assert rig.thread.is_alive()


def test_the_writer_ends_when_nobody_is_left(rig: Rig) -> None:
    rig.say(1)
    rig.thread.start()
    rig.queue.close_writing()
    assert _numbers(rig.read(1)) == [1]
    rig.thread.join(DEADLINE)
    assert not rig.thread.is_alive()


texts = st.text(st.characters(codec="utf-8")) | st.integers(0, 300_000).map(lambda size: "ü\n" * (size // 2))


@given(st.dictionaries(st.sampled_from("abcd"), texts | st.lists(texts) | st.integers() | st.none()))
def test_an_event_that_is_too_long_is_cut(fields: dict[str, Any]) -> None:
    event = {**fields, "event": "long", "level": "info"}
    line, wanted = log.decode(data := log.encode(event, 5))
    assert (wanted, line.event["event"], set(line.event)) == (5, "long", set(event))
    assert len(data) <= LONGEST
    whole = log.encode(event, 5, 1 << 30)
    if len(whole) <= LONGEST:
        assert data == whole


def test_of_a_traceback_the_end_stays() -> None:
    line, _ = log.decode(log.encode({"event": "internal_error", "exception": "a" * 100_000 + "ValueError"}, 1))
    assert line.event["exception"].startswith("aaa")
    assert line.event["exception"].endswith("ValueError")
