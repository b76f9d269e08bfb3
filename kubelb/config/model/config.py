"""The whole of a configuration; pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from kubelb.config.faults import Places
from kubelb.config.model.http import HttpServer
from kubelb.config.model.listeners import Listener
from kubelb.config.model.logs import Log
from kubelb.config.model.pools import Pool
from kubelb.config.model.settings import Settings
from kubelb.config.model.variables import Variable
from kubelb.config.values import Address, Duration

RUNTIME_DIR = "/run/kubelb"
"""Of a proxy that is not told otherwise."""


class Admin(Settings, frozen=True, kw_only=True):
    """What can be looked at over TCP: health, state and metrics of the proxy itself. Nothing can be changed there."""

    listen: Address | None = None
    """None: nothing; admin.sock is always there."""


class Process(Settings, frozen=True, kw_only=True):
    """How the processes run."""

    user: str | None = None
    """Whom workers and control run as where the supervisor is root; None: as the supervisor does."""
    group: str | None = None
    """None: the user's own."""
    pid_file: str | None = None
    """Where the supervisor's pid is written beside the runtime directory, for whoever looks there; None: nowhere."""
    priority: int = 0
    """Of the workers: nice values, -20 to 19."""
    cpus: tuple[tuple[int, ...], ...] = ()
    """For each worker in turn the CPUs it may run on, the last for all that follow; empty: any. With ``pin`` it keeps
    to one of them."""
    max_connections: int | None = None
    """Most connections of a worker: a session is two, each address listened on and the supervisor's channel one."""


class Config(Settings, frozen=True, kw_only=True):
    """A whole proxy."""

    workers: int | Literal["auto"] = "auto"
    """Data-plane processes; auto: one a CPU, at most 4."""
    threads: int | Literal["auto", "per-connection"] = "auto"
    """Relay threads a worker; auto: one, and one more for each session that moves bulk data."""
    pin: bool = False
    """Each worker on a CPU of its own."""
    runtime_dir: str = RUNTIME_DIR
    """Directory of the pid file and admin.sock."""
    max_open_files: int | None = None
    """File descriptors a process may have; None: the hard limit."""
    shutdown_timeout: Duration | None = None
    """How long sessions may take to end after a graceful stop; None: as long as they like."""
    process: Process = Process()
    log: Log = Log()
    admin: Admin = Admin()
    variables: dict[str, Variable] = msgspec.field(default_factory=dict, name="variable")
    """By their names, in lower case."""
    listeners: tuple[Listener, ...] = msgspec.field(default=(), name="listener")
    pools: dict[str, Pool] = msgspec.field(default_factory=dict, name="pool")
    http: tuple[HttpServer, ...] = ()


class Loaded(msgspec.Struct, frozen=True):
    """What a reader gives: the configuration, one line for each setting accepted without effect, and where the
    settings stood."""

    config: Config
    warnings: tuple[str, ...] = ()
    places: Places = {}
    daemon: bool = False
    """Whether nginx would go to the background with it."""
