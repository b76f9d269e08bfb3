"""Whose deadlines stand on a relay thread, or on control's loop: each has an owner, which none outlives."""

from __future__ import annotations

from kubelb.control.loop import Loop, Timer
from kubelb.relay.thread import RelayThread
from kubelb.worker.second_chance import SecondChances
from kubelb.worker.stalls import Stalls


def standing(thread: RelayThread) -> list[object]:
    """The owners, one for each deadline, but for those that are the thread's as a whole. For the thread itself."""
    entries = (entry for bucket in thread._wheel._buckets.values() for entry in bucket)
    return [entry for entry in entries if not isinstance(entry, (Stalls, SecondChances))]


def timers(loop: Loop) -> list[Timer]:
    """Those that will do something. For the loop's thread."""
    return [timer for timer in loop._timers if timer.call is not None]
