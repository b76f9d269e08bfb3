"""Whose deadlines stand on a relay thread, or on control's loop: each has an owner, which none outlives."""

from __future__ import annotations

from kubelb.control.loop import Loop, Timer
from kubelb.relay.thread import RelayThread


def standing(thread: RelayThread) -> list[object]:
    """The owners, one for each deadline. For the thread itself."""
    return [entry for bucket in thread._wheel._buckets.values() for entry in bucket]


def timers(loop: Loop) -> list[Timer]:
    """Those that will do something. For the loop's thread."""
    return [timer for timer in loop._timers if timer.call is not None]
