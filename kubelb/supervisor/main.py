"""The supervisor: single-threaded parent of control and the workers.

Owns the listening sockets, the shared counters, the newest snapshot and the children. Its loop receives signals
and messages, asks :mod:`kubelb.supervisor.plan` what that means, and has :mod:`kubelb.supervisor.service` do it. It
has no policy of its own, starts no thread, and does nothing that can block.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import time

from kubelb import log
from kubelb.config.model.config import Config
from kubelb.deadlines import Deadlines
from kubelb.reasons import reason_of
from kubelb.snapshot import Snapshot
from kubelb.supervisor import holdings, plan, signals
from kubelb.supervisor.credence import Known, fault_in
from kubelb.supervisor.family import Heard
from kubelb.supervisor.init import FIRST, Init
from kubelb.supervisor.limits import raise_open_files
from kubelb.supervisor.plan import CONTROL, Phase
from kubelb.supervisor.service import Origin, Service
from kubelb.supervisor.succession import Arrival, Departure, say_failed
from kubelb.wire.channel import MessageLost
from kubelb.wire.message_sets import (
    TO_ALL_WORKERS,
    TO_CONTROL_FROM_WORKERS,
    FromControl,
    FromWorker,
    MessageFault,
)
from kubelb.wire.messages import (
    GiveUp,
    PoolsChanged,
    Quit,
    ReadAnew,
    Ready,
    Reload,
    Reloading,
    Upgrade,
)


class Supervisor:
    """One run, from binding to the last child's end, or until another supervisor is in this one's place."""

    def __init__(self, config: Config, snapshot: Snapshot, origin: Origin, deadlines: Deadlines) -> None:
        """Takes hold of all it needs. Raises :class:`~kubelb.config.faults.ConfigFault` for what it cannot get."""
        raise_open_files(config.max_open_files)
        old = origin.predecessor
        held = (
            holdings.afresh(config, snapshot, deadlines.bind)
            if old is None
            else holdings.from_predecessor(config, snapshot, old)
        )
        self._origin = origin
        self._service = Service(config, origin, held, deadlines, self._told)
        self._service.selector.register(self._service.signals, selectors.EVENT_READ, self._signalled)
        self._arrival = None if old is None else Arrival(self._service, old)
        self._departure: Departure | None = None
        self._announced = False
        self._upgrade_wanted = False

    def run(self) -> int:
        """The exit status."""
        service = self._service
        while not plan.over(service.ending, service.family.all(), time.monotonic()):
            service.look_after_log()
            service.spawn_due(time.monotonic())
            service.family.catch_up(time.monotonic())
            if service.family.end_hung(time.monotonic()):
                service.send_again(time.monotonic())
            for key, _ in service.selector.select(self._patience()):
                # An earlier call of this turn may have unregistered it, and its number may be another's.
                if service.selector.get_map().get(key.fd) is key:
                    key.data()
            service.reading.look(time.monotonic())
            self._look_after_upgrade()
            places, within = service.family.all(), service.deadlines.stop
            service.end_as(plan.escalate(service.ending, places, time.monotonic(), within))
            service.systemd.alive(time.monotonic())
        service.clean_up()
        log.get().info("stopped")
        service.log.end()
        status = int(self._arrival is not None and self._arrival.failed)
        if not service.serving and os.getpid() == FIRST:
            status = Init(service.signals, service.held.pidfile.path).run()
        signals.ignore_from_now_on()
        return status

    def _patience(self) -> float | None:
        service = self._service
        look = plan.next_look(service.family.all(), service.ending)
        waiting = math.inf if self._departure is None else self._departure.due
        now = time.monotonic()
        soon = service.systemd.due, service.reading.due, service.family.next_attempt(now)
        due = min(*soon, waiting, math.inf if look is None else look)
        return None if due == math.inf else max(0.0, due - now)

    def _told(self, pid: int, channel: Heard) -> bool:
        """A child may have said something, or has gone (SIGCHLD tells how). Whether that is so.

        It may be nobody's child any more, whose place has been filled since. One that says what it cannot is ended.
        """
        service = self._service
        try:
            message = channel.receive()
        except BlockingIOError:
            return False
        except (MessageFault, MessageLost) as error:
            service.end_misbehaving(pid, str(error))
            return False
        place = service.family.place_of(pid)
        if message is None:
            service.closed(pid)
        elif place is None:
            service.hang_up(pid)
        elif (fault := fault_in(message, place, self._known())) is not None:
            service.end_misbehaving(pid, fault)
        else:
            self._do(message, pid)
        return message is not None

    def _known(self) -> Known:
        reading = self._service.reading
        return Known(time.monotonic(), self._service.snapshot, reading.generation, reading.under_way)

    def _do(self, message: FromWorker | FromControl, pid: int) -> None:
        family = self._service.family
        if isinstance(message, Ready):
            family.ready(pid)
            self._announce()
        elif isinstance(message, TO_ALL_WORKERS):
            family.pass_on(message, (*family.workers(), *family.leaving))
        elif isinstance(message, TO_CONTROL_FROM_WORKERS):
            family.pass_on(message, [family.places[CONTROL]])
        else:
            self._told_by_control(message)

    def _told_by_control(self, message: FromControl) -> None:
        service = self._service
        if isinstance(message, PoolsChanged):
            service.go_by(message)
        elif isinstance(message, ReadAnew):
            service.reading.begin(message.number, time.monotonic() + service.deadlines.read)
        elif isinstance(message, GiveUp):
            service.reading.give_up(message.number)
        elif isinstance(message, Reloading):
            self._show_reload(message.under_way)
        elif isinstance(message, Quit):
            if self._departure is None or not self._departure.pass_stop_on(message.gracefully):
                self._stop(message.gracefully, both=True)
        elif isinstance(message, Upgrade):
            self._upgrade()

    def _announce(self) -> None:
        """Once everybody serves; to systemd again when one is back: it may have died in the middle of a reload."""
        service = self._service
        if service.ending.phase is Phase.RUNNING and all(place.ready for place in service.family.places.values()):
            if not service.serving:
                if self._arrival is not None and not self._arrival.may_serve():
                    return
                service.serve()
            elif self._arrival is not None:
                self._arrival.ask_again()
            if not self._announced:
                self._announced = True
                log.get().info("started", **service.facts())
            self._show_reload(under_way=False)
        service.show()

    def _show_reload(self, under_way: bool) -> None:
        """Not while a start or a stop is under way, of which systemd knows, nor before it listens to this process."""
        service = self._service
        if not self._announced or service.ending.phase is not Phase.RUNNING or self._arrival is not None:
            return
        if under_way:
            service.systemd.reloading()
        else:
            service.systemd.ready(service.status_line())

    def _signalled(self) -> None:
        # A stop may be for all of us, and who has died of it is no news. Of signals that come together the kernel has
        # the last one handled first.
        heard = self._service.signals.receive()
        for number in sorted(heard, key=lambda number: number == signal.SIGCHLD):
            if number == signal.SIGCHLD:
                self._bury()
            elif self._departure is not None and self._departure.pass_on(number):
                continue
            elif number in signals.FAST:
                self._stop(gracefully=False)
            elif number == signals.GRACEFUL:
                self._stop(gracefully=True)
            elif number == signals.RELOAD:
                self._reload()
            elif number == signals.REOPEN:
                self._service.reopening.begin()
            elif number == signals.UPGRADE:
                self._upgrade()

    def _bury(self) -> None:
        for place, how in self._service.bury(time.monotonic()):
            if self._arrival is not None:
                self._arrival.give_up(f"{place.name} has died: {how}")

    def _reload(self) -> None:
        """Control does it, and says how it went."""
        if not self._service.family.send_control(Reload()):
            log.get().error("reload_failed", fault="there is no control process at the moment; try again")

    def _stop(self, gracefully: bool, both: bool = False) -> None:
        """``both``: of two, too, of which the newer does not serve yet, and only that one is told."""
        if self._arrival is not None and (both or self._service.serving):
            self._arrival.quit(gracefully)
        if gracefully and self._departure is not None:
            self._departure.quit_after()
        elif gracefully:
            self._service.stop_gracefully()
        else:
            if self._departure is not None:
                self._departure.call_off()
            self._service.stop_fast()

    def _upgrade(self) -> None:
        if self._departure is not None:
            log.get().error("upgrade_failed", fault="one is under way")
        elif self._service.ending.phase is not Phase.RUNNING:
            say_failed(self._service, ("kubelb stops",))
        else:
            self._upgrade_wanted = True

    def _look_after_upgrade(self) -> None:
        """One begins once everybody serves, and the one before is over."""
        if not self._service.serving:
            self._announce()
        if self._arrival is not None:
            self._arrival.look(time.monotonic())
        if self._arrival is not None and self._arrival.over and not self._arrival.failed:
            self._arrival = None
            self._announce()
        if self._upgrade_wanted and self._announced and self._arrival is None:
            self._upgrade_wanted = False
            self._depart()
        if self._departure is not None:
            self._departure.look(time.monotonic())
            if self._departure.over:
                self._departure = None

    def _depart(self) -> None:
        try:
            self._departure = Departure(self._service, self._origin.image)
        except OSError as error:
            say_failed(self._service, (f"the new kubelb cannot be started: {reason_of(error)}",))
