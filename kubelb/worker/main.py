"""A worker: the data plane process. Serves on its last snapshot whatever happens to control.

Forked by the supervisor. Its first relay thread is the main thread and also listens to the supervisor; the others
are threads of their own. It ends when it was told to stop and its last session has gone; when the supervisor is
gone it does as if told to stop, so that a new supervisor finds the addresses free while sessions live on.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from kubelb import log
from kubelb.snapshot import Snapshot
from kubelb.stats import Count, Table
from kubelb.wire.channel import Channel
from kubelb.wire.messages import Drained, Ready, Release, SnapshotChanged, Stop
from kubelb.worker.lane import Lane

_STACK = 256 << 10
"""Bytes; a relay's calls are not deep, and there may be a thread a session."""


@dataclass(frozen=True)
class Setup:
    """What the supervisor gives a worker; the listening sockets stay its own."""

    index: int
    channel: Channel
    table: Table
    snapshot: Snapshot
    listening: Sequence[socket.socket]
    threads: int
    """Relay threads."""
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
    setup.table.row(setup.index * setup.threads).put(0, Count.PID, os.getpid())
    _Worker(setup).run()


class _Worker:
    def __init__(self, setup: Setup) -> None:
        self._channel = setup.channel
        self._listening = setup.listening
        self._lanes = [
            Lane(
                setup.table,
                setup.table.row(setup.index * setup.threads + number),
                setup.listening,
                setup.snapshot,
                share=setup.share,
                alone_cpus=setup.cpus if setup.pin else None,
                report=setup.channel.offer,
            )
            for number in range(setup.threads)
        ]
        self._stopping = False
        self._accepting = self._serving = len(self._lanes)

    def run(self) -> None:
        main, *others = self._lanes
        main.thread.watch(self._channel.fileno(), select.EPOLLIN, self._told)
        threads = [
            threading.Thread(target=lane.thread.run, name=f"relay-{number}", daemon=True)
            for number, lane in enumerate(others, 1)
        ]
        for thread in threads:
            thread.start()
        self._channel.send(Ready())
        main.thread.run()
        for lane in self._lanes:
            lane.close()
        self._channel.send(Drained())

    def _told(self, mask: int) -> None:
        """On the main thread: a message of the supervisor, or its end."""
        message = self._channel.receive()
        if isinstance(message, SnapshotChanged):
            for lane in self._lanes:
                lane.thread.post(lambda lane=lane, snapshot=message.snapshot: lane.see(snapshot))  # type: ignore[misc]
        elif isinstance(message, Release):
            for lane in self._lanes:
                lane.thread.post(lambda lane=lane, order=message: lane.release(order))  # type: ignore[misc]
        elif message is None or isinstance(message, Stop):
            if message is None:
                self._lanes[0].thread.unwatch(self._channel.fileno())
                log.get().warning("supervisor_gone", effect="accepting no more; sessions go on until they end")
            self._stop()

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        for lane in self._lanes:
            lane.thread.post(lambda lane=lane: lane.stop(self._lane_stopped, self._lane_emptied))  # type: ignore[misc]

    def _lane_stopped(self) -> None:
        """From any relay thread: it accepts no more."""
        self._lanes[0].thread.post(self._one_less_accepts)

    def _one_less_accepts(self) -> None:
        self._accepting -= 1
        if not self._accepting:
            for sock in self._listening:
                sock.close()

    def _lane_emptied(self) -> None:
        """From any relay thread: it holds no session."""
        self._lanes[0].thread.post(self._one_less_serves)

    def _one_less_serves(self) -> None:
        self._serving -= 1
        if not self._serving:
            self._lanes[0].thread.stop()
