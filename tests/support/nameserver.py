"""A DNS server for a test, over UDP and TCP on one port, whose answers the test changes while it runs."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address

MAX_DATAGRAM = 512
"""Bytes that an answer may have over UDP (RFC 1035, 2.3.4)."""


class NameServer:
    """Its thread owns the sockets."""

    def __init__(self, udp: socket.socket, tcp: socket.socket) -> None:
        self.address: tuple[str, int] = udp.getsockname()
        self.hosts: dict[str, Sequence[str]] = {}
        """Of each name; any other there is not."""
        self.services: dict[str, Sequence[tuple[int, int, int, str]]] = {}
        """SRV records of each name: priority, weight, port and host."""
        self.ttl = 0
        self.code: int | None = None
        """What it says to everybody, such as 2: that it has failed."""
        self.codes: dict[int, int] = {}
        """What it says to whoever asks for records of that type."""
        self.silent = False
        self.asked: list[str] = []
        """How: ``udp`` or ``tcp``."""
        self.udp, self.tcp = udp, tcp

    def serve(self, wake: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in (self.udp, self.tcp, wake):
                selector.register(sock, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if wake in ready:
                    return
                if self.udp in ready:
                    self._answer_datagram()
                if self.tcp in ready:
                    self._answer_stream()

    def _answer_datagram(self) -> None:
        asked, client = self.udp.recvfrom(MAX_DATAGRAM)
        self.asked.append("udp")
        if not self.silent:
            answer = self.answer(asked)
            if len(answer) > MAX_DATAGRAM:
                answer = asked[:2] + struct.pack(">HHHHH", 0x8380, 1, 0, 0, 0) + asked[12:]
            # What comes before it is to nobody's question.
            self.udp.sendto(bytes([answer[0] ^ 1]) + answer[1:], client)
            self.udp.sendto(answer, client)

    def _answer_stream(self) -> None:
        client, _ = self.tcp.accept()
        with client, client.makefile("rb") as stream:
            (size,) = struct.unpack(">H", stream.read(2))
            self.asked.append("tcp")
            answer = self.answer(stream.read(size))
            client.sendall(struct.pack(">H", len(answer)) + answer)

    def answer(self, asked: bytes) -> bytes:
        at, labels = 12, []
        while size := asked[at]:
            labels.append(asked[at + 1 : at + 1 + size].decode())
            at += 1 + size
        (kind,) = struct.unpack_from(">H", asked, at + 1)
        name = ".".join(labels)
        known = name in self.hosts or name in self.services
        code = (0 if known else 3) if self.code is None else self.code
        code = self.codes.get(kind, code)
        found = self._services(name) if kind == 33 else self._addresses(name, kind)
        header = asked[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(found), 0, 0)
        records = [struct.pack(">HHHIH", 0xC00C, kind, 1, self.ttl, len(packed)) + packed for packed in found]
        return header + asked[12:] + b"".join(records)

    def _addresses(self, name: str, kind: int) -> list[bytes]:
        return [ip_address(host).packed for host in self.hosts.get(name, ()) if kind == (28 if ":" in host else 1)]

    def _services(self, name: str) -> list[bytes]:
        return [
            struct.pack(">HHH", *numbers)
            + b"".join(bytes([len(part)]) + part.encode() for part in host.split(".") if part)
            + b"\0"
            for *numbers, host in self.services.get(name, ())
        ]


@contextmanager
def a_name_server() -> Iterator[NameServer]:
    while True:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
            break
        except OSError:
            tcp.close()
            udp.close()
    ours, wake = socket.socketpair()
    with tcp, udp, wake:
        server = NameServer(udp, tcp)
        thread = threading.Thread(target=server.serve, args=(wake,), name="nameserver")
        thread.start()
        try:
            yield server
        finally:
            ours.close()
            thread.join()
