"""A worker: the data plane process. Serves on its last snapshot whatever happens to control.

Forked by the supervisor, which then sends it the sockets to accept on. Its first relay thread is the main thread and
also listens to the supervisor; the others are threads of their own. It ends when it was told to stop, or to hand its
sessions over, and its last session has gone; when the supervisor is gone it does as if told to stop, so that a new
supervisor finds the addresses free while sessions live on. It owns its copies of the listening sockets.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle

from kubelb import log
from kubelb.signals import SignalPipe
from kubelb.snapshot import Snapshot
from kubelb.stats import Count, Row, Table
from kubelb.wire.channel import Channel, MessageLost
from kubelb.wire.message_sets import FROM_GIVER, FROM_TAKER, FromTaker, ToWorker
from kubelb.wire.messages import (
    AskSessions,
    HandOver,
    Listen,
    Ready,
    Receive,
    Release,
    Reopen,
    SnapshotChanged,
    Stop,
    Unlisten,
)
from kubelb.worker.lane import Lane

_LAST_WORDS = 1.0
"""Seconds that a worker which is to end at once takes for its access log."""
_STACK = 256 << 10
"""Bytes; a relay's calls are not deep, and there may be a thread a session."""


@dataclass(frozen=True)
class Setup:
    """What the supervisor gives a worker on its way."""

    index: int
    channel: Channel[ToWorker]
    table: Table
    rows: Sequence[Row]
    """Of the table, one a relay thread."""
    snapshot: Snapshot
    share: bool
    """Whether sessions share them."""
    cpus: Sequence[int]
    """The CPUs that the process may use."""
    pin: bool
    """Whether to keep to one of them."""


def run(setup: Setup) -> None:
    """Serve until stopped and drained."""
    if setup.pin:
        os.sched_setaffinity(0, {setup.cpus[setup.index % len(setup.cpus)]})
    threading.stack_size(_STACK)
    for row in setup.rows:
        row.put(0, Count.PID, os.getpid())
        row.put(0, Count.WORKER, setup.index + 1)
    log.set_levels(setup.snapshot.log.levels)
    _Worker(setup).run()


class _Worker:
    def __init__(self, setup: Setup) -> None:
        self._channel = setup.channel
        self._listening: dict[str, socket.socket] = {}
        self._lanes = [
            Lane(
                setup.table,
                row,
                setup.snapshot,
                share=setup.share,
                alone_cpus=setup.cpus if setup.pin else None,
                report=setup.channel.offer,
            )
            for row in setup.rows
        ]
        self._turns = cycle(self._lanes)
        self._stopping = False
        self._serving = len(self._lanes)

    def run(self) -> None:
        main, *others = self._lanes
        main.thread.watch(self._channel.fileno(), select.EPOLLIN, self._told)
        threads = [
            threading.Thread(target=lane.thread.run, name=f"relay-{number}", daemon=True)
            for number, lane in enumerate(others, 1)
        ]
        for thread in threads:
            thread.start()
        signals = SignalPipe([signal.SIGTERM])
        main.thread.watch(signals.fileno(), select.EPOLLIN, lambda mask: self._end_at_once(signals))
        self._channel.send_at_last(Ready())
        main.thread.run()
        for lane in self._lanes:
            lane.close()

    def _end_at_once(self, signals: SignalPipe) -> None:
        """By the signal that was sent, but for what is still to be written to the access log."""
        for lane in self._lanes:
            lane.close(_LAST_WORDS / len(self._lanes))
        signals.close()
        os.kill(os.getpid(), signal.SIGTERM)

    def _told(self, mask: int) -> None:
        """On the main thread: a message of the supervisor, or its end."""
        try:
            message, fds = self._channel.receive_with_fds()
        except BlockingIOError:
            pass
        except MessageLost as error:
            # The supervisor sees that this worker is behind, and sends again what counts.
            log.limited().warning("message_lost", reason=str(error))
        else:
            self._do(message, fds)

    def _do(self, message: ToWorker | None, fds: Sequence[int]) -> None:
        call = self._for_a_lane(message)
        if call is not None:
            self._on_every_lane(call)
        elif isinstance(message, Listen):
            # Fewer descriptors come where there is no room for more; those that are missing are sent again.
            for address, fd in zip(message.addresses, fds, strict=False):
                self._listen(address, socket.socket(fileno=fd))
        elif isinstance(message, Unlisten):
            self._unlisten(message.addresses)
        elif isinstance(message, Receive):
            for fd in fds:
                lane = next(self._turns)
                lane.thread.post(partial(lane.receive, Channel.of(fd, FROM_GIVER)))
        elif isinstance(message, HandOver):
            self._hand_over([Channel.of(fd, FROM_TAKER) for fd in fds])
        elif message is None or isinstance(message, Stop):
            if message is None:
                self._lanes[0].thread.unwatch(self._channel.fileno())
                log.get().warning("supervisor_gone", effect="accepting no more; sessions go on until they end")
            self._stop()

    def _for_a_lane(self, message: ToWorker | None) -> Callable[[Lane], None] | None:
        """What each relay thread has to do, where a message is for all of them."""
        if isinstance(message, SnapshotChanged):
            log.set_levels(message.snapshot.log.levels)
            return lambda lane: lane.see(message.snapshot)
        if isinstance(message, Reopen):
            return lambda lane: lane.reopen()
        if isinstance(message, Release):
            return lambda lane: lane.release(message)
        if isinstance(message, AskSessions):
            return lambda lane: lane.list_sessions(message, self._channel.offer)
        return None

    def _on_every_lane(self, call: Callable[[Lane], None]) -> None:
        for lane in self._lanes:
            lane.thread.post(partial(call, lane))

    def _listen(self, address: str, sock: socket.socket) -> None:
        if address in self._listening:
            sock.close()
            return
        self._listening[address] = sock
        self._on_every_lane(lambda lane: lane.listen(address, sock))

    def _unlisten(self, addresses: Iterable[str]) -> None:
        for address in self._listening.keys() & set(addresses):
            sock, left = self._listening.pop(address), _Countdown(len(self._lanes))
            done = partial(self._lanes[0].thread.post, partial(self._close, sock, left))
            self._on_every_lane(lambda lane, address=address, done=done: lane.unlisten(address, done))  # type: ignore[misc]

    def _close(self, sock: socket.socket, left: _Countdown) -> None:
        """A relay thread does not accept from it any more."""
        if left.is_last():
            sock.close()

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._unlisten(tuple(self._listening))
        self._on_every_lane(lambda lane: lane.leave(self._lane_emptied))

    def _hand_over(self, channels: Sequence[Channel[FromTaker]]) -> None:
        """A share of the channels for each relay thread."""
        self._stop()
        share = len(channels) // len(self._lanes)
        for number, lane in enumerate(self._lanes):
            lane.thread.post(partial(lane.hand_over, channels[number * share : (number + 1) * share]))

    def _lane_emptied(self) -> None:
        """From any relay thread: it holds no session."""
        self._lanes[0].thread.post(self._one_less_serves)

    def _one_less_serves(self) -> None:
        self._serving -= 1
        if not self._serving:
            self._lanes[0].thread.stop()


class _Countdown:
    def __init__(self, left: int) -> None:
        self._left = left

    def is_last(self) -> bool:
        """Once for each; whether this was the last."""
        self._left -= 1
        return not self._left
