"""What a child said before it died must not touch the one that has its place now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kubelb.deadlines import USUAL
from kubelb.stats import Table
from kubelb.supervisor.family import Family, Heard
from kubelb.wire.channel import Channel
from kubelb.wire.message_sets import FROM_WORKER, TO_WORKER, FromControl, FromWorker, ToWorker
from kubelb.wire.messages import Ready, Sighting, Stop

OLD, NEW = 101, 102


@contextmanager
def a_family() -> Iterator[tuple[Family, Channel[ToWorker], Channel[ToWorker]]]:
    """A worker that has died and whose place is another's, with the children's ends of both channels."""
    table = Table(1)
    family = Family(table, (), USUAL)
    family.add("worker-0", 1)
    (old, dead), (new, child) = (Channel.pair(FROM_WORKER, TO_WORKER) for _ in range(2))
    family.died(family.started(family.places["worker-0"], OLD, old, now=1.0), now=2.0)
    family.started(family.places["worker-0"], NEW, new, now=3.0)
    yield family, dead, child
    for channel in (dead, child):
        channel.close()
    family.close()
    table.close()


def test_a_dead_child_speaks_for_nobody() -> None:
    with a_family() as (family, _, _):
        family.ready(OLD)
        assert not family.places["worker-0"].ready, "the newcomer has not said that it serves"
        family.ready(NEW)
        assert family.places["worker-0"].ready


def test_what_it_has_said_is_heard_to_its_end() -> None:
    with a_family() as (family, dead, _):
        said = [Sighting(slot, 1.0, "") for slot in range(1, 200)]
        assert all(map(dead.send, said))
        heard: list[FromWorker | FromControl | None] = []

        def hear(_pid: int, channel: Heard) -> bool:
            try:
                heard.append(channel.receive())
            except BlockingIOError:
                return False
            return True

        family.hear_out(OLD, hear)
        assert heard == said


def test_a_dead_child_that_somebody_speaks_for_is_not_heard_for_ever() -> None:
    with a_family() as (family, dead, _):

        def hear(_pid: int, channel: Heard) -> bool:
            assert dead.send(Ready())
            return channel.receive() == Ready()

        family.hear_out(OLD, hear)


def test_the_end_of_a_dead_childs_channel_is_not_the_newcomers() -> None:
    with a_family() as (family, _, child):
        family.closed(OLD)
        family.send_workers(Stop())
        assert child.receive() == Stop()
