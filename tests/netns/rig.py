"""What the chaos tests are made of: three apiserver stand-ins in a network, clients in its node, and the real proxy
between them."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Listener
from kubelb.config.model.pools import Health, Pool, Server
from kubelb.config.values import Address
from kubelb.snapshot import State
from kubelb.standin import certificates
from kubelb.standin.process import Standin
from tests.support.eventually import eventually
from tests.support.garbage import garbage
from tests.support.netns import Network
from tests.support.proxy import Proxy, running

PORT = 6443
LISTEN = Address("127.0.0.1", PORT)
NAMES = "abc"
A, B, C = range(3)
_HELD = 10.0
"""Seconds without an answer after which a client says that it was held."""
_PAUSE = 0.03
"""Seconds between two visits of a visitor."""


class Held(Exception):
    """The proxy neither served a client nor told it so."""


class Cluster:
    """The servers of a network, each with a stand-in, named a, b and c."""

    def __init__(self, network: Network, directory: Path) -> None:
        """Not started yet; the certificates are written to ``directory``."""
        made = certificates.make(directory, *network.hosts)
        self.network = network
        self.authority = made.authority
        self.trust = ssl.create_default_context(cafile=str(made.authority))
        self.standins = [
            Standin(name, made.server, host=host, port=PORT) for name, host in zip(NAMES, network.hosts, strict=True)
        ]

    def start(self, *servers: int) -> None:
        """Those that do not run."""
        for server in servers:
            if not self.standins[server].alive:
                self.standins[server].stop()
                with self.network.servers[server].entered():
                    self.standins[server].start()

    def kill(self, *servers: int) -> float:
        """As ``kill -9``; the moment since when they are dead."""
        for server in servers:
            self.standins[server].kill()
        return time.monotonic()

    @contextmanager
    def hung(self, server: int) -> Iterator[None]:
        """Its process stands still within, so the kernel accepts connections for it, and nobody answers."""
        process = psutil.Process(self.standins[server].pid)
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    @contextmanager
    def garbage(self, server: int) -> Iterator[None]:
        """In place of its stand-in, which is killed, there is something else within."""
        self.kill(server)
        with ExitStack() as stack:
            with self.network.servers[server].entered():
                stack.enter_context(garbage(self.network.hosts[server], PORT))
            yield

    def pids(self) -> set[int]:
        """Of the stand-ins that run."""
        return {standin.pid for standin in self.standins if standin.pid is not None}

    def stop(self) -> None:
        for standin in self.standins:
            standin.stop()

    def connection(self) -> http.client.HTTPSConnection:
        """To the proxy; to be used within the node."""
        return http.client.HTTPSConnection(str(LISTEN.host), LISTEN.port, timeout=_HELD, context=self.trust)

    @contextmanager
    def sessions(self, count: int = 12) -> Iterator[list[Session]]:
        """So many that stay, each idle, some on each server even where visitors come and go meanwhile."""
        with ExitStack() as stack, self.network.node.entered():
            yield [stack.enter_context(Session(self.connection())) for _ in range(count)]

    def visit(self) -> str:
        """The name of the server that answers a new client. Raises :class:`OSError` or :class:`Held`."""
        with self.network.node.entered(), closing(self.connection()) as connection:
            return ask(connection)


def ask(connection: http.client.HTTPSConnection) -> str:
    """Who is there? Raises :class:`OSError` when the connection fails, :class:`Held` when nothing happens."""
    try:
        connection.request("GET", "/version")
        response = connection.getresponse()
        response.read()
    except TimeoutError:
        raise Held(f"no answer within {_HELD:g} seconds") from None
    except http.client.HTTPException as error:
        raise ConnectionError(f"cut off: {error!r}") from error
    return response.headers["X-Standin"]


class Session:
    """A client that keeps its connection."""

    def __init__(self, connection: http.client.HTTPSConnection) -> None:
        self._connection = connection
        self.server = ask(connection)
        """The name of who serves it."""
        self.port: int = connection.sock.getsockname()[1]

    def carries(self) -> bool:
        """Whether bytes still get through, to the same server and back."""
        try:
            return ask(self._connection) == self.server
        except OSError:
            return False

    def send(self) -> None:
        """Ask and do not wait for the answer."""
        self._connection.request("GET", "/version")

    def answered(self) -> None:
        """Until the answer to what was sent is there."""
        self._connection.getresponse().read()

    def wait_for_end(self) -> None:
        """Until there is nothing more to come, in whatever way."""
        self.is_reset()

    def is_reset(self) -> bool:
        """Whether its end, which is waited for, is a reset."""
        self._connection.sock.settimeout(30)
        try:
            # Beneath TLS, for Python's tells a reset and an end apart in some versions only.
            while socket.socket.recv(self._connection.sock, 4096):
                pass
        except ConnectionResetError:
            return True
        return False

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()


def of(sessions: Sequence[Session], server: int) -> list[Session]:
    """Those that this server serves; there are some."""
    found = [session for session in sessions if session.server == NAMES[server]]
    assert found
    return found


def but(sessions: Sequence[Session], server: int) -> list[Session]:
    """Those that others serve."""
    return [session for session in sessions if session.server != NAMES[server]]


@dataclass(frozen=True)
class Visit:
    """One client's short connection; times are seconds of the monotonic clock."""

    began: float
    ended: float
    server: str
    """Who served it; empty: nobody."""
    fault: str


