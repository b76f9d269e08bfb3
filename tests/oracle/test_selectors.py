"""kubelb picks the servers that nginx picks: the same pools and the same clients, through both."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import pytest
from msgspec.structs import replace

from kubelb.config.model.pools import Balance
from kubelb.snapshot import Pool, Server, SocketAddress
from tests.oracle.pools import FAIL_TIMEOUT, Kubelb, a_client, a_pool, behind_nginx
from tests.support.identity import IdentityServers, ask, keep, leave
from tests.support.requirements import missing

_POOLS = 40
_CLIENTS = 30


def _compare(
    directory: Path, pools: Sequence[Pool], reachable: Collection[SocketAddress], rng: random.Random
) -> None:
    with behind_nginx(directory, pools) as listeners:
        for pool, listener in zip(pools, listeners, strict=True):
            clients = [a_client(rng) for _ in range(_CLIENTS)]
            ours = Kubelb(pool, reachable, listener)
            assert [ours.ask(client) for client in clients] == [ask(listener, client) for client in clients], pool


@pytest.mark.parametrize("balance", ["hash", "consistent_hash", "round_robin", "least_conn"])
def test_any_pool(balance: Balance, tmp_path: Path, reachable: list[SocketAddress]) -> None:
    rng = random.Random(1)
    _compare(tmp_path, [a_pool(rng, balance, reachable) for _ in range(_POOLS)], reachable, rng)


@pytest.mark.parametrize("balance", ["hash", "consistent_hash", "round_robin", "least_conn"])
def test_servers_that_are_down(balance: Balance, tmp_path: Path, reachable: list[SocketAddress]) -> None:
    rng = random.Random(2)
    pools = [a_pool(rng, balance, reachable, down=rng.choice((0.3, 0.6, 0.9))) for _ in range(_POOLS)]
    _compare(tmp_path, pools, reachable, rng)


@pytest.mark.parametrize("balance", ["hash", "consistent_hash"])
def test_where_the_search_for_a_server_is_given_up(
    balance: Balance, tmp_path: Path, reachable: list[SocketAddress]
) -> None:
    rng = random.Random(9)
    pools = []
    for _ in range(10):
        heavy, *light = a_pool(rng, balance, rng.sample(reachable, 5)).servers
        servers = (replace(heavy, weight=100, state="disabled"), *(replace(server, weight=1) for server in light))
        pools.append(Pool(name="pool", balance=balance, hash_key="$remote_addr", servers=servers))
    _compare(tmp_path, pools, reachable, rng)


@pytest.mark.parametrize("balance", ["round_robin", "least_conn"])
def test_backups(
    balance: Balance, tmp_path: Path, reachable: list[SocketAddress], unreachable: list[SocketAddress]
) -> None:
    rng = random.Random(3)
    addresses = [*rng.sample(reachable, 6), *rng.sample(unreachable, 4)]
    pools = [
        a_pool(rng, balance, addresses, backup=0.6, down=0.2, max_fails=(rng.choice((0, 1)),)) for _ in range(_POOLS)
    ]
    _compare(tmp_path, pools, reachable, rng)


@pytest.mark.parametrize("balance", ["round_robin", "least_conn"])
def test_servers_that_refuse(
    balance: Balance, tmp_path: Path, reachable: list[SocketAddress], unreachable: list[SocketAddress]
) -> None:
    rng = random.Random(4)
    addresses = [*rng.sample(reachable, 6), *rng.sample(unreachable, 4)]
    pools = [a_pool(rng, balance, addresses, max_fails=(0, 1)) for _ in range(_POOLS)]
    _compare(tmp_path, pools, reachable, rng)


@pytest.mark.parametrize("balance", ["hash", "consistent_hash"])
def test_keys_of_servers_that_refuse(
    balance: Balance, tmp_path: Path, reachable: list[SocketAddress], unreachable: list[SocketAddress]
) -> None:
    rng = random.Random(5)
    pools: list[Pool] = []
    while len(pools) < _POOLS:
        pool = a_pool(rng, balance, [*rng.sample(reachable, 6), *rng.sample(unreachable, 3)], max_fails=(0, 1))
        # nginx leaves what a session has tried out of its 20 tries, kubelb does not: keep away from that end.
        if sum(server.weight * (1 if server.address in reachable else -1) for server in pool.servers) >= 0:
            pools.append(pool)
    _compare(tmp_path, pools, reachable, rng)


@pytest.mark.parametrize(
    "hash_key",
    [
        *("a-$remote_addr", "${remote_addr}b", "$remote_addr $remote_addr", "constant"),
        *("$binary_remote_addr", "$hostname/$Binary_Remote_Addr$server_addr:${server_port}$proxy_protocol_addr"),
    ],
)
@pytest.mark.parametrize("balance", ["hash", "consistent_hash"])
def test_keys_with_text(hash_key: str, balance: Balance, tmp_path: Path, reachable: list[SocketAddress]) -> None:
    rng = random.Random(6)
    _compare(tmp_path, [a_pool(rng, balance, reachable, hash_key=hash_key) for _ in range(5)], reachable, rng)


@dataclass(frozen=True)
class _Session:
    client: socket
    position: int | None


@pytest.mark.parametrize("balance", ["least_conn", "round_robin", "hash", "consistent_hash"])
def test_sessions_that_stay(balance: Balance, tmp_path: Path, staying: list[SocketAddress]) -> None:
    rng = random.Random(7)
    pools = [a_pool(rng, balance, staying, max_conns=rng.choice(((0,), (0, 1, 2, 4)))) for _ in range(_POOLS)]
    with behind_nginx(tmp_path, pools) as listeners:
        for pool, listener in zip(pools, listeners, strict=True):
            _come_and_go(pool, listener, Kubelb(pool, staying), rng)


def _come_and_go(pool: Pool, listener: SocketAddress, ours: Kubelb, rng: random.Random) -> None:
    sessions: list[_Session] = []
    for _ in range(_CLIENTS):
        if sessions and rng.random() < 0.35:
            session = sessions.pop(rng.randrange(len(sessions)))
            leave(session.client)
            ours.leave(session.position)
        else:
            source = a_client(rng)
            client, name = keep(listener, source)
            sessions.append(_Session(client, ours.keep(source)))
            assert ours.name(sessions[-1].position) == name, (pool, sessions)
    for session in sessions:
        leave(session.client)


@pytest.mark.parametrize("balance", ["consistent_hash", "hash", "round_robin", "least_conn"])
def test_names_with_several_addresses(balance: Balance, tmp_path: Path) -> None:
    rng = random.Random(8)
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "127.0.0.5 api.test\n127.0.0.3 api.test\n127.0.0.9 api.test\n127.0.0.2 two.test\n127.0.0.7 two.test\n"
    )
    under = _with_hosts(hosts)
    with IdentityServers(["0.0.0.0"]) as anywhere:
        port = anywhere.addresses[0][1]
        servers = [
            Server(slot=1, name=f"{host}:{port}", address=(address, port), weight=weight, fail_timeout=FAIL_TIMEOUT)
            for host, weight in (("two.test", 2), ("127.0.0.4", 3), ("api.test", 1), ("127.0.0.4", 2))
            for address in _resolved(host, under)
        ]
        assert len(servers) == 7
        pool = Pool(name="pool", balance=balance, hash_key="$remote_addr", servers=tuple(servers))
        clients = [a_client(rng) for _ in range(200)]
        ours = Kubelb(pool, [server.address for server in servers])
        with behind_nginx(tmp_path, [pool], under=under) as [listener]:
            assert [ours.ask(client) for client in clients] == [ask(listener, client) for client in clients]


def _with_hosts(hosts: Path) -> list[str]:
    """A command after which the rest of the line runs with ``hosts`` as its /etc/hosts, in a mount namespace."""
    unshare = shutil.which("unshare") or missing("unshare (util-linux)")
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    under = [unshare, "--mount", *rights, "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)]
    if subprocess.run([*under, "true"], capture_output=True, check=False).returncode:
        missing("the right to make a mount namespace")
    return under


def _resolved(host: str, under: Sequence[str]) -> list[str]:
    program = "import sys; from tests.oracle.pools import resolve; print(*resolve(sys.argv[1]))"
    return subprocess.run(
        [*under, sys.executable, "-c", program, host], capture_output=True, check=True, text=True
    ).stdout.split()
