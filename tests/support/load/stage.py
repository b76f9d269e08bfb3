"""All that a test under load needs, put together: servers, the proxy before them, the load, and the proxy's file."""

from __future__ import annotations

import re
import resource
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil

from kubelb.config.model.config import Config
from kubelb.config.model.pools import PASSIVE, Health, Server
from kubelb.config.toml.writer import write_toml
from kubelb.config.values import Address, Duration
from kubelb.snapshot import GOOD, SocketAddress
from tests.support import debian
from tests.support.eventually import eventually
from tests.support.load.faults import WorkerKilled
from tests.support.load.loop import Loop
from tests.support.load.records import Plan
from tests.support.load.running import Load
from tests.support.load.servers import Servers
from tests.support.proxy import Proxy, a_config, reserved, running, suspended, target_of

SERVERS = 3
_PROBED = Health(probe="tcp", interval=Duration(0.1), timeout=Duration(0.5), slow_start=Duration(0))
_FOR_LONG = Duration(3600)


class Stage:
    """``base`` is the configuration that the proxy has begun with: one pool with all servers. ``spare`` is another
    address on which it may listen."""

    def __init__(
        self, servers: Servers, proxy: Proxy, load: Load, base: Config, file: Path, spare: SocketAddress
    ) -> None:
        self.servers = servers
        self.proxy = proxy
        self.load = load
        self.base = base
        self.spare = spare
        self._file = file

    def write(
        self,
        members: Collection[int] = range(SERVERS),
        connect_timeout: float = 2,
        workers: int | None = None,
        spare: bool = False,
        **settings: Any,
    ) -> None:
        """Into the proxy's file: the base with these servers only, and so changed: ``spare``: it listens there too;
        ``settings`` are the pool's."""
        (listener,) = self.base.listeners
        listen = (*listener.listen, Address(*self.spare)) if spare else listener.listen
        listener = msgspec.structs.replace(listener, listen=listen, connect_timeout=Duration(connect_timeout))
        pool = self.base.pools["pool"]
        servers = tuple(server for position, server in enumerate(pool.servers) if position in members)
        pool = msgspec.structs.replace(pool, servers=servers, **settings)
        changed = {"listeners": (listener,), "pools": {"pool": pool}, "workers": workers or self.base.workers}
        self._file.write_text(write_toml(msgspec.structs.replace(self.base, **changed)))


@contextmanager
def a_stage(
    directory: Path,
    plan: Plan,
    prepare: Callable[[], None] | None = None,
    environment: Mapping[str, str] | None = None,
    probed: bool = True,
    **settings: Any,
) -> Iterator[Stage]:
    """The load has begun, and every client been served. ``probed``: the servers are probed. ``settings`` are those of
    the whole proxy, the rest is as in
    :func:`~tests.support.proxy.running`."""
    raise_file_limit()
    usable = ["up"] if probed else GOOD
    with ExitStack() as stack:
        addresses = [stack.enter_context(reserved()) for _ in range(SERVERS)]
        listen, spare = (stack.enter_context(reserved()) for _ in range(2))
        config = a_config(listen, [Server(address=Address(*address)) for address in addresses], **settings)
        pool = msgspec.structs.replace(
            config.pools["pool"], health=_PROBED if probed else PASSIVE, drain_timeout=_FOR_LONG
        )
        config = msgspec.structs.replace(config, pools={"pool": pool})
        # Before there is a thread: ``prepare`` runs between fork and exec.
        proxy = stack.enter_context(running(directory, config=config, prepare=prepare, environment=environment))
        loop = stack.enter_context(Loop())
        servers = stack.enter_context(Servers(loop, addresses))
        eventually(lambda: all(server.state in usable for server in proxy.servers()), "all servers are up")
        load = stack.enter_context(Load(loop, listen, plan))
        yield Stage(servers, proxy, load, config, directory / "kubelb.toml", spare)


def raise_file_limit() -> None:
    """To what this process may have: each session takes two sockets here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def kill_worker(victim: psutil.Process, port: int) -> WorkerKilled:
    """``port`` is the one that the proxy listens on."""
    since = time.monotonic()
    # It must take no more clients between the look at whom it has and its end.
    with suspended([victim]):
        fault = WorkerKilled(since, time.monotonic(), clients_of(victim, port))
        victim.kill()
    return fault


def clients_of(worker: psutil.Process, port: int) -> frozenset[int]:
    """The clients' ports of all connections a process has accepted on ``port``."""
    links = (target_of(fd) for fd in Path(f"/proc/{worker.pid}/fd").iterdir())
    inodes = {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)]", link))}
    command = [debian.provided("ss"), "-tneH", "state", "connected", "exclude", "time-wait", "sport", "=", f":{port}"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found = (re.search(r":\d+\s+\S+:(\d+)\s.*\bino:(\d+)\b", line) for line in lines)
    return frozenset(int(match[1]) for match in found if match and match[2] in inodes)
