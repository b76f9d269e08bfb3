"""The supervisor's part of a reload: a reader is started, what it has read is bound, and control is told of it.

What has been read is kept until control goes by it (:meth:`Reading.take`) or gives it up. For the supervisor's only
thread, which never waits here; it owns the reader's channel. One configuration is read at a time.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import time
from collections.abc import Callable

import msgspec

from kubelb import log
from kubelb.config.faults import ConfigFault, Fault
from kubelb.own_limits import own_reason
from kubelb.reasons import number_of
from kubelb.supervisor import children
from kubelb.supervisor.listeners import BIND_ATTEMPTS, AddressInUse
from kubelb.supervisor.sockets import Sockets
from kubelb.wire.channel import Channel, MessageLost
from kubelb.wire.message_sets import FromReader, MessageFault, ToControl
from kubelb.wire.messages import Configuration, NoConfiguration, Read

Spawn = Callable[[], tuple[int, Channel[FromReader]]]
Answer = Callable[[ToControl], bool]


class Reading:
    def __init__(
        self,
        selector: selectors.BaseSelector,
        sockets: Sockets,
        spawn: Spawn,
        answer: Answer,
        answer_at_last: Answer,
        pause: float,
    ) -> None:
        """``spawn`` starts a reader: its pid, and the channel through which it says what it has read. ``answer``
        tells control, and whether it took it, and raises :class:`OSError` where something is short here;
        ``answer_at_last`` keeps it then, and tells it later. ``pause`` is the time in seconds between two attempts to
        listen on an address that is in use."""
        self._pause = pause
        self._selector = selector
        self._sockets = sockets
        self._spawn = spawn
        self._answer = answer
        self._answer_at_last = answer_at_last
        self._number = 0
        """Of control's question."""
        self._pid = 0
        """The reader's, while it is waited for; 0: it is not."""
        self._channel: Channel[FromReader] | None = None
        self._read: Read | None = None
        """What has been read last, and is not gone by yet."""
        self._waiting: tuple[Read, int] | None = None
        """What has been read and cannot be bound yet, and how many attempts are left."""
        self._generation = 0
        """Of the configurations that have been read the number of the last one."""
        self.due = math.inf
        """When the reader has to be done, or the next attempt to bind is, in seconds of the monotonic clock."""

    @property
    def under_way(self) -> bool:
        return self._channel is not None or self._waiting is not None

    @property
    def generation(self) -> int | None:
        """That of what has been read and may be gone by; None: there is nothing."""
        return None if self._read is None else self._read.snapshot.generation

    def begin(self, number: int, deadline: float) -> None:
        """Have the files read until then, and what they say bound; control is answered under that number."""
        self.end()
        self._number = number
        try:
            self._start()
        except OSError as error:
            what = f"the configuration cannot be read: {own_reason(number_of(error))}"
            self._refuse(Fault(what=what, instead="try again"))
            return
        self.due = deadline

    def _start(self) -> None:
        """Have a reader read. Raises :class:`OSError` where there is no room for one, or none to hear it by."""
        pid, channel = self._spawn()
        children.hear(self._selector, pid, channel, self._told)
        self._pid, self._channel = pid, channel

    def channels(self) -> list[Channel[FromReader]]:
        return [] if self._channel is None else [self._channel]

    def _told(self) -> None:
        if self._channel is None:
            return
        try:
            message = self._channel.receive()
        except BlockingIOError:
            return
        except (MessageFault, MessageLost) as error:
            self._kill()
            self._refuse(Fault(what=f"what the configuration says has not arrived: {error}", instead="try again"))
            return
        if message is None:
            # Why it has ended is heard soon.
            self._hang_up()
        elif isinstance(message, Read):
            self._let_go()
            self._bind(message, BIND_ATTEMPTS)
        else:
            self._let_go()
            self._refuse(*message.faults)

    def died(self, pid: int, how: str) -> None:
        """A child has, which may be the reader: it may have said all before."""
        if pid != self._pid:
            return
        self._told()
        if pid == self._pid:
            self._let_go()
            self._refuse(Fault(what=f"the configuration has not been read: the reader has died, {how}"))

    def look(self, now: float) -> None:
        """Give up a reader that takes too long; try again to bind what could not be bound."""
        if now >= self.due and self._waiting is not None:
            self._bind(*self._waiting)
        elif now >= self.due:
            self._kill()
            what = "the configuration takes too long to read"
            self._refuse(Fault(what=what, instead="see whether its files and the name servers answer"))

    def _bind(self, read: Read, attempts: int) -> None:
        self._waiting, self.due = None, math.inf
        try:
            self._sockets.bind(read.bindings)
        except ConfigFault as error:
            if isinstance(error, AddressInUse) and attempts > 1:
                log.get().warning("address_in_use", fault=str(error), attempts_left=attempts - 1)
                self._waiting, self.due = (read, attempts - 1), time.monotonic() + self._pause
                return
            self._refuse(*(error.explained() if isinstance(error, AddressInUse) else error).faults)
            return
        self._generation += 1
        snapshot = msgspec.structs.replace(read.snapshot, generation=self._generation)
        self._read = msgspec.structs.replace(read, snapshot=snapshot)
        try:
            taken = self._answer(Configuration(self._number, read.toml, snapshot, read.warnings))
        except OSError as error:
            self.end()
            what = f"the configuration cannot be passed on: {own_reason(number_of(error))}"
            self._refuse(Fault(what=what, instead="try again"))
        else:
            if not taken:
                self.end()

    def _refuse(self, *faults: Fault) -> None:
        try:
            taken = self._answer(NoConfiguration(self._number, faults))
        except OSError as error:
            # So many faults take a file, for which there is no room.
            short = Fault(
                what=f"what is wrong cannot be passed on: {own_reason(number_of(error))}", instead="see the log"
            )
            taken = not self._answer_at_last(NoConfiguration(self._number, (short,)))
        if not taken:
            for fault in faults:
                log.get().error("reload_failed", fault=str(fault))

    def take(self, generation: int) -> Read | None:
        """What has been read, if it is this, to go by from now on; None: it is what is gone by already."""
        if self._read is None or self._read.snapshot.generation != generation:
            return None
        read, self._read = self._read, None
        return read

    def give_up(self, number: int) -> None:
        """Control does not go by the answer to that question, or does not wait for it."""
        if number == self._number:
            self.end()

    def end(self) -> None:
        """Read no more; and what has been read and is not gone by is nothing."""
        if self._pid:
            self._kill()
        self._read = self._waiting = None
        self.due = math.inf
        self._sockets.forget_pending()

    def _kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self._let_go()

    def _let_go(self) -> None:
        """Nobody waits for the reader any more; it ends."""
        self._hang_up()
        self._pid, self.due = 0, math.inf

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._selector.unregister(self._channel)
            self._channel.close()
            self._channel = None
