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
"""Seconds between two looks at the looks."""


class Looks:
    """Looks at the servers now and then."""

    def __init__(self, world: World) -> None:
        self.worst = 0.0
        """The longest wait for a core."""
        self.open_seconds = 0.0
        """For which servers were there, all added up."""
        self._world = world
        self._look()

    def _look(self) -> None:
        world = self._world
        now = world.clock.now
        waits = [server.wait(now) for server in world.servers if server.door == "open"]
        self.worst = max(self.worst, *waits, 0.0)
        self.open_seconds += len(waits) * _LOOK
        world.clock.at(now + _LOOK, self._look)


def simulated(fleet: Fleet, policy: Policy, scenario: Scenario) -> tuple[World, Looks]:
    """The world after it."""
    world = World(fleet, policy)
    looks = Looks(world)
    scenario.harm(world)
    world.clock.run(scenario.seconds)
    return world, looks


def measured(fleet: Fleet, policy: Policy, scenario: Scenario) -> Figures:
    begun = time.process_time()
    world, looks = simulated(fleet, policy, scenario)
    tally, end, survivors = world.tally, scenario.seconds, scenario.survivors
    outage, is_open = tally.outage(world.clock.now)
    return Figures(
        peak=peak(tally.client_handshakes, survivors, HARM_AT, end),
        peak_one=max(peak(tally.client_handshakes, (one,), HARM_AT, end) for one in survivors),
        peak_with_probes=peak(tally.client_handshakes + tally.probe_handshakes, survivors, HARM_AT, end),
        outage=outage,
        open=is_open,
        cuts=tally.cuts,
        needless=tally.needless,
        probes=total(tally.probes, 0, end) / fleet.nodes / looks.open_seconds,
        probes_peak=max(peak(tally.probes, (one,), HARM_AT, end) for one in range(SERVERS)) / fleet.nodes,
        worst_wait=looks.worst,
        seconds=time.process_time() - begun,
    )
