"""Looks at a server that vanishes between two of them, or under one."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from kubelb.config.model.pools import Health
from kubelb.config.values import Duration
from kubelb.control.look import Look
from kubelb.control.loop import Loop
from kubelb.health.probes import Outcome, Prober, Result
from tests.netns.rig import PORT, B, Cluster

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("no_leaks")]

NEVER = Duration(3600)


class Looker:
    """Makes one look after another at a server; in the node."""

    def __init__(self, cluster: Cluster, server: int) -> None:
        self._health = Health(ca_file=str(cluster.authority), timeout=NEVER, hang_timeout=NEVER)
        host = cluster.network.hosts[server]
        self._loop = Loop()
        self._prober = Prober((host, PORT), host, self._health)

    def look(self, anew: bool, until: Callable[[list[Result]], bool]) -> list[Result]:
        """What it has told when that is so."""
        told: list[Result] = []

        def saw(_look: Look, result: Result, _begun_at: float) -> None:
            told.append(result)
            if until(told):
                self._loop.stop()

        look = Look(self._loop, self._prober, self._health, saw)
        give_up = self._loop.at(time.monotonic() + 30, self._loop.stop)
        look.begin(anew)
        self._loop.run()
        give_up.cancel()
        look.abandon()
        self._loop._stopped = False
        assert until(told), told
        return told

    def close(self) -> None:
        self._prober.close()
        self._loop.close()


def test_a_kept_connection_that_nobody_acknowledges_gets_company_at_once(cluster: Cluster) -> None:
    """Half of the time limit would never be over; a server that only takes its time would not be asked twice."""
    with cluster.network.node.entered():
        looker = Looker(cluster, B)
        try:
            passed = Result(Outcome.PASSED, "/readyz: 200")
            assert looker.look(False, lambda told: passed in told)[-1] == passed
            assert looker.look(False, lambda told: passed in told) == [passed]
            with cluster.network.powered_off(B):
                unanswered = Result(Outcome.UNANSWERED, "no answer to a connect within 0.4 s")
                looker.look(False, lambda told: unanswered in told)
            # The kept connection is given up: this one is new.
            assert looker.look(False, lambda told: passed in told)[-1] == passed
        finally:
            looker.close()


def test_a_connect_that_is_lost_on_its_way_is_accepted_later(cluster: Cluster) -> None:
    with cluster.network.node.entered(), ExitStack() as loss:
        looker = Looker(cluster, B)
        loss.enter_context(cluster.network.powered_off(B))

        def until(told: list[Result]) -> bool:
            if told:
                loss.close()
            return told[-1:] == [Result(Outcome.PASSED, "/readyz: 200")]

        try:
            outcomes = [one.outcome for one in looker.look(True, until)]
            assert outcomes == [Outcome.UNANSWERED, Outcome.ACCEPTED, Outcome.PASSED]
        finally:
            looker.close()
