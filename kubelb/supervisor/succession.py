"""An upgrade, step by step, on each side: a new supervisor on its way to serve, and the old one on its way out.

For the only thread of each. :mod:`kubelb.supervisor.upgrade` says what passes between the two.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from kubelb import log
from kubelb.own_limits import own_reason
from kubelb.reasons import number_of
from kubelb.supervisor import plan, signals
from kubelb.supervisor.image import Image
from kubelb.supervisor.init import FIRST
from kubelb.supervisor.plan import Ending, Phase
from kubelb.supervisor.service import Service
from kubelb.supervisor.upgrade import Predecessor, Successor, legacy_descriptors
from kubelb.wire.channel import MessageLost, close_all
from kubelb.wire.message_sets import FromSuccessor, MessageFault
from kubelb.wire.messages import (
    Descriptors,
    Drained,
    Failed,
    Inherit,
    Quit,
    Retire,
    Serve,
    Stop,
    TakeOver,
    Upgrade,
    Upgraded,
)
from kubelb.wire.outbox import SHORTAGE, Outbox, say_short


class Arrival:
    """In the new supervisor, until the old one has gone."""

    def __init__(self, service: Service, predecessor: Predecessor) -> None:
        self.over = False
        """The old one has gone."""
        self.failed = False
        self._asked = False
        self._ask_at = math.inf
        """When to ask for the sessions again, some of which could not be taken; seconds of the monotonic clock."""
        self._allowed = False
        self._service = service
        self._predecessor = predecessor
        self._outbox = Outbox(predecessor.channel)
        service.upgrade = predecessor.channel
        service.selector.register(predecessor.channel, selectors.EVENT_READ, self._told)

    def may_serve(self) -> bool:
        """Everybody is ready here. The old one is asked, for it may have given up; whether it has agreed, or gone."""
        if not self._asked:
            self._asked = True
            self.ask_again()
        return self._allowed or self.over

    def ask_again(self) -> None:
        """For the sessions: one of us has died and is back, and what it was to be given is still there."""
        self._say(TakeOver(len(self._service.family.workers()) * self._service.threads))

    def _say(self, message: FromSuccessor) -> None:
        if not self.over:
            self._outbox.send(message)

    def look(self, now: float) -> None:
        """Do what is due."""
        if not self.over:
            self._outbox.flush()
        if now >= self._ask_at:
            self._ask_at = math.inf
            self.ask_again()

    def quit(self, gracefully: bool) -> None:
        """The operator wants no kubelb any more: the old one is not to go on in this one's place."""
        self._say(Quit(gracefully))

    def give_up(self, reason: str) -> None:
        """The old one goes on, unless this one serves already."""
        if not self._service.serving and not self.failed:
            self.failed = True
            self._say(Failed((reason,)))
            self._service.stop_fast()

    def _told(self) -> None:
        try:
            message, fds = self._predecessor.channel.receive_with_fds()
        except BlockingIOError:
            return
        except (MessageFault, MessageLost) as error:
            self.give_up(f"the running kubelb is another one than this can succeed: {error}")
            return
        if isinstance(message, Descriptors):
            if not self._service.family.spread(fds):
                self._ask_at = time.monotonic() + SHORTAGE
        elif isinstance(message, Serve):
            self._allowed = True
        elif isinstance(message, Drained):
            self._service.family.forget_others()
        elif isinstance(message, Stop):
            self.give_up("the running kubelb has given up the upgrade")
        elif message is None:
            self.over = True
            self._service.selector.unregister(self._predecessor.channel)
            self._service.upgrade = None
            self._predecessor.channel.close()
        close_all(fds)