class Visitors:
    """A context manager: threads, in the node, that connect anew again and again; each owns its connection."""

    def __init__(self, cluster: Cluster, count: int = 2) -> None:
        self._cluster = cluster
        self._stopping = threading.Event()
        self._visits: list[Visit] = []
        self._threads = [threading.Thread(target=self._run, name=f"visitor-{number}") for number in range(count)]

    def _run(self) -> None:
        while not self._stopping.wait(_PAUSE):
            self._visits.append(self._visit())

    def _visit(self) -> Visit:
        began, server, fault = time.monotonic(), "", ""
        try:
            server = self._cluster.visit()
        except (OSError, Held) as error:
            fault = repr(error)
        return Visit(began, time.monotonic(), server, fault)

    def visits(self, since: float = 0) -> list[Visit]:
        """Those that began later."""
        return [visit for visit in tuple(self._visits) if visit.began > since]

    def failures(self, since: float = 0) -> list[Visit]:
        return [visit for visit in self.visits(since) if visit.fault]

    def held(self, since: float) -> list[Visit]:
        """Those that were left to wait."""
        return [visit for visit in self.failures(since) if visit.fault.startswith(Held.__name__)]

    def wait_for(self, count: int, since: float) -> Counter[str]:
        """Who served how many of the visits since then, once there are so many, none of which failed."""
        eventually(lambda: len(self.visits(since)) >= count, f"{count} visits")
        assert self.failures(since) == []
        return Counter(visit.server for visit in self.visits(since))

    def wait_for_server(self, name: str, since: float) -> None:
        """Until one that began since then was served by that server."""
        eventually(lambda: any(visit.server == name for visit in self.visits(since)), f"somebody comes to {name}")

    def settled(self) -> float:
        """The moment when a few more have come and gone: by then the workers know what control knows now."""
        now = time.monotonic()
        eventually(lambda: len(self.visits(now)) >= 2 * len(self._threads), "more visits")
        return time.monotonic()

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def proxied(cluster: Cluster, directory: Path, **settings: Any) -> Iterator[Proxy]:
    """The proxy, in the node, before the servers of the cluster.

    ``settings`` are of the pool; without them it is as by default, but that certificates are checked.
    """
    servers = tuple(Server(address=Address(host, PORT)) for host in cluster.network.hosts)
    pool = Pool(**{"servers": servers, "health": Health(ca_file=str(cluster.authority)), **settings})
    config = Config(workers=2, listeners=(Listener(listen=(LISTEN,), pool="pool"),), pools={"pool": pool})
    with ExitStack() as stack:
        with cluster.network.node.entered():
            proxy = stack.enter_context(running(directory, config=config))
        yield proxy


def state(proxy: Proxy, server: int) -> State:
    return proxy.servers()[server].state


def wait_for_state(proxy: Proxy, server: int, *wanted: State) -> float:
    """Until the server is in one of these; the moment."""
    eventually(
        lambda: state(proxy, server) in wanted,
        f"{NAMES[server]} is {' or '.join(wanted)}",
    )
    return time.monotonic()


def wait_until_up(proxy: Proxy) -> None:
    for server in range(len(NAMES)):
        wait_for_state(proxy, server, "up")


def wait_for_probe(proxy: Proxy, server: int) -> None:
    """Until a probe that began later has passed."""
    now = time.time()

    def passed() -> bool:
        probe = proxy.servers()[server].probe
        return probe is not None and not probe.fault and probe.at - probe.seconds > now

    eventually(passed, "a probe has passed")
