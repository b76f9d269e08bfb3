"""The ``kubelb`` command: one function a subcommand, no logic.

What a subcommand needs is imported when it is called: ``run`` has to be up fast and stay small.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

import kubelb
from kubelb.config.flags_reader import Flags, Overrides, parse_threads, parse_workers
from kubelb.config.sources import Sources
from kubelb.log import LEVELS

F = TypeVar("F", bound=Callable[..., Any])


def _read_by(parse: Callable[[str], object]) -> Callable[[click.Context, click.Parameter, str | None], object]:
    """An option's value by a parser of the configuration's; what that refuses is a wrong command line."""

    def read(_context: click.Context, _option: click.Parameter, value: str | None) -> object:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return read


_SOURCES = (
    click.option("--config", metavar="FILE", help="TOML configuration."),
    click.option("--nginx-conf", metavar="FILE", help="nginx.conf, as it is."),
    click.option("--listen", metavar="HOST:PORT", multiple=True, help="Accept here; with --server. Repeatable."),
    click.option("--server", metavar="HOST:PORT", multiple=True, help="Carry sessions there. Repeatable."),
    click.option("--balance", metavar="HOW", help="With --listen: least_conn (default), round_robin, hash ..."),
    click.option("--connect-timeout", metavar="TIME", help="With --listen: a server's time to accept (2s)."),
    click.option("--idle-timeout", metavar="TIME", help="With --listen: end sessions silent for so long (never)."),
)
_OVERRIDES = (
    click.option("--runtime-dir", metavar="DIR", help="Directory of the pid file and admin.sock (/run/kubelb)."),
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
    click.option("--log-level", type=click.Choice(list(LEVELS)), help="The least that is logged (info)."),
    click.option("--access-log/--no-access-log", default=None, help="One log line per ended session."),
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
    )
    return sources, overrides


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(kubelb.__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Carry this node's TLS connections to whichever kube-apiservers are alive.

    Without --config, --nginx-conf or --listen, CP_HOSTS=a,b,c in the environment means RKE's configuration.
    """


@main.command()
@_configured
def run(**options: Any) -> None:
    """Run the proxy in the foreground.

    TERM and INT stop it at once; QUIT lets its sessions end first.
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
@click.argument("nginx_conf", metavar="NGINX.CONF")
def convert(nginx_conf: str) -> None:
    """Print the same proxy as TOML."""
    from kubelb.cli.convert import convert

    sys.exit(convert(Sources(nginx_conf=nginx_conf)))


@main.command()
@click.option("--seconds", type=click.FloatRange(min=0), help="End by itself after so long.")
@click.option("--kill-after", type=click.FloatRange(min=0), help="Kill one stand-in after so many seconds.")
@click.option("--listen", metavar="HOST:PORT", help="The proxy's address (127.0.0.1:6443, or a free port).")
def demo(seconds: float | None, kill_after: float | None, listen: str | None) -> None:
    """Three throwaway TLS apiserver stand-ins, the proxy before them, and a live table."""
    from kubelb.cli.demo import demo

    sys.exit(demo(seconds, kill_after, listen))
