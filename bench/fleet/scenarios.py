"""What is done to the servers, and for how long it is looked at. Times are seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from bench.fleet.world import World

HARM_AT: Final = 10
"""Every scenario is calm until then."""
_DEARTH = 3.5
"""With that the background alone asks for 1.4 times the cores there are."""
_DEARTH_SECONDS = 30
_DELAY = 4.0
"""Seconds of 500 on /readyz before a server ends."""
_AWAY = 10.0
_FORBIDDEN = 2.0
_UNREADY = 3.0
_BETWEEN = 35.0
"""From the beginning of one restart to that of the next."""


class Scenario(NamedTuple):
    name: str
    """As on the command line."""
    title: str
    """As in the table."""
    seconds: int
    harm: Callable[[World], None]
    """Plans what is done."""
    survivors: tuple[int, ...]
    """Servers whose load is looked at."""


def _calm(world: World) -> None:
    pass


def _power_off(world: World) -> None:
    world.clock.at(HARM_AT, world.vanish, world.servers[0])


def _overload(world: World) -> None:
    world.clock.at(HARM_AT, _set_dearth, world, _DEARTH)
    world.clock.at(HARM_AT + _DEARTH_SECONDS, _set_dearth, world, 1.0)


def _set_dearth(world: World, dearth: float) -> None:
    for server in world.servers:
        server.dearth = dearth


def _restarts(world: World) -> None:
    for index in range(len(world.servers)):
        begin = HARM_AT + index * _BETWEEN
        server = world.servers[index]
        back = begin + _DELAY + _AWAY
        world.clock.at(begin, _set_status, world, index, 500)
        world.clock.at(begin + _DELAY, world.stop, server)
        world.clock.at(back, server.start, back)
        world.clock.at(back, _set_status, world, index, 403)
        world.clock.at(back + _FORBIDDEN, _set_status, world, index, 500)
        world.clock.at(back + _FORBIDDEN + _UNREADY, _set_status, world, index, 200)


def _set_status(world: World, index: int, status: int) -> None:
    world.servers[index].status = status


SCENARIOS: Final = (
    Scenario("calm", "nothing happens", 30, _calm, (0, 1, 2)),
    Scenario("power-off", "power-off of one", 75, _power_off, (1, 2)),
    Scenario("overload", "overload of 30 s", 90, _overload, (0, 1, 2)),
    Scenario("restart", "rolling restart", 115, _restarts, (0, 1, 2)),
)
