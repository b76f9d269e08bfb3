"""What travels between two processes arrives whole, whatever its size; and whoever has the other end cannot hurt."""

from __future__ import annotations

import array
import fcntl
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from kubelb.config.faults import Fault
from kubelb.snapshot import Pool
from kubelb.wire.channel import Channel, MessageLost, close_all
from kubelb.wire.message_sets import (
    FROM_CONTROL,
    FROM_PREDECESSOR,
    FROM_READER,
    FROM_WORKER,
    TO_WORKER,
    MessageFault,
    MessageSet,
    encode,
)
from kubelb.wire.messages import AT_MOST, Listen, PoolsChanged, Ready, Refused, Sighting, Stop

pytestmark = pytest.mark.usefixtures("no_leaks")

IN_FILE = b"\xc0"
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@contextmanager
def a_pair(takes: MessageSet[Any]) -> Iterator[tuple[Channel[Any], Channel[Any]]]:
    ours, theirs = Channel.pair(takes, takes)
    yield ours, theirs
    ours.close()
    theirs.close()


def pools(name: str) -> PoolsChanged:
    """A message as long as its name."""
    return PoolsChanged(0, 1, (Pool(name=name, balance="least_conn", hash_key="", servers=()),))


@pytest.mark.parametrize("size", [0, 1 << 16, 1 << 20, 1 << 24])
def test_a_message_of_any_size(size: int) -> None:
    message = Refused((Fault(what="x" * size),))
    with a_pair(FROM_READER) as (ours, theirs):
        assert ours.send(message)
        assert theirs.receive() == message
        assert theirs.offer(message)
        assert ours.receive() == message


@pytest.mark.parametrize("size", [0, 1 << 24])
def test_with_all_its_descriptors(size: int) -> None:
    message = Listen(("x" * size,))
    with a_pair(TO_WORKER) as (ours, theirs):
        read, write = os.pipe()
        assert ours.send(message, [write] * AT_MOST)
        received, fds = theirs.receive_with_fds()
        assert (received, len(fds)) == (message, AT_MOST)
        os.write(fds[-1], b"the same")
        assert os.read(read, 100) == b"the same"
        close_all([read, write, *fds])


def test_there_is_room_for_many_large_ones() -> None:
    message = pools("x" * (1 << 20))
    with a_pair(FROM_CONTROL) as (ours, theirs):
        assert all(ours.send(message) for _ in range(50))
        assert all(theirs.receive() == message for _ in range(50))


# Whoever has the other end means no good.


