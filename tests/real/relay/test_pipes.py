"""Conduits with real pipes and sockets: that each is right by itself, whatever the limits allow."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import closing

import pytest

from kubelb.relay.conduit import Conduit
from kubelb.relay.copy import CopyBuffer
from kubelb.relay.pipes import BULK, SHARED, Pool, Sizing, borrowed
from kubelb.relay.splice import SplicePipe
from tests.real.relay.rig import BLOB, SMALL, connection, digest, read_to_the_end
from tests.support.eventually import eventually
from tests.support.identity import reset
from tests.support.syscalls import where_refused

every_conduit = pytest.mark.parametrize(
    "make", [lambda: SplicePipe(*SHARED), lambda: CopyBuffer(SHARED.step)], ids=["splice", "copy"]
)


@every_conduit
def test_a_conduit_holds_what_is_not_taken_and_salvages_it(make: Callable[[], Conduit]) -> None:
    (source, src), (sink, dst), conduit = connection(None), connection(SMALL), make()
    sent = moved = 0
    while not conduit.held:
        source.sendall(BLOB[sent : sent + 50_000])
        sent += 50_000
        while moved < sent and not conduit.held:
            try:
                moved += conduit.step(src.fileno(), dst.fileno())
            except BlockingIOError:
                continue
    conduit.drain(dst.fileno())
    held = conduit.held
    salvaged = conduit.salvage()
    assert len(salvaged) == held > 0 == conduit.held
    dst.close()
    assert digest(read_to_the_end(sink) + salvaged) == digest(BLOB[:moved])
    for thing in (source, src, sink, conduit):
        thing.close()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE], ids=errno.errorcode.get)
def test_where_no_pipe_can_be_had_there_is_a_buffer(code: int) -> None:
    with closing(Pool(SHARED)) as pool:
        assert isinstance(where_refused("pipe2", code, pool.take), CopyBuffer)
        with closing(pool.take()) as conduit:
            assert isinstance(conduit, SplicePipe)


@every_conduit
def test_a_conduit_tells_the_end_from_nothing_and_from_a_reset(make: Callable[[], Conduit]) -> None:
    conduit = make()
    (ending, quiet), (cutting, cut), (sink, dst) = connection(None), connection(None), connection(None)
    with pytest.raises(BlockingIOError):
        conduit.step(quiet.fileno(), dst.fileno())
    ending.close()
    assert eventually(lambda: [conduit.step(quiet.fileno(), dst.fileno())], "the end") == [0]
    reset(cutting)
    with pytest.raises(ConnectionResetError):
        conduit.step(cut.fileno(), dst.fileno())
    assert conduit.held == 0
    for thing in (quiet, cut, sink, dst, conduit):
        thing.close()


@every_conduit
def test_a_conduit_whose_destination_is_gone_says_so_and_still_holds_the_bytes(make: Callable[[], Conduit]) -> None:
    conduit = make()
    (source, src), (sink, dst) = connection(None), connection(None)
    reset(sink)
    source.sendall(b"lost")
    with pytest.raises(ConnectionResetError):
        eventually(lambda: conduit.step(src.fileno(), dst.fileno()), "bytes")
    assert conduit.salvage() == b"lost"
    for thing in (source, src, dst, conduit):
        thing.close()


def test_a_pipe_has_the_room_it_was_made_for() -> None:
    pipe = SplicePipe(*BULK)
    assert fcntl.fcntl(pipe._read, fcntl.F_GETPIPE_SZ) == BULK.room
    assert pipe.size == BULK.step
    pipe.close()


def test_a_pool_keeps_a_few_pipes_and_closes_them_at_the_end() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    pool = Pool(Sizing(room=4096, step=4096))
    taken = [pool.take() for _ in range(10)]
    for conduit in taken:
        pool.give(conduit)
    assert len(os.listdir("/proc/self/fd")) == before + 2 * 4  # noqa: PTH208
    pool.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_pipe_of_another_process_is_used_up_and_not_again() -> None:
    """Whoever has lent it may write into it still."""
    with closing(Pool(Sizing(room=4096, step=4096))) as pool:
        own = pool.take()
        assert isinstance(own, SplicePipe)
        os.write(own._write, b"held")
        own.held = 4
        lent = borrowed(own.lend(), own.held)
        assert lent.size == own.size == 4096
        assert lent.salvage() == b"held"
        own.held = 0
        pool.give(lent)
        os.write(own._write, b"somebody's")
        fresh = pool.take()
        assert isinstance(fresh, SplicePipe)
        with pytest.raises(BlockingIOError):
            os.read(fresh._read, 1)
        own.close()
        fresh.close()


def test_a_pool_that_falls_back_gives_up_its_pipes_and_loses_nothing() -> None:
    pool = Pool(Sizing(room=4096, step=4096))
    pipe, spare = pool.take(), pool.take()
    pool.give(spare)
    assert isinstance(pipe, SplicePipe)
    os.write(pipe._write, b"on its way")
    pipe.held = len(b"on its way")
    buffer = pool.fall_back(pipe)
    assert buffer.salvage() == b"on its way"
    assert isinstance(pool.take(), CopyBuffer)
