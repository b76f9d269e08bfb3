"""What ``kubelb demo`` shows: on a terminal a live table; elsewhere a line now and then, and the table at the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kubelb.cli.status import STYLES
from kubelb.control.status import Server, Status
from kubelb.standin.clients import Tally
from kubelb.standin.process import Standin

_LINE_EVERY = 2.0
"""Seconds between two lines where there is no terminal."""


@dataclass(frozen=True)
class Picture:
    """All there is to show at one moment."""

    seconds: float
    """Since the demonstration began."""
    status: Status
    standins: Sequence[Standin]
    tally: Tally


def table(picture: Picture) -> Table:
    """One row a server: how the stand-in really is, and what the proxy makes of it; for 80 columns."""
    servers = {server.address: server for pool in picture.status.pools for server in pool.servers}
    drawn = Table(box=SIMPLE_HEAD, padding=0, title=f"{picture.seconds:.0f} s", caption=_tally(picture.tally))
    for heading in ("stand-in", "server", "state"):
        drawn.add_column(heading, no_wrap=True)
    drawn.add_column("reason")
    for heading in ("sessions", "opened", "failed", "resets"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for standin in picture.standins:
        server = servers[standin.address]
        name = Text(f"{standin.name} {standin.pid}") if standin.alive else Text(f"{standin.name} dead", "red")
        state = Text(server.state, STYLES[server.state])
        drawn.add_row(name, Text(server.address), state, Text(server.reason), *_counts(server))
    return drawn


def line(picture: Picture) -> str:
    """The same in short."""
    servers = {server.address: server for pool in picture.status.pools for server in pool.servers}
    sessions = ", ".join(_short(standin, servers[standin.address]) for standin in picture.standins)
    return f"{picture.seconds:3.0f} s  sessions: {sessions}; {_tally(picture.tally)}"


def _short(standin: Standin, server: Server) -> str:
    dead = "" if standin.alive else " (dead)"
    return f"{standin.name} {server.active}{dead}" + ("" if server.state == "up" else f" {server.state}")


def _counts(server: Server) -> list[str]:
    return [str(count) for count in (server.active, server.opened, server.dial_failures, server.resets)]


def _tally(tally: Tally) -> str:
    return (
        f"own clients: {tally.answers} answers, slowest {tally.slowest * 1000:.0f} ms, "
        f"{tally.failures} failed, {tally.watches_cut} watches cut"
    )


class View:
    """A context manager that has the console inside it."""

    def __init__(self) -> None:
        # Where there is no terminal to fill, a table has the width it needs.
        self._console = Console() if sys.stdout.isatty() else Console(width=120)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._latest: Picture | None = None
        self._next_line = 0.0

    def say(self, text: str) -> None:
        """A line that stays, above the table; never broken, so that a command in it can be copied."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)
        self._next_line = 0.0

    def show(self, picture: Picture) -> None:
        self._latest = picture
        if self._live:
            self._live.update(table(picture), refresh=True)
        elif picture.seconds >= self._next_line:
            self.say(line(picture))
            self._next_line = picture.seconds + _LINE_EVERY

    def __enter__(self) -> View:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        elif self._latest:
            self._console.print(table(self._latest))
