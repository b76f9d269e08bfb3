"""One policy in one scenario, from beginning to end."""

from __future__ import annotations

import time

from bench.fleet.policies.policy import Policy
from bench.fleet.results import Figures
from bench.fleet.scenarios import HARM_AT, Scenario
from bench.fleet.settings import SERVERS, Fleet
from bench.fleet.tally import peak, total
from bench.fleet.world import World

_LOOK = 0.5
"""Seconds between two looks at the queues."""


class _Queues:
    """Looks at the servers' queues now and then."""

    def __init__(self, world: World) -> None:
        self.worst = 0.0
        self._world = world
        self._look()

    def _look(self) -> None:
        world = self._world
        now = world.clock.now
        waits = [server.wait(now) for server in world.servers if server.door == "open"]
        self.worst = max(self.worst, *waits, 0.0)
        world.clock.at(now + _LOOK, self._look)


def simulated(fleet: Fleet, policy: Policy, scenario: Scenario) -> tuple[World, _Queues]:
    """The world after it."""
    world = World(fleet, policy)
    queues = _Queues(world)
    scenario.harm(world)
    world.clock.run(scenario.seconds)
    return world, queues


def measured(fleet: Fleet, policy: Policy, scenario: Scenario) -> Figures:
    begun = time.process_time()
    world, queues = simulated(fleet, policy, scenario)
    tally, end, survivors = world.tally, scenario.seconds, scenario.survivors
    outage, is_open = tally.outage(world.clock.now)
    places = fleet.nodes * SERVERS
    return Figures(
        peak=peak(tally.client_handshakes, survivors, HARM_AT, end),
        peak_one=max(peak(tally.client_handshakes, (one,), HARM_AT, end) for one in survivors),
        peak_with_probes=peak(tally.client_handshakes + tally.probe_handshakes, survivors, HARM_AT, end),
        outage=outage,
        open=is_open,
        cuts=tally.cuts,
        needless=tally.needless,
        probes=total(tally.probes, 0, end) / places / end,
        probes_peak=peak(tally.probes, range(SERVERS), HARM_AT, end) / places,
        worst_wait=queues.worst,
        seconds=time.process_time() - begun,
    )
