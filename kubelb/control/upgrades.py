"""The operator's wish for an upgrade, passed to the supervisor, and how that went, passed back.

While one is under way nothing else may be changed: what the new supervisor has been told would not be true any more.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from kubelb.config.faults import ConfigFault, Fault
from kubelb.wire.message_sets import FromControl
from kubelb.wire.messages import Upgrade, Upgraded

_PATIENCE = 300.0
"""Seconds; how long the supervisor takes depends on how long clients wait for servers."""
UNDER_WAY = "an upgrade is under way, and reads the configuration anew; try again"


class Upgrades:
    def __init__(self, say: Callable[[FromControl], None], under_way: bool) -> None:
        """``say`` tells the supervisor, from any thread; ``under_way``: one has begun already."""
        self._say = say
        self._answers: queue.SimpleQueue[Upgraded] = queue.SimpleQueue()
        self._asking = False
        self._one_at_a_time = threading.Lock()
        self.under_way = under_way
        """For any thread to read."""

    def upgrade(self) -> int:
        """From any thread: have it done; the new supervisor's pid.

        Raises :class:`ConfigFault` with the reasons where it failed: all is as before then.
        """
        if self.under_way or not self._one_at_a_time.acquire(blocking=False):
            raise ConfigFault(Fault(what="an upgrade is under way already"))
        try:
            return self._upgrade()
        finally:
            self._one_at_a_time.release()

    def _upgrade(self) -> int:
        self._asking = True
        self._say(Upgrade())
        try:
            answer = self._answers.get(timeout=_PATIENCE)
        except queue.Empty:
            raise ConfigFault(Fault(what="no answer in time; kubelb status shows which one runs")) from None
        finally:
            self._asking = False
        if answer.faults:
            raise ConfigFault(*(Fault(what=fault) for fault in answer.faults))
        return answer.pid

    def begun(self) -> None:
        """On control's loop: the supervisor has begun one, whoever wanted it."""
        self.under_way = True

    def ended(self, answer: Upgraded) -> None:
        """On control's loop."""
        self.under_way = False
        if self._asking:
            self._answers.put(answer)
