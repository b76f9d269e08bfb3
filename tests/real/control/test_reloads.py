"""A reload whose answers come late, or that something else overtakes. The test is the supervisor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kubelb.config.faults import ConfigFault
from kubelb.config.model.config import Config
from kubelb.config.overrides import NO_OVERRIDES
from kubelb.config.sources import Sources
from kubelb.config.toml.writer import write_toml
from kubelb.control import reloads
from kubelb.control.loop import Loop
from kubelb.control.reloads import Reloads
from kubelb.control.upgrades import Upgrades
from kubelb.snapshot import Snapshot
from kubelb.stats import Count, Row, Table
from kubelb.wire.message_sets import FromControl
from kubelb.wire.messages import Bind, Bound
from tests.support.eventually import eventually
from tests.support.proxy import a_config

NOBODY: Any = None


def _follow(config: Config, snapshot: Snapshot) -> None:
    """Nobody has health endpoints."""


class Rig:
    """Reloads of a file with one more listener than there is; ``answer`` is what the supervisor does when asked."""

    def __init__(self, file: Path, loop: Loop, row: Row) -> None:
        self.said: list[FromControl] = []
        self.failures = 1
        self.answer: Callable[[Bind], None] = lambda message: None
        self.upgrades = Upgrades(self.say, under_way=False)
        before = a_config(("127.0.0.1", 1), [("127.0.0.1", 2)])
        file.write_text(write_toml(a_config(("127.0.0.1", 3), [("127.0.0.1", 2)])))
        sources = Sources(config=str(file))
        self.reloads = Reloads(
            sources, NO_OVERRIDES, before, loop, self.say, NOBODY, NOBODY, NOBODY, row, self.upgrades, _follow, NOBODY
        )

    def say(self, message: FromControl) -> None:
        self.said.append(message)
        if isinstance(message, Bind) and message.addresses:
            self.answer(message)

    def fault(self) -> str:
        with pytest.raises(ConfigFault) as caught:
            self.reloads.reload()
        return str(caught.value)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    table = Table(1)
    row = table.row(0)
    with running() as loop:
        yield (rig := Rig(tmp_path / "kubelb.toml", loop, row))
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

    def answer(message: Bind) -> None:
        rig.upgrades.begun()
        rig.reloads.bound(Bound(tuple(message.addresses), ()))

    rig.answer = answer
    assert "an upgrade is under way" in rig.fault()
    assert Bind({}) in rig.said, "it is listened there no more"


def test_an_answer_that_nobody_waited_for_is_not_taken_for_another(rig: Rig) -> None:
    def answer(message: Bind) -> None:
        rig.reloads.bound(Bound(("127.0.0.1:4",), ()))
        rig.reloads.bound(Bound(tuple(message.addresses), ("it is taken",)))

    rig.answer = answer
    assert rig.fault() == "it is taken"


def test_an_answer_that_comes_too_late_leaves_nothing_listening(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor may do yet what it was asked for, and who connected there would be held for ever."""
    monkeypatch.setattr(reloads, "_PATIENCE", 0.0)
    assert "does not answer" in rig.fault()
    assert [message for message in rig.said if isinstance(message, Bind)][-1] == Bind({})


def test_one_that_waits_is_enough_for_any_number_of_signals(rig: Rig) -> None:
    go_on = threading.Event()

    def answer(message: Bind) -> None:
        assert go_on.wait(30)
        rig.reloads.bound(Bound(tuple(message.addresses), ("it is taken",)))

    rig.answer, rig.failures = answer, 2
    threads = [threading.Thread(target=rig.reloads.reload_quietly) for _ in range(20)]
    for thread in threads:
        thread.start()
    eventually(lambda: sum(thread.is_alive() for thread in threads) == 2, "one is under way, one waits")
    go_on.set()
    for thread in threads:
        thread.join()
