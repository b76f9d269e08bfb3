"""The scenarios: what the clients do, what harm befalls the servers, and which figures are taken. Add one here, a
harm in :mod:`bench.failover.harms`, a figure in :mod:`bench.failover.reading`, and what is to be reached in
:mod:`bench.failover.goals`.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.failover import harms
from bench.failover import reading as figure
from bench.failover.harms import Act
from bench.failover.manner import Door, Manner
from bench.failover.records import Load
from bench.failover.terms import DEAD, HANG_SECONDS

_SESSIONS = 60


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of harm."""

    name: str
    """As on the command line."""
    title: str
    """As in the table."""
    load: Load
    act: Act
    seconds: float
    """How long is looked on, as ``act`` understands it."""
    quick_seconds: float
    """In place of ``seconds`` in a quick run."""
    figures: tuple[str, ...]
    """The names of what is taken, out of :data:`~bench.failover.reading.FIGURES`."""
    rebalances: bool = False
    """A balancer that can move long-lived sessions is asked to."""


_BUSY = Load(clients=30, every=0.05)
_WATCHING = Load(clients=30, sessions=30, every=0.1)
"""With sessions that stay, and are to."""
_SLOW = Load(clients=60, pause=1.0, sessions=30, every=0.5)
_TRANSFERRING = Load(clients=12, transfers=18, every=0.1)

_DEATHS = (
    Scenario(
        name="killed",
        title="killed",
        load=_BUSY,
        act=harms.kill,
        seconds=8,
        quick_seconds=4,
        figures=(figure.GAP, figure.FAILED, figure.REFUSED),
    ),
    Scenario(
        name="power-off",
        title="powered off",
        load=_BUSY,
        act=harms.power_off,
        seconds=30,
        quick_seconds=10,
        figures=(figure.SERVED_AGAIN, figure.FAILED, figure.REFUSED, figure.P50, figure.P99, figure.MAX),
    ),
    Scenario(
        name="drain",
        title="graceful shutdown",
        load=_BUSY,
        act=harms.drain,
        seconds=3,
        quick_seconds=3,
        figures=(figure.GAP, figure.FAILED, figure.REFUSED, figure.SENT_THERE),
    ),
    Scenario(
        name="back",
        title="all killed, one back",
        load=Load(every=0.025),
        act=harms.kill_all,
        seconds=15,
        quick_seconds=10,
        figures=(figure.SERVED,),
    ),
    Scenario(
        name="vanished",
        title="all powered off",
        load=Load(every=0.25, finish=HANG_SECONDS + 5),
        act=harms.power_off_all,
        seconds=10,
        quick_seconds=3,
        figures=(figure.ERROR,),
    ),
    Scenario(
        name="sessions",
        title=f"{_SESSIONS} sessions, 1 min after a return",
        load=Load(sessions=_SESSIONS),
        act=harms.kill_and_start,
        seconds=60,
        quick_seconds=60,
        figures=(figure.UNEVEN, figure.RETURNED),
        rebalances=True,
    ),
)
_LOADS = tuple(
    Scenario(
        name=name,
        title=f"all answer in 0.5 to {slowest:g} s",
        load=_SLOW,
        act=harms.behave_all(Manner(seconds=(0.5, slowest))),
        seconds=60,
        quick_seconds=20,
        figures=(figure.CUT, figure.FAILED, figure.REFUSED),
    )
    for name, slowest in (("slow", 1.6), ("slower", 3.0))
)
_LOSSES = tuple(
    Scenario(
        name=f"loss-{percent}",
        title=f"{percent}% of the packets to one lost",
        load=_WATCHING,
        act=harms.lose_packets(percent),
        seconds=60,
        quick_seconds=15,
        figures=(figure.CUT, figure.REFUSED, figure.P99, figure.MAX),
    )
    for percent in (1, 5)
)
_DOORS = tuple(
    Scenario(
        name=name,
        title=title,
        load=_WATCHING,
        act=harms.behave(Manner(door=door), DEAD),
        seconds=20,
        quick_seconds=10,
        figures=(figure.REFUSED, figure.MAX, figure.CUT),
    )
    for name, title, door in (
        ("accept", "accept fails on one", Door.QUEUED),
        ("syn", "SYNs dropped on one", Door.FULL),
    )
)
_HANGS = (
    Scenario(
        name="hang",
        title="one hangs after its handshakes",
        load=_WATCHING,
        act=harms.behave(harms.HANGING, DEAD),
        seconds=30,
        quick_seconds=12,
        figures=(figure.SERVED_AGAIN, figure.CUT_OTHERS, figure.REFUSED),
    ),
    Scenario(
        name="hang-all",
        title="all hang for 6 s",
        load=_WATCHING,
        act=harms.hang_all,
        seconds=6,
        quick_seconds=6,
        figures=(figure.CUT, figure.SERVED_AGAIN),
    ),
)
_OUTAGES = (
    *(
        Scenario(
            name=f"switch-{seconds}",
            title=f"a switch away for {seconds} s",
            load=_WATCHING,
            act=harms.unplug_servers,
            seconds=seconds,
            quick_seconds=seconds,
            figures=(figure.CUT, figure.SERVED_AGAIN),
        )
        for seconds in (3, 6, 20)
    ),
    Scenario(
        name="link-6",
        title="the node's link down for 6 s",
        load=_WATCHING,
        act=harms.unplug_node,
        seconds=6,
        quick_seconds=6,
        figures=(figure.CUT, figure.SERVED_AGAIN),
    ),
    *(
        Scenario(
            name=f"etcd-{seconds}",
            title=f"etcd away for {seconds} s",
            load=_WATCHING,
            act=harms.lose_etcd,
            seconds=seconds,
            quick_seconds=quick_seconds,
            figures=(figure.CUT, figure.FAILED, figure.REFUSED),
        )
        for seconds, quick_seconds in ((10, 4), (75, 15))
    ),
)
_ROLLS = (
    *(
        Scenario(
            name=f"shutdown-{delay}",
            title=f"shutdown with a delay of {delay} s",
            load=_TRANSFERRING,
            act=harms.shut_down(delay),
            seconds=4,
            quick_seconds=1,
            figures=(figure.TRANSFERS_CUT, figure.FAILED, figure.REFUSED),
        )
        for delay in (0, 4)
    ),
    Scenario(
        name="start",
        title="one starts again",
        load=_BUSY,
        act=harms.start_slowly,
        seconds=10,
        quick_seconds=4,
        figures=(figure.FORBIDDEN, figure.REFUSED),
    ),
    Scenario(
        name="unready",
        title="not ready, goes on serving",
        load=_BUSY,
        act=harms.behave(Manner(ready=500), DEAD),
        seconds=20,
        quick_seconds=10,
        figures=(figure.SENT_LATE, figure.FAILED, figure.REFUSED),
    ),
)

SCENARIOS: tuple[Scenario, ...] = (*_DEATHS, *_LOADS, *_LOSSES, *_DOORS, *_HANGS, *_OUTAGES, *_ROLLS)
