"""A reload whose answers come late, or that something else overtakes. The test is the supervisor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pytest

from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.model.config import Config
from kubelb.config.toml.writer import write_toml
from kubelb.control import reloads
from kubelb.control.loop import Loop
from kubelb.control.reloads import Reloads
from kubelb.control.upgrades import Upgrades
from kubelb.snapshot import Snapshot
from kubelb.stats import Count, Row, Table
from kubelb.wire.message_sets import FromControl
from kubelb.wire.messages import Configuration, GiveUp, NoConfiguration, ReadAnew
from tests.support.eventually import eventually
from tests.support.proxy import a_config

NOBODY: Any = None
CONFIG = a_config(("127.0.0.1", 3), [("127.0.0.1", 2)])
SNAPSHOT = Snapshot(version=1, listeners=(), pools=())


def _follow(config: Config, snapshot: Snapshot) -> None:
    """Nobody has health endpoints."""


class Rig:
    """Reloads; ``answer`` is what the supervisor does when it is asked to read, under that number."""

    def __init__(self, loop: Loop, row: Row) -> None:
        self.said: list[FromControl] = []
        self.failures = 1
        self.answer: Callable[[int], None] = lambda number: None
        self.upgrades = Upgrades(self.say, under_way=False)
        self.loop = loop
        self.row = row

    @cached_property
    def reloads(self) -> Reloads:
        others = NOBODY, NOBODY, NOBODY, self.row, self.upgrades, _follow, NOBODY
        return Reloads(self.loop, self.say, *others, patience=0.0)

    def say(self, message: FromControl) -> None:
        self.said.append(message)
        if isinstance(message, ReadAnew):
            self.answer(message.number)

    def given_up(self) -> bool:
        """Whether the supervisor was told that what it was asked last is not gone by."""
        (asked,) = (message.number for message in self.said if isinstance(message, ReadAnew))
        return GiveUp(asked) in self.said

    def fault(self) -> str:
        with pytest.raises(ConfigFault) as caught:
            self.reloads.reload()
        return str(caught.value)


@pytest.fixture
def rig() -> Iterator[Rig]:
    table = Table(1)
    row = table.row(0)
    with running() as loop:
        yield (rig := Rig(loop, row))
    assert row.get(0, Count.RELOADS_FAILED) == rig.failures
    row.release()
    table.close()


@contextmanager
def running() -> Iterator[Loop]:
    loop = Loop()
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield loop
    loop.stop()
    thread.join()
    loop.close()


def test_an_upgrade_that_begins_meanwhile_goes_before_it(rig: Rig) -> None:
    """What the new supervisor has been told would not be true any more."""

    def answer(number: int) -> None:
        rig.upgrades.begun()
        rig.reloads.answered(Configuration(number, write_toml(CONFIG), SNAPSHOT, ()))

    rig.answer = answer
    assert "an upgrade is under way" in rig.fault()
    assert rig.given_up(), "what it was read for is not listened on any more"


def test_an_answer_that_nobody_waited_for_is_not_taken_for_another(rig: Rig) -> None:
    def answer(number: int) -> None:
        rig.reloads.answered(Configuration(number - 1, write_toml(CONFIG), SNAPSHOT, ()))
        rig.reloads.answered(NoConfiguration(number, (Fault(what="it is taken"),)))

    rig.answer = answer
    assert rig.fault() == "it is taken"


def test_an_answer_that_comes_too_late_leaves_nothing_listening(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor may do yet what it was asked for, and who connected there would be held for ever."""
    monkeypatch.setattr(reloads, "_BUSY", 0.0)
    assert "does not answer" in rig.fault()
    assert rig.given_up()


def test_one_that_waits_is_enough_for_any_number_of_signals(rig: Rig) -> None:
    go_on = threading.Event()

    def answer(number: int) -> None:
        assert go_on.wait(30)
        rig.reloads.answered(NoConfiguration(number, (Fault(what="it is taken"),)))

    rig.answer, rig.failures = answer, 2
    threads = [threading.Thread(target=rig.reloads.reload_quietly) for _ in range(20)]
    for thread in threads:
        thread.start()
    eventually(lambda: sum(thread.is_alive() for thread in threads) == 2, "one is under way, one waits")
    go_on.set()
    for thread in threads:
        thread.join()