@contextmanager
def a_stranger(takes: MessageSet[Any]) -> Iterator[tuple[Channel[Any], socket.socket]]:
    """The supervisor's end of a channel, and the other one, through which anything may be sent."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    channel = Channel(ours, takes)
    try:
        with theirs:
            yield channel, theirs
    finally:
        channel.close()


def send(stranger: socket.socket, data: bytes, *fds: int) -> None:
    stranger.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
    for fd in fds:
        os.close(fd)


def a_file(data: bytes, seals: int = SEALS, size: int | None = None) -> int:
    fd = os.memfd_create("stranger", os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    os.ftruncate(fd, len(data) if size is None else size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


@pytest.mark.parametrize("data", [b"\x01garbage", b"", IN_FILE, encode(Stop()), b"\x80", b"x" * (100 << 10)])
@pytest.mark.parametrize("takes", [FROM_WORKER, FROM_CONTROL], ids=["worker", "control"])
def test_what_is_no_message_of_its_kind_is_refused(takes: MessageSet[Any], data: bytes) -> None:
    with a_stranger(takes) as (channel, stranger):
        send(stranger, data)
        with pytest.raises(MessageFault):
            channel.receive()
        send(stranger, encode(Ready()))
        assert channel.receive() == Ready()


@pytest.mark.parametrize("count", [1, 2, 100])
@pytest.mark.parametrize("takes", [FROM_WORKER, FROM_CONTROL], ids=["worker", "control"])
def test_descriptors_that_nobody_asked_for_are_refused(takes: MessageSet[Any], count: int) -> None:
    with a_stranger(takes) as (channel, stranger):
        send(stranger, encode(Ready()), *(os.eventfd(0) for _ in range(count)))
        with pytest.raises(MessageFault):
            channel.receive()


def test_a_worker_has_no_message_in_a_file() -> None:
    with a_stranger(FROM_WORKER) as (channel, stranger):
        send(stranger, IN_FILE, a_file(encode(Sighting(1, 1.0, ""))))
        with pytest.raises(MessageFault):
            channel.receive()


def _pipe() -> int:
    """Its end to read from, which nobody writes to: it is open for writing itself."""
    read, write = os.pipe()
    try:
        return os.open(f"/proc/self/fd/{read}", os.O_RDWR)
    finally:
        close_all([read, write])


def _socket() -> int:
    one, other = socket.socketpair()
    other.close()
    return one.detach()


MESSAGE = encode(PoolsChanged(0, 1, ()))
FILES: dict[str, Callable[[], int]] = {
    "a pipe": _pipe,
    "a socket": _socket,
    "an event": lambda: os.eventfd(0),
    "a directory": lambda: os.open("/", os.O_RDONLY),
    "a name": lambda: os.open("/", os.O_PATH),
    "a device": lambda: os.open("/dev/zero", os.O_RDWR),
    "a file": lambda: os.open(__file__, os.O_RDONLY),
    "unsealed": lambda: a_file(MESSAGE, seals=0),
    "it may shrink": lambda: a_file(MESSAGE, seals=SEALS & ~fcntl.F_SEAL_SHRINK),
    "it may grow": lambda: a_file(MESSAGE, seals=SEALS & ~fcntl.F_SEAL_GROW),
    "it may change": lambda: a_file(MESSAGE, seals=SEALS & ~fcntl.F_SEAL_WRITE),
    "too long": lambda: a_file(MESSAGE, size=FROM_CONTROL.largest + 1),
    "longer than there is memory": lambda: a_file(MESSAGE, size=1 << 50),
    "nothing": lambda: a_file(b""),
    "garbage": lambda: a_file(b"\x01garbage"),
    "another message": lambda: a_file(encode(Stop())),
}


@pytest.mark.parametrize("made", FILES.values(), ids=FILES)
def test_a_file_that_will_not_do_is_refused(made: Callable[[], int]) -> None:
    with a_stranger(FROM_CONTROL) as (channel, stranger):
        send(stranger, IN_FILE, made())
        with pytest.raises(MessageFault):
            channel.receive()
        send(stranger, IN_FILE, a_file(MESSAGE))
        assert channel.receive() == PoolsChanged(0, 1, ())


def test_an_older_kubelb_does_not_seal_what_it_leaves() -> None:
    with a_stranger(FROM_PREDECESSOR) as (channel, stranger):
        send(stranger, IN_FILE, a_file(encode(Stop()), seals=0))
        assert channel.receive() == Stop()
        send(stranger, IN_FILE, _pipe())
        with pytest.raises(MessageFault):
            channel.receive()


def test_what_is_sent_in_a_file_cannot_be_changed() -> None:
    with a_pair(FROM_CONTROL) as (ours, theirs):
        assert ours.send(pools("x" * (1 << 20)))
        _, ((_, _, payload),), _, _ = theirs._sock.recvmsg(1, socket.CMSG_SPACE(4))
        (fd,) = array.array("i", payload)
        assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == SEALS
        for change in (lambda: os.ftruncate(fd, 0), lambda: os.pwrite(fd, b"y", 0)):
            with pytest.raises(PermissionError):
                change()
        os.close(fd)


def test_an_end_that_is_closed_is_no_fault() -> None:
    with a_stranger(FROM_WORKER) as (channel, stranger):
        send(stranger, encode(Ready()))
        stranger.close()
        assert channel.receive() == Ready()
        assert channel.receive() is None


def test_one_that_says_nothing_more_but_stays_is_at_fault() -> None:
    with a_stranger(FROM_WORKER) as (channel, stranger):
        stranger.shutdown(socket.SHUT_WR)
        with pytest.raises(MessageFault):
            channel.receive()


def test_a_message_that_no_descriptor_is_left_for_is_no_fault_of_the_sender() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with a_stranger(FROM_CONTROL) as (channel, stranger), ExitStack() as held:
        send(stranger, IN_FILE, a_file(MESSAGE))
        send(stranger, encode(Ready()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with suppress(OSError):
            while True:
                held.callback(os.close, os.eventfd(0))
        with pytest.raises(MessageLost):
            channel.receive()
        assert channel.receive() == Ready()
