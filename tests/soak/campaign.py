"""The soak itself: rounds of load with deeds, each followed by a rest in which the proxy is measured."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubelb.cli import adminclient
from kubelb.snapshot import GOOD
from tests.soak.deeds import Deeds, Flaps
from tests.soak.holdings import Holdings, measure, trend
from tests.soak.journal import Journal
from tests.support.eventually import eventually
from tests.support.load.records import Result
from tests.support.load.stage import SERVERS, Stage

_PAUSE = 1.5
"""Seconds between two deeds, at most."""
_CALM = 60.0
"""Seconds until the proxy is calm after the load has gone, at most."""
_LOOKS = 20
_SAID = 10
"""Findings that are said at once, at most; the report has more."""
_FAULTS = ("internal_error", "not JSON", "child_stuck")
"""Events that the proxy's log must not have."""


@dataclass(frozen=True)
class Outcome:
    """Of a soak; no findings: it has been passed."""

    result: Result
    samples: list[Holdings]
    journal: Journal


class Campaign:
    def __init__(self, stage: Stage, mark: str, seed: int, say: Callable[[str], None]) -> None:
        """``mark``: of the proxy's processes; ``say`` is given a line each time something has been done."""
        self._stage = stage
        self._mark = mark
        self._say = say
        self._chance = random.Random(seed)
        self._journal = Journal()
        self._deeds = Deeds(stage, mark, self._journal, self._chance)
        self._samples: list[Holdings] = []
        self._said = 0

    def run(self, seconds: float, rounds: int) -> Outcome:
        until = time.monotonic() + seconds
        for number in range(1, rounds + 1):
            round_until = until - seconds * (rounds - number) / rounds
            with Flaps(self._stage, self._journal, random.Random(self._chance.random())):
                self._do_deeds(round_until)
            self._rest()
            if number < rounds:
                self._stage.load.resume()
        result = self._stage.load.finish()
        self._journal.judge(lambda: result.failures)
        self._judge_log()
        self._journal.findings += trend(self._samples).growth()
        return Outcome(result, self._samples, self._journal)

    def _do_deeds(self, until: float) -> None:
        while time.monotonic() < until:
            self._deeds.do_one()
            self._note()
            time.sleep(self._chance.uniform(0, _PAUSE))

    def _note(self) -> None:
        self._journal.judge(self._stage.load.failures)
        for finding in self._journal.findings[self._said : _SAID]:
            self._say(f"{finding}\n")
        self._said = len(self._journal.findings)
        journal, load = self._journal, self._stage.load
        self._say(
            f"{journal.clock} {load.connections} new connections; {len(journal.deeds)} deeds, the last: "
            f"{journal.deeds[-1].name}; {len(load.failures())} failures, {len(journal.findings)} findings"
        )

    def _rest(self) -> None:
        """The load goes, the idle stay, and so does what the proxy holds."""
        self._deeds.back_to_base()
        idle, wanted = self._stage.load.rest(), self._stage.load.plan.idle
        if idle != wanted:
            self._journal.find(f"of {wanted} idle sessions {idle} answer")
        try:
            eventually(self._is_calm, "calm", _CALM)
        except (AssertionError, adminclient.AdminFault) as fault:
            self._journal.find(f"at rest: {fault!r}")
        self._samples.append(self._measure())
        self._note()

    def _is_calm(self) -> bool:
        """Whether all servers are usable, and there are as many sessions as there are idle clients."""
        status, idle = self._stage.proxy.status(), self._stage.load.plan.idle
        servers = status.pools[0].servers
        up = len(servers) == SERVERS and all(server.state in GOOD for server in servers)
        return up and status.clients.active == sum(server.active for server in servers) == idle

    def _measure(self) -> Holdings:
        """Once two looks agree, memory apart, for threads need a moment to end; or after so many looks."""
        before = measure(self._mark)
        for _ in range(_LOOKS):
            now = measure(self._mark)
            if now[:-1] == before[:-1]:
                break
            before = now
            time.sleep(0.5)
        return before

    def _judge_log(self) -> None:
        log = self._stage.proxy.log
        records = [record for event in _FAULTS for record in log.events(event)]
        # Whoever is killed here, or is replaced, is killed; whoever is started amid a shortage may say so, and end.
        deaths = [record for record in log.events("child_died") if not record["how"].startswith("SIGKILL")]
        records += deaths[len(log.events("own_limit")) :]
        if records or self._journal.findings:
            file = Path(tempfile.gettempdir(), f"kubelb-soak-{self._mark}.log")
            file.write_text(log.text)
            self._journal.find(f"the whole log is {file}")
        for record in records:
            self._journal.find(f"in the log: {record}")
