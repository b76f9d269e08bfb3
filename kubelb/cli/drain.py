"""``kubelb drain`` and ``kubelb undrain``: a server out of use and back. Runs in the operator's command."""

from __future__ import annotations

import sys
from pathlib import Path

from kubelb.cli import adminclient
from kubelb.config.faults import printable
from kubelb.control.commands import Affected, Command, Drain, Undrain


def drain(runtime_dir: Path, server: str, pool: str | None = None) -> int:
    """Send no new session to it, and print how it is; the exit status."""
    return _carry_out("drain", runtime_dir, Drain(printable(server), pool and printable(pool)))


def undrain(runtime_dir: Path, server: str, pool: str | None = None) -> int:
    """Use it again, and print how it is; the exit status."""
    return _carry_out("undrain", runtime_dir, Undrain(printable(server), pool and printable(pool)))


def _carry_out(name: str, runtime_dir: Path, command: Command) -> int:
    try:
        reply = adminclient.command(runtime_dir, command)
    except adminclient.AdminFault as fault:
        print(printable(f"kubelb {name}: {fault}"), file=sys.stderr)
        return 1
    for server in reply.servers:
        print(printable(_line(server, isinstance(command, Drain))))
    for warning in reply.warnings:
        print(printable(f"warning: {warning}"), file=sys.stderr)
    return 0


def _line(server: Affected, draining: bool) -> str:
    name = server.name if server.name == server.address else f"{server.name} at {server.address}"
    sessions = f"{server.active} session{'' if server.active == 1 else 's'}"
    if draining:
        return f"{name} ({server.pool}): {server.state}{'' if server.changed else ' already'}, {sessions} left"
    return f"{name} ({server.pool}): {'' if server.changed else 'was not drained, '}{server.state}, {sessions}"
