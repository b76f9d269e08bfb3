"""Run as a process of its own: relays where the system refuses something, and says what became of it.

``python -m tests.real.relay.confined SCENARIO``. The log goes to standard error; on standard output comes one line, a
JSON object.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kubelb import log
from kubelb.relay.copy import CopyBuffer
from kubelb.relay.pipes import SHARED, Pool
from kubelb.relay.splice import SplicePipe
from tests.real.relay.rig import BLOB, SMALL, Link, Rig, digest, read_to_the_end
from tests.support.syscalls import refuse

_NOBODY = 65534


def refuse_splice() -> None:
    """For this thread and all that it starts."""
    refuse("splice", errno.EINVAL)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1 + max(map(int, os.listdir("/proc/self/fd"))), hard))  # noqa: PTH208
    fillers = []
    with suppress(OSError):
        while True:
            fillers.append(os.dup(0))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)


def carries(link: Link) -> bool:
    """Whether what it is sent arrives, though it is held back meanwhile."""
    sent = link.block(link.client, BLOB)
    link.client.shutdown(socket.SHUT_WR)
    return digest(read_to_the_end(link.server)) == digest(BLOB[:sent])


def splice_refused(share: bool) -> list[bool]:
    """Both where sessions share a thread and where one is promoted to its own."""
    refuse_splice()
    with Rig(share=share) as rig:
        links = [rig.open(SMALL) for _ in range(3)]
        rig.run(lambda: None)
        arrived = [carries(link) for link in links]
        bulky = rig.open()
        if share:
            rig.promote(bulky)
        bulky.client.sendall(BLOB[:100])
        return [*arrived, bulky.server.recv(100, socket.MSG_WAITALL) == BLOB[:100]]


def descriptors_for_pipes() -> list[str]:
    """What the pool gives: with descriptors, without, and with again."""
    pool = Pool(SHARED)
    taken = [pool.take()]
    with no_descriptor_left():
        taken += [pool.take(), pool.take()]
        pool.give(taken[1])
        taken.append(pool.take())
    taken.append(pool.take())
    return [type(conduit).__name__ for conduit in taken]


def descriptors_while_blocked() -> list[bool]:
    with Rig() as rig:
        links = [rig.open(SMALL) for _ in range(4)]
        rig.run(lambda: None)
        with no_descriptor_left():
            sent = [link.block(link.client, BLOB) for link in links]
            copied = {isinstance(link.session.up.held, CopyBuffer) for link in links}
            for link in links:
                link.client.shutdown(socket.SHUT_WR)
            arrived = [digest(read_to_the_end(link.server)) for link in links]
        return [copied == {True, False}, arrived == [digest(BLOB[:size]) for size in sent]]


def descriptors_for_a_thread() -> list[bool]:
    """Without them a session shares what it was to have alone."""
    with Rig(share=False) as rig:
        link = Link.make(SMALL)
        with no_descriptor_left():
            rig.adopt(link)
            rig.run(lambda: None)
            return [not link.is_alone, carries(link)]


def pipe_size() -> list[int]:
    """The room of a pipe that asked for far too much, and what it moves in a step."""
    if os.geteuid() == 0:
        os.setuid(_NOBODY)
    pipe = SplicePipe(1 << 30, 1 << 30)
    return [fcntl.fcntl(pipe._read, fcntl.F_GETPIPE_SZ), pipe.size]


SCENARIOS = {
    "pipe-size": pipe_size,
    "splice-shared": lambda: splice_refused(share=True),
    "splice-alone": lambda: splice_refused(share=False),
    "descriptors-pipes": descriptors_for_pipes,
    "descriptors-blocked": descriptors_while_blocked,
    "descriptors-thread": descriptors_for_a_thread,
}


if __name__ == "__main__":
    log.set_up("confined")
    print(json.dumps(SCENARIOS[sys.argv[1]]()))
