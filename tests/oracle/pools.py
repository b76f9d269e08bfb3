"""One pool, asked twice: behind a real nginx, and through kubelb's selectors."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec.structs import replace

from kubelb.balance.eligible import eligible
from kubelb.balance.passive import Streak, after_failure, failing
from kubelb.balance.selector import make_selector
from kubelb.config.model.pools import Balance
from kubelb.config.values import Address
from kubelb.config.variables import Client, Worker, compile_key
from kubelb.snapshot import Pool, Server, SocketAddress
from tests.support.identity import name_of
from tests.support.nginx import PREAMBLE, listen, running_nginx

FAIL_TIMEOUT = 3600
"""Seconds; longer than any test, so that nothing here depends on the clock."""
_DIRECTIVES: dict[Balance, str] = {
    "round_robin": "",
    "least_conn": "least_conn;",
    "hash": 'hash "{}";',
    "consistent_hash": 'hash "{}" consistent;',
}


def a_client(rng: random.Random) -> str:
    """A source address any loopback interface has."""
    return f"127.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"


def a_pool(
    rng: random.Random,
    balance: Balance,
    addresses: Sequence[SocketAddress],
    *,
    down: float = 0,
    backup: float = 0,
    max_conns: Sequence[int] = (0,),
    max_fails: Sequence[int] = (1,),
    hash_key: str = "$remote_addr",
) -> Pool:
    """Up to 9 of ``addresses``, each under one of its names; ``down`` and ``backup`` are probabilities."""
    servers: list[Server] = []
    for address in rng.sample(addresses, rng.randint(1, min(9, len(addresses)))):
        host = rng.choice(_spellings(address[0]))
        settings = Server(
            slot=1,
            name=str(Address(host, address[1])),
            address=address,
            weight=rng.choice((1, 1, 1, 2, 3, 5, 9)),
            max_fails=rng.choice(max_fails),
            fail_timeout=FAIL_TIMEOUT,
            max_conns=rng.choice(max_conns),
            backup=bool(servers) and rng.random() < backup,
            state="disabled" if rng.random() < down else "unknown",
        )
        servers += [replace(settings, address=(found, address[1])) for found in resolve(host)]
    return Pool(name="pool", balance=balance, hash_key=hash_key, servers=tuple(servers))


def resolve(host: str) -> list[str]:
    """The addresses of ``host`` in nginx's order: IPv4 first."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for family in (socket.AF_INET, socket.AF_INET6) for info in found if info[0] == family]


def _spellings(host: str) -> list[str]:
    if ":" in host:
        return [host]
    last = host.rpartition(".")[2]
    names = ["localhost", "LocalHost", "LOCALHOST"] if host == "127.0.0.1" else [f"127.{last}", f"127.0.{last}"]
    return [host, *names]


@contextmanager
def behind_nginx(
    directory: Path, pools: Sequence[Pool], *, under: Sequence[str] = ()
) -> Iterator[list[SocketAddress]]:
    """Run one nginx with a listener for each pool; yields where to reach them, in order."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(listen()) for _ in pools]
        addresses: list[SocketAddress] = [listener.getsockname() for listener in listeners]
        blocks = [
            _block(f"pool{number}", pool, address)
            for number, (pool, address) in enumerate(zip(pools, addresses, strict=True))
        ]
        config = f"""{PREAMBLE}
            user root root;
            worker_processes 1;
            events {{ worker_connections 4096; }}
            stream {{ {"".join(blocks)} }}
        """
        with running_nginx(directory, config, listeners, under=under):
            yield addresses


def _block(name: str, pool: Pool, address: SocketAddress) -> str:
    # One line a configured name: nginx resolves it to all of its addresses itself.
    lines = dict.fromkeys(_line(server) for server in pool.servers)
    return f"""
        upstream {name} {{ {_DIRECTIVES[pool.balance].format(pool.hash_key)} {"".join(lines)} }}
        server {{ listen {name_of(address)}; proxy_pass {name}; }}
    """


def _line(server: Server) -> str:
    flags = f"{' backup' if server.backup else ''}{' down' if server.state == 'disabled' else ''}"
    return (
        f"server {server.name} weight={server.weight} max_fails={server.max_fails} fail_timeout={FAIL_TIMEOUT}s"
        f" max_conns={server.max_conns}{flags};"
    )


class Kubelb:
    """What one worker does with the same clients, one after the other."""

    def __init__(
        self, pool: Pool, reachable: Collection[SocketAddress], listener: SocketAddress = ("127.0.0.1", 1)
    ) -> None:
        self._listener = listener
        self._servers = pool.servers
        self._reachable = reachable
        self._selector = make_selector(pool)
        self._key = compile_key(pool.hash_key, Worker(os.uname().nodename, os.getpid()))
        self._streaks = [Streak() for _ in pool.servers]
        self._conns = [0 for _ in pool.servers]
        self._rng = random.Random(0)

    def keep(self, client: str) -> int | None:
        """The position of the server that ``client`` reaches, which then has one session more."""
        tried: set[int] = set()
        key = self._key(Client(1, (client, 1), self._listener))
        while left := eligible(self._servers, self._conns, self._failing(), tried):
            position = self._selector.pick(left, self._conns, key, self._rng)
            if self._servers[position].address in self._reachable:
                self._conns[position] += 1
                return position
            tried.add(position)
            self._streaks[position] = after_failure(self._streaks[position], 0, 1)
        return None

    def leave(self, position: int | None) -> None:
        """A session that :meth:`keep` gave this position has ended."""
        if position is not None:
            self._conns[position] -= 1

    def name(self, position: int | None) -> str:
        """What the server says; "" where there is none."""
        return "" if position is None else name_of(self._servers[position].address)

    def ask(self, client: str) -> str:
        """A session that ends at once."""
        position = self.keep(client)
        self.leave(position)
        return self.name(position)

    def _failing(self) -> set[int]:
        return {
            position
            for position, (server, streak) in enumerate(zip(self._servers, self._streaks, strict=True))
            if failing([streak], server.max_fails, FAIL_TIMEOUT * 10**9, 1)
        }