class Departure:
    """In the old supervisor, from the wish for a new one until that serves, or cannot."""

    def __init__(self, service: Service, image: Image) -> None:
        """Starts the new one. Raises :class:`OSError` where that cannot be."""
        log.get().info("upgrading")
        self.over = False
        """There is no new one any more, and all is as before."""
        self._service = service
        self._quit_after = False
        self._threads = 0
        """Relay threads of the new one, once it has asked for the sessions."""
        deadline = time.monotonic() + service.deadlines.take_over
        self._new = Successor(image, service.systemd.variables, deadline)
        try:
            service.selector.register(self._new.channel, selectors.EVENT_READ, self._told)
        except OSError:
            self._new.close()
            raise
        service.upgrade = self._new.channel
        service.upgrade_under_way = True
        service.family.send_control(Upgrade())

    @property
    def due(self) -> float:
        """When something is to be done even if nothing happens before, in seconds of the monotonic clock."""
        return self._new.deadline

    def pass_on(self, number: int) -> bool:
        """A signal to a container's first process is meant for whoever serves. Whether it was passed on."""
        return os.getpid() == FIRST and self._signal(number)

    def pass_stop_on(self, gracefully: bool) -> bool:
        """One that this one's control was asked for, which still answers whom it has heard, is meant for whoever
        serves. Whether that is the new one."""
        return self._signal(signals.GRACEFUL if gracefully else signal.SIGTERM)

    def _signal(self, number: int) -> bool:
        """To the new one, if it serves. Whether it does."""
        if self._new.took_over:
            with suppress(ProcessLookupError):
                os.kill(self._new.pid, number)
        return self._new.took_over

    def call_off(self) -> None:
        """This one is told to stop at once; a new one that serves already is not concerned."""
        if not self._new.took_over:
            self._new.say(Stop())

    def quit_after(self) -> None:
        """This one is to stop gracefully, whatever becomes of the new one."""
        self._quit_after = True

    def look(self, now: float) -> None:
        """Do what is due, and what can be."""
        service = self._service
        self._new.settle()
        if now >= self._new.deadline and self._new.took_over:
            self._new.deadline = now + service.deadlines.hand_over
            if service.family.leaving:
                log.limited().warning("handing_over_is_slow", workers=[place.pid for place in service.family.leaving])
                # A worker may have been short of something when it was asked.
                self._hand_over(self._threads)
        elif now >= self._new.deadline and not self.over:
            self._new.say(Stop())
            self._fail(("the new kubelb was not ready in time",))
        elif service.ending.phase is Phase.HANDING_OVER and not service.family.leaving:
            self._give_way(now)

    def _told(self) -> None:
        try:
            message = self._new.channel.receive()
        except BlockingIOError:
            return
        except (MessageFault, MessageLost) as error:
            self._new.say(Stop())
            self._fail((f"the new kubelb is another one than this can leave things to: {error}",))
        else:
            self._do(message)

    def _do(self, message: FromSuccessor | None) -> None:
        new, service = self._new, self._service
        if isinstance(message, Inherit):
            new.pid, new.version = message.pid, message.version
            self._leave()
        elif isinstance(message, Failed):
            new.faults = message.faults
        elif isinstance(message, TakeOver):
            if service.ending.phase is Phase.RUNNING:
                self._step_back()
            if service.ending.phase is Phase.HANDING_OVER:
                self._hand_over(message.threads)
        elif isinstance(message, Quit) and message.gracefully:
            service.stop_gracefully()
        elif isinstance(message, Quit):
            service.stop_fast()
        elif message is None:
            self._fail(new.faults or ("the new kubelb has ended; the log has its own words, if it had any",))

    def _leave(self) -> None:
        """Give the new one what there is, in copy."""
        service = self._service
        descriptors = legacy_descriptors(service.sockets.named(), service.held.pidfile, service.held.table)
        try:
            self._new.leave(service.snapshot, sorted(service.family.rows), descriptors)
        except OSError as error:
            self._new.say(Stop())
            self._fail((f"nothing can be left to the new kubelb: {own_reason(number_of(error))}",))

    def _step_back(self) -> None:
        """The new supervisor may serve."""
        service, family = self._service, self._service.family
        self._new.has_taken_over(time.monotonic() + service.deadlines.hand_over)
        self._new.say(Serve())
        service.serving, service.ending = False, Ending(Phase.HANDING_OVER)
        family.send_control(Retire())
        family.leave(family.workers())

    def _hand_over(self, threads: int) -> None:
        """Its relay threads, so many, get all sessions there are."""
        family, self._threads = self._service.family, threads
        for place in family.leaving:
            family.hand_over(place, threads, self._deliver)

    def _deliver(self, fds: Sequence[int]) -> bool:
        try:
            self._new.send_descriptors(fds)
        except OSError as error:
            say_short(error, Descriptors())
            return False
        return True

    def _give_way(self, now: float) -> None:
        """All sessions are with the new one: end, once control has answered whoever asked for the upgrade."""
        service = self._service
        log.get().info("upgraded", successor=self._new.pid, version=self._new.version)
        service.sockets.close_listening(for_good=False)
        service.family.send_control(Upgraded(self._new.pid, ()))
        service.family.send_control(Stop())
        service.systemd.main_pid(self._new.pid)
        service.ending = plan.stop_fast(service.ending, now, service.deadlines.stop)
        self._new.say(Drained())

    def _fail(self, faults: tuple[str, ...]) -> None:
        """Be what was before."""
        service, new = self._service, self._new
        self.over = True
        service.selector.unregister(new.channel)
        service.upgrade = None
        service.upgrade_under_way = False
        new.close()
        if service.ending.phase not in (Phase.RUNNING, Phase.HANDING_OVER):
            return
        if new.took_over:
            service.ending = Ending()
            service.fill(service.workers)
            service.serve()
        say_failed(service, faults)
        if new.took_over:
            service.family.send_control(Stop())
        if self._quit_after:
            service.stop_gracefully()


def say_failed(service: Service, faults: tuple[str, ...]) -> None:
    """To the log, and to whoever asked for it."""
    for fault in faults:
        log.get().error("upgrade_failed", fault=fault)
    service.family.send_control(Upgraded(0, faults))
