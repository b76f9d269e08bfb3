"""What an acceptor does where the kernel gives no client: it waits for what is used up, and no client is lost."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from socket import SocketType

import pytest
from structlog.testing import capture_logs

from kubelb.crowds import Crowds
from kubelb.relay.thread import RelayThread
from kubelb.stats import Table
from kubelb.worker.acceptor import Acceptor
from kubelb.worker.books import Books
from tests.support.syscalls import where_refused, where_refused_once

pytestmark = pytest.mark.usefixtures("no_leaks")

_CLIENTS = 3


class Still:
    """An acceptor on a relay thread that does not run, with clients in its queue: the turns are the test's."""

    def __init__(self, stack: ExitStack) -> None:
        table = Table(1)
        stack.callback(table.close)
        row = table.row(0)
        stack.callback(row.release)
        self._thread = RelayThread(Books(row, Crowds(table, 0)))
        stack.callback(self._thread.close)
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.setblocking(False)
        clients = [stack.enter_context(socket.create_connection(listening.getsockname())) for _ in range(_CLIENTS)]
        self.waiting = [client.getsockname() for client in clients]
        self.welcomed: list[tuple[str, int]] = []
        self.logs = stack.enter_context(capture_logs())
        self.acceptor = Acceptor(listening, self._thread, self._welcome)
        self.acceptor.start()

    def _welcome(self, client: SocketType, address: tuple[str, int]) -> None:
        client.close()
        self.welcomed.append(address)

    def turn(self) -> None:
        """What the thread does when it polls once."""
        mover = self._thread._mover
        mover.handle(mover.epoll.poll(0), self._thread._handle)

    def events(self) -> list[str]:
        return [record["event"] for record in self.logs]


@pytest.fixture
def still() -> Iterator[Still]:
    with ExitStack() as stack:
        yield Still(stack)


@pytest.mark.parametrize(
    "code",
    [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM, errno.EACCES],
    ids=errno.errorcode.get,
)
def test_clients_stay_in_the_queue_while_something_is_used_up_or_forbidden(still: Still, code: int) -> None:
    """It is said when that begins and when it is over, and meanwhile it is looked at only now and then."""
    where_refused("accept4", code, still.turn)
    still.turn()
    where_refused("accept4", code, still.acceptor.expired)
    assert still.events() == ["accepting_paused"]
    assert not still.welcomed
    still.acceptor.expired()
    assert still.welcomed == still.waiting
    assert still.events() == ["accepting_paused", "accepting_resumed"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EMFILE], ids=errno.errorcode.get)
def test_one_that_stops_does_not_wait_for_what_is_used_up_or_forbidden(still: Still, code: int) -> None:
    where_refused("accept4", code, still.acceptor.stop)
    still.turn()
    assert not still.welcomed


LOST = [
    *(errno.ECONNABORTED, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENONET),
]


@pytest.mark.parametrize("code", LOST, ids=errno.errorcode.get)
def test_a_client_that_has_gone_from_the_queue_is_passed_over(still: Still, code: int) -> None:
    """The kernel has nothing to give in its place, and there may be others behind it."""
    where_refused_once("accept4", code, still.turn)
    for _ in still.waiting:
        still.turn()
    assert still.welcomed == still.waiting
    assert not still.events()


def test_a_client_that_has_gone_hides_none_from_an_acceptor_that_stops(still: Still) -> None:
    where_refused_once("accept4", errno.ECONNABORTED, still.acceptor.stop)
    assert still.welcomed == still.waiting
    assert not still.events()


def test_a_client_that_has_gone_hides_none_when_a_pause_is_over(still: Still) -> None:
    where_refused("accept4", errno.EMFILE, still.turn)
    where_refused_once("accept4", errno.ECONNABORTED, still.acceptor.expired)
    assert still.welcomed == still.waiting
    assert still.events() == ["accepting_paused", "accepting_resumed"]
