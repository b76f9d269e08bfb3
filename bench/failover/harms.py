"""What is done to servers and to the network. Each runs in the bench's main thread while the clients run: it does the
harm, waits as long as is looked on, and says when it was done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from bench.failover.machines import Machines
from bench.failover.manner import WELL, Door, Manner
from bench.failover.records import Harm
from bench.failover.terms import DEAD, DRAIN_SECONDS, NAMES, TRANSFER_SECONDS

Act = Callable[[Machines, float], Harm]
"""What is done to the machines, and for how long is looked on."""

_ALL: Final = range(len(NAMES))
_DOWN_SECONDS: Final = 3.0
"""Servers that return are away for so many seconds."""
_FAREWELL_SECONDS: Final = 1.0
"""How long clients have, once nobody listens, to ask once more and hear that the connection closes."""
_AFTERWARDS_SECONDS: Final = 12.0
"""So long is looked on once what was away is back."""
_BACK_SECONDS: Final = 3.0
"""Between the return of one server and of the next."""
_FORBIDDEN_SECONDS: Final = 2.0
_UNREADY_SECONDS: Final = 3.0
"""A server that starts answers 403 for so long, then 500 to /readyz alone."""

HANGING: Final = Manner(answers=False)
_UNREADY: Final = Manner(ready=500)
_WITHOUT_ETCD: Final = Manner(ready=500, ready_seconds=(0.0, 2.0))
"""2 s is the apiserver's own limit for its question to etcd."""
_LEAVING: Final = Manner(door=Door.CLOSED, ready=500, lasts=False)


def kill(machines: Machines, seconds: float) -> Harm:
    harm = machines.kill(DEAD)
    time.sleep(seconds)
    return harm


def power_off(machines: Machines, seconds: float) -> Harm:
    harm = machines.power_off(DEAD)
    time.sleep(seconds)
    return harm


def power_off_all(machines: Machines, seconds: float) -> Harm:
    harm = machines.power_off(*_ALL)
    time.sleep(seconds)
    return harm


def drain(machines: Machines, seconds: float) -> Harm:
    """``seconds`` after it has stopped."""
    harm = machines.tell(_UNREADY, DEAD)
    time.sleep(DRAIN_SECONDS)
    machines.tell(_LEAVING, DEAD)
    time.sleep(_FAREWELL_SECONDS)
    machines.kill(DEAD)
    time.sleep(seconds - _FAREWELL_SECONDS)
    return harm


def kill_all(machines: Machines, seconds: float) -> Harm:
    """``seconds`` after one of them is back."""
    machines.kill(*_ALL)
    time.sleep(_DOWN_SECONDS)
    at = machines.start(DEAD)
    time.sleep(seconds)
    return Harm(at, at)


def kill_and_start(machines: Machines, seconds: float) -> Harm:
    """``seconds`` after it is back."""
    return _start(machines, seconds, [])


def start_slowly(machines: Machines, seconds: float) -> Harm:
    """It starts as a kube-apiserver does: it forbids everything at first, then it is not ready for a while."""
    forbidding = Manner(ready=403, status=403)
    return _start(machines, seconds, [(forbidding, _FORBIDDEN_SECONDS), (_UNREADY, _UNREADY_SECONDS)])


def _start(machines: Machines, seconds: float, first: list[tuple[Manner, float]]) -> Harm:
    machines.kill(DEAD)
    time.sleep(_DOWN_SECONDS)
    manners = [*first, (WELL, seconds)]
    at = machines.start(DEAD, manner=manners[0][0])
    for manner, lasting in manners:
        machines.tell(manner, DEAD)
        time.sleep(lasting)
    return Harm(at, at)


def behave(manner: Manner, *numbers: int) -> Act:
    """These servers behave like that to the end."""

    def act(machines: Machines, seconds: float) -> Harm:
        harm = machines.tell(manner, *numbers)
        time.sleep(seconds)
        return harm

    return act


def behave_all(manner: Manner) -> Act:
    return behave(manner, *_ALL)


def hang_all(machines: Machines, seconds: float) -> Harm:
    """For ``seconds``."""
    harm = machines.tell(HANGING, *_ALL)
    time.sleep(seconds)
    machines.tell(WELL, *_ALL)
    time.sleep(_AFTERWARDS_SECONDS)
    return harm


def lose_etcd(machines: Machines, seconds: float) -> Harm:
    """For ``seconds``; then one server after the other is ready again."""
    harm = machines.tell(_WITHOUT_ETCD, *_ALL)
    time.sleep(seconds)
    for number in _ALL:
        machines.tell(WELL, number)
        time.sleep(_BACK_SECONDS)
    time.sleep(_AFTERWARDS_SECONDS - _BACK_SECONDS)
    return harm


def unplug_servers(machines: Machines, seconds: float) -> Harm:
    """For ``seconds``."""
    return _unplugged(machines, machines.power_off(*_ALL), seconds)


def unplug_node(machines: Machines, seconds: float) -> Harm:
    """For ``seconds``."""
    return _unplugged(machines, machines.unplug_node(), seconds)


def _unplugged(machines: Machines, harm: Harm, seconds: float) -> Harm:
    time.sleep(seconds)
    machines.plug_in()
    time.sleep(_AFTERWARDS_SECONDS)
    return harm


def lose_packets(percent: float) -> Act:
    """So many percent of the packets that go to the server are lost."""

    def act(machines: Machines, seconds: float) -> Harm:
        harm = machines.lose_packets(percent, DEAD)
        time.sleep(seconds)
        return harm

    return act


def shut_down(delay: float) -> Act:
    """The server is not ready for ``delay`` seconds, listens no more, finishes what it was asked, and ends; then is
    looked on for ``seconds`` more."""

    def act(machines: Machines, seconds: float) -> Harm:
        begun = time.monotonic()
        if delay:
            machines.tell(_UNREADY, DEAD)
            time.sleep(delay)
        done = machines.tell(_LEAVING, DEAD).done
        time.sleep(TRANSFER_SECONDS + _FAREWELL_SECONDS)
        machines.kill(DEAD)
        time.sleep(seconds)
        return Harm(begun, done)

    return act
