"""What the tests of probes have in common: a scripted server, over TLS if wanted, and a loop for one attempt."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType

from kubelb.health.probes import Attempt, Result

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def text_answer(status: int, body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 %d Words" % status, *headers, b"Content-Length: %d" % len(body), b"", body))


def tls(server: str, *, clients: str | None = None, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A server's settings. ``server`` is the file of its key and chain, ``clients`` that of the authority from which
    clients must have a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if newest is not None:
        context.maximum_version = newest
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


class WebServer:
    """Gives :attr:`answer` to every request, on as many connections as are made; a thread each, which owns and closes
    its socket. One more thread accepts."""

    def __init__(
        self,
        answer: bytes | None = OK,
        context: ssl.SSLContext | None = None,
        *,
        host: str = "127.0.0.1",
        piece: int = 1 << 20,
        closes: bool = False,
    ) -> None:
        """``answer`` None: it has none, ever. It is sent ``piece`` bytes at a time, and after it the connection is
        closed if it ``closes``."""
        self.answer = answer
        self.context = context
        self.accepted = 0
        self.handshakes = 0
        self.names: list[str | None] = []
        """The SNI of each handshake."""
        self.requests: list[str] = []
        """The head of each, in the order they came."""
        self.ended = 0
        """Connections that are over."""
        self._piece = piece
        self._closes = closes
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=64
        )
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        if context is not None:
            context.sni_callback = lambda _sock, name, _context: self.names.append(name)
        self._accepting = threading.Thread(target=self._accept, name="accept")

    def __enter__(self) -> WebServer:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A close alone would not end an accept that waits.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join()

    def reply(self, _sock: socket.socket, _request: str) -> bytes:
        """What a request is answered, by its head."""
        return self.answer or b""

    def hang_up(self) -> None:
        """End all connections."""
        for sock in tuple(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._open.add(sock)
                self.accepted += 1
                thread = threading.Thread(target=self._serve, args=(sock,), name="serve")
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context is None:
                self._talk(sock)
            else:
                self._talk_tls(sock, self.context)
        self._open.discard(sock)
        self.ended += 1

    def _talk_tls(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        # A copy, so that the descriptor hang_up() knows remains one.
        with context.wrap_socket(sock.dup(), server_side=True, do_handshake_on_connect=False) as wrapped:
            wrapped.do_handshake()
            self.handshakes += 1
            assert wrapped.selected_alpn_protocol() == "http/1.1"
            self._talk(wrapped)

    def _talk(self, sock: socket.socket) -> None:
        held = b""
        while True:
            while b"\r\n\r\n" not in held:
                data = sock.recv(65536)
                if not data:
                    return
                held += data
            request, _, held = held.partition(b"\r\n\r\n")
            self.requests.append(request.decode("ascii"))
            answer = self.reply(sock, self.requests[-1])
            for start in range(0, len(answer), self._piece):
                sock.sendall(answer[start : start + self._piece])
            if self._closes:
                return


def finish(attempt: Attempt) -> Result:
    """Drive it as control's loop does, until it has a result."""
    descriptor = attempt.fileno()
    with selectors.DefaultSelector() as selector:
        while (result := attempt.step()) is None:
            assert attempt.fileno() == descriptor
            selector.register(attempt, attempt.events)
            assert selector.select(30), "it waits for what does not come"
            selector.unregister(descriptor)
    assert attempt.step() == result
    assert result.reason.isprintable()
    assert 0 < len(result.reason) <= 120
    return result


def drive(attempt: Attempt, condition: Callable[[], bool]) -> None:
    """Go on until the condition is met, which has to be before there is a result."""
    with selectors.DefaultSelector() as selector:
        while not condition():
            assert attempt.step() is None
            selector.register(attempt, attempt.events)
            selector.select(0.01)
            selector.unregister(attempt)


def waits(attempt: Attempt) -> bool:
    """Whether it has nothing to do until the server does something."""
    assert attempt.step() is None
    with selectors.DefaultSelector() as selector:
        selector.register(attempt, attempt.events)
        return not selector.select(0)
