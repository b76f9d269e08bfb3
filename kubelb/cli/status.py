"""``kubelb status``: the servers as they are this moment, a table a pool, or JSON. Runs in the operator's command."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kubelb.cli import adminclient
from kubelb.cli.figures import called, length
from kubelb.config.faults import printable
from kubelb.control.status import Pool, Probe, Server, Status
from kubelb.snapshot import State

STYLES: dict[State, str] = {
    "unknown": "",
    "up": "green",
    "suspect": "yellow",
    "down": "red",
    "draining": "cyan",
    "disabled": "dim",
}
"""How a terminal shows each state."""
_WIDE = 10_000
"""Columns where there is no terminal to fill: a table has the width it needs."""


def status(runtime_dir: Path, as_json: bool = False) -> int:
    """Print it, as answered if ``as_json``; the exit status."""
    try:
        if as_json:
            print(adminclient.status_json(runtime_dir).decode())
        else:
            _show(adminclient.status(runtime_dir), time.time())
    except adminclient.AdminFault as fault:
        print(printable(f"kubelb status: {fault}"), file=sys.stderr)
        return 1
    return 0


def _show(answer: Status, now: float) -> None:
    """``now`` in Unix seconds."""
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=_WIDE)
    clients = f"{answer.clients.active} clients connected, {answer.clients.accepted} accepted"
    console.print(Text(f"kubelb {answer.version}, pid {answer.pid}, snapshot {answer.snapshot}; {clients}"))
    for pool in answer.pools:
        console.print(Text(f"\npool {printable(pool.name)} ({pool.balance})", "bold"))
        console.print(_table(pool, now))


def _table(pool: Pool, now: float) -> Table:
    drawn = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in ("server", "state", "since"):
        drawn.add_column(heading, no_wrap=True)
    drawn.add_column("reason", overflow="fold")
    drawn.add_column("evidence", overflow="fold")
    for heading in ("sessions", "opened", "failed", "resets"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column("last probe", overflow="fold")
    drawn.add_column("", overflow="fold")
    for server in pool.servers:
        drawn.add_row(
            _called(server),
            Text(server.state, STYLES[server.state]),
            length(now - server.since),
            Text(printable(server.reason)),
            Text(printable(server.evidence)),
            *(str(count) for count in (server.active, server.opened, server.dial_failures, server.resets)),
            _probe(server.probe, now),
            ", ".join(marks(server)),
        )
    return drawn


def _called(server: Server) -> Text:
    return Text(printable(called(server.name, server.address)))


def _probe(probe: Probe | None, now: float) -> Text:
    if probe is None:
        return Text("none")
    ended = now - probe.at
    ago = f"{max(0.0, ended):.1f} s ago" if ended < 10 else f"{length(ended)} ago"
    milliseconds = probe.seconds * 1000
    took = f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"
    return Text(printable(f"{probe.fault or took}, {ago}"))


def marks(server: Server) -> Iterator[str]:
    """What is out of the ordinary about it."""
    if server.tier:
        yield f"tier {server.tier}"
    if server.backup:
        yield "backup"
    if server.drained:
        yield "drained"
    if server.failing:
        yield "left out"
    if server.ramping:
        yield "slow start"
