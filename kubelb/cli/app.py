"""The ``kubelb`` command: one function a subcommand, no logic.

What a subcommand needs is imported when it is called: ``run`` has to be up fast and stay small.
"""

from __future__ import annotations

import os
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

import kubelb
from kubelb.cli.usage import BadValue, Group, OneOf, Seconds
from kubelb.config.flags_reader import Flags
from kubelb.config.model.config import RUNTIME_DIR
from kubelb.config.model.pools import OnDown
from kubelb.config.overrides import Overrides, parse_probing, parse_rebalance, parse_threads, parse_workers
from kubelb.config.sources import Sources
from kubelb.config.values import parse_duration
from kubelb.log import LEVELS
from kubelb.reasons import ValueFault

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(readable=False)
"""Completed by the shell as one, and not looked at here."""


def _read_by(parse: Callable[[str], object]) -> Callable[[click.Context, click.Parameter, str | None], object]:
    """An option's value by a parser of the configuration's; what that refuses is a wrong command line."""

    def read(_context: click.Context, _option: click.Parameter, value: str | None) -> object:
        try:
            return None if value is None else parse(value)
        except ValueFault as error:
            raise BadValue(str(error)) from None

    return read


_SOURCES = (
    click.option("--config", metavar="FILE", type=_FILE, help="TOML configuration."),
    click.option("--nginx-conf", metavar="FILE", type=_FILE, help="nginx.conf, as it is."),
    click.option("--listen", metavar="HOST:PORT", multiple=True, help="Accept here; with --server. Repeatable."),
    click.option("--server", metavar="HOST:PORT", multiple=True, help="Carry sessions there. Repeatable."),
    click.option("--balance", metavar="HOW", help="With --listen: least_conn (default), round_robin, hash ..."),
    click.option("--connect-timeout", metavar="TIME", help="With --listen: time until some server accepts (2s)."),
    click.option("--idle-timeout", metavar="TIME", help="With --listen: end sessions silent for so long (never)."),
)
_OVERRIDES = (
    click.option(
        "--runtime-dir", metavar="DIR", type=_FILE, help="Directory of the pid file and admin.sock (/run/kubelb)."
    ),
    click.option(
        "--workers",
        metavar="N|auto",
        callback=_read_by(parse_workers),
        help="Data-plane processes (auto: a CPU each, at most 4).",
    ),
    click.option(
        "--threads",
        metavar="N|auto|per-connection",
        callback=_read_by(parse_threads),
        help="Relay threads a worker.",
    ),
    click.option("--pin/--no-pin", default=None, help="Each worker on a CPU of its own."),
    click.option("--log-level", type=OneOf(list(LEVELS)), help="The least that is logged (info)."),
    click.option("--access-log/--no-access-log", default=None, help="Log each client when all is over."),
    click.option(
        "--health",
        metavar="PROBE",
        callback=_read_by(parse_probing),
        help="Probe the servers of every pool: off, tcp, tls, http:/path, https:/path (KUBELB_HEALTH).",
    ),
    click.option(
        "--health-ca", metavar="FILE", type=_FILE, help="Whom their certificates must come from (KUBELB_HEALTH_CA)."
    ),
    click.option(
        "--kubeconfig",
        metavar="FILE",
        type=_FILE,
        help="Whom probes trust, and as whom they ask, such as the kubelet's; probe by https (KUBELB_KUBECONFIG).",
    ),
    click.option(
        "--on-down",
        type=OneOf(typing.get_args(OnDown)),
        help="What the sessions of a dead server get (KUBELB_ON_DOWN).",
    ),
    click.option(
        "--drain-timeout",
        metavar="TIME",
        callback=_read_by(parse_duration),
        help="How long sessions may stay on a server that drains (KUBELB_DRAIN_TIMEOUT).",
    ),
    click.option(
        "--rebalance",
        metavar="TIME|off",
        callback=_read_by(parse_rebalance),
        help="How often idle sessions of the fullest server are looked for, to be closed (KUBELB_REBALANCE).",
    ),
)


def _configured(command: F) -> F:
    """Add the options that say what the configuration is."""
    for option in reversed((*_SOURCES, *_OVERRIDES)):
        command = option(command)
    return command


def _read(options: dict[str, Any]) -> tuple[Sources, Overrides]:
    sources = Sources(
        config=options["config"],
        nginx_conf=options["nginx_conf"],
        flags=Flags(
            listen=options["listen"],
            server=options["server"],
            balance=options["balance"],
            connect_timeout=options["connect_timeout"],
            idle_timeout=options["idle_timeout"],
        ),
        environment=os.environ,
    )
    overrides = Overrides(
        runtime_dir=options["runtime_dir"],
        workers=options["workers"],
        threads=options["threads"],
        pin=options["pin"],
        log_level=options["log_level"],
        access_log=options["access_log"],
        health=options["health"],
        health_ca=options["health_ca"],
        kubeconfig=options["kubeconfig"],
        on_down=options["on_down"],
        drain_timeout=options["drain_timeout"],
        rebalance=options["rebalance"],
    )
    return sources, overrides


