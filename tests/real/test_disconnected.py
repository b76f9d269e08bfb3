"""A client that has gone when its answer is to be written: that is no fault of ours, whatever it has asked for."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from structlog.testing import capture_logs
from waitress.server import create_server

from kubelb.config.model.http import HttpServer
from kubelb.config.values import Address
from kubelb.control.admin_channel import AdminChannel, OneAnswerChannel, pass_on_warnings
from kubelb.control.endpoint_channel import channel_class
from kubelb.control.timed_channel import TimedChannel

pytestmark = pytest.mark.usefixtures("no_leaks")

ENDPOINT = channel_class(HttpServer(listen=(Address("127.0.0.1", 1),), locations=()))
REQUESTS = {
    "taken": b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "refused": b"GET / HTTP/" + b"9" * 5000 + b".1\r\nHost: a\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\r\n\r\n",
    "too large": b"GET / HTTP/1.1\r\nX: " + b"a" * (300 << 10) + b"\r\n\r\n",
}


class NoThreads:
    """What waitress gives its requests to; the turns are the test's."""

    def set_thread_count(self, count: int) -> None:
        pass

    def add_task(self, channel: TimedChannel) -> None:
        pass

    def shutdown(self) -> None:
        pass


def answer(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [])
    return [b"a", b"b"]


@pytest.mark.parametrize("said", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize(
    "kind", [AdminChannel, OneAnswerChannel, ENDPOINT], ids=["admin", "status page", "health endpoint"]
)
def test_a_client_that_has_gone_when_its_answer_is_written(kind: type[TimedChannel], said: bytes) -> None:
    class Leaving(kind):  # type: ignore[valid-type, misc]
        def write_soon(self, data: object) -> int:
            self.handle_close()
            return int(super().write_soon(data))

    pass_on_warnings()
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listening, ours, theirs, capture_logs() as logs:
        server = create_server(
            answer, map={}, sockets=[listening], _dispatcher=NoThreads(), clear_untrusted_proxy_headers=False
        )
        with closing(server):
            channel = Leaving(server, ours, ("127.0.0.1", 1), server.adj, map={})
            channel.received(said)
            assert channel.requests
            channel.service()
        assert not channel.requests
        assert not logs