_of_running = click.option(
    "--runtime-dir",
    metavar="DIR",
    type=_FILE,
    default=RUNTIME_DIR,
    show_default=True,
    help="That of the running proxy.",
)
"""Where the proxy is that a command asks."""


def _command(command: F) -> F:
    """Add what says which server."""
    for option in (_of_running, click.option("--pool", metavar="POOL", help="Only in this one.")):
        command = option(command)
    return click.argument("server", metavar="SERVER")(command)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(kubelb.__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Carry this node's TLS connections to whichever kube-apiservers are alive.

    Without --config, --nginx-conf or --listen, CP_HOSTS=a,b,c in the environment means RKE's configuration.
    """


@main.command()
@_configured
def run(**options: Any) -> None:
    """Run the proxy in the foreground.

    TERM and INT stop it at once; QUIT lets its sessions end first; HUP has its configuration read anew.
    """
    from kubelb.cli.run import run

    sys.exit(run(*_read(options)))


@main.command()
@_configured
def check(**options: Any) -> None:
    """Say whether the configuration can be run: exit 0, or one line a fault and exit 1."""
    from kubelb.cli.check import check

    sys.exit(check(*_read(options)))


@main.command()
@click.argument("nginx_conf", metavar="NGINX.CONF", type=_FILE)
def convert(nginx_conf: str) -> None:
    """Print the same proxy as TOML."""
    from kubelb.cli.convert import convert

    sys.exit(convert(Sources(nginx_conf=nginx_conf)))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As admin.sock answers it.")
@_of_running
def status(as_json: bool, runtime_dir: str) -> None:
    """Print the servers as they are this moment: state, since when, why, sessions, last probe."""
    from kubelb.cli.status import status

    sys.exit(status(Path(runtime_dir), as_json))


@main.command()
@click.option("--server", metavar="SERVER", help="Only those with this one, a name as configured or an address.")
@click.option("--pool", metavar="POOL", help="Only those of this pool.")
@click.option("--json", "as_json", is_flag=True, help="As admin.sock answers it.")
@_of_running
def sessions(server: str | None, pool: str | None, as_json: bool, runtime_dir: str) -> None:
    """Print the sessions there are this moment: client, server, age, bytes, how long idle.

    Exit 1 if not all workers have told theirs in time.
    """
    from kubelb.cli.sessions import sessions

    sys.exit(sessions(Path(runtime_dir), server, pool, as_json))


@main.command()
@click.option(
    "--every",
    metavar="SECONDS",
    type=Seconds(min=0.1, max=3600),
    default=1.0,
    show_default=True,
    help="How often to look.",
)
@_of_running
def top(every: float, runtime_dir: str) -> None:
    """Watch servers and sessions live: states, sessions, rates.

    q quits; s cycles what sessions are sorted by, r reverses that; arrows, j and k scroll; p pauses.
    """
    from kubelb.cli.top import top

    sys.exit(top(Path(runtime_dir), every))


@main.command()
@_of_running
def reload(runtime_dir: str) -> None:
    """Have the running proxy read its configuration anew: exit 0, or one line a fault, exit 1, and nothing changed.

    Pools, servers, timeouts, health and the access log change; sessions whose server stays are not touched.
    """
    from kubelb.cli.reload import reload

    sys.exit(reload(Path(runtime_dir)))


@main.command()
@_of_running
def upgrade(runtime_dir: str) -> None:
    """Put the kubelb that is installed now in the place of the running one, which keeps every session.

    Exit 0 once all sessions are with the new one; or one line a fault, exit 1, and the old one runs on. The
    configuration is read anew, and all of it may have changed but runtime_dir.
    """
    from kubelb.cli.upgrade import upgrade

    sys.exit(upgrade(Path(runtime_dir)))


@main.command()
@click.option("--graceful", is_flag=True, help="Let its sessions end first, for at most shutdown_timeout.")
@_of_running
def stop(graceful: bool, runtime_dir: str) -> None:
    """Have the running proxy end: exit 0 once it has gone."""
    from kubelb.cli.stop import stop

    sys.exit(stop(Path(runtime_dir), graceful))


@main.command()
@_command
def drain(server: str, pool: str | None, runtime_dir: str) -> None:
    """Send no new session to SERVER, a name as configured or an address.

    Sessions it has may stay for its pool's drain_timeout; then they are reset, if another server is up.
    """
    from kubelb.cli.drain import drain

    sys.exit(drain(Path(runtime_dir), server, pool))


@main.command()
@_command
def undrain(server: str, pool: str | None, runtime_dir: str) -> None:
    """Use SERVER again."""
    from kubelb.cli.drain import undrain

    sys.exit(undrain(Path(runtime_dir), server, pool))


@main.command()
@click.option("--seconds", type=Seconds(min=0), help="End by itself after so long.")
@click.option("--kill-after", type=Seconds(min=0), help="Kill one stand-in after so many seconds.")
@click.option("--listen", metavar="HOST:PORT", help="The proxy's address (127.0.0.1:6443, or a free port).")
def demo(seconds: float | None, kill_after: float | None, listen: str | None) -> None:
    """Three throwaway TLS apiserver stand-ins, the proxy before them, and a live table."""
    from kubelb.cli.demo import demo

    sys.exit(demo(seconds, kill_after, listen))
