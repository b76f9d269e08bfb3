"""``kubelb sessions``: the sessions there are this moment, a table or JSON. Runs in the operator's command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kubelb.cli import adminclient
from kubelb.cli.figures import aligned, called, length, size
from kubelb.config.faults import printable
from kubelb.control.figures import plural
from kubelb.control.sessions import Inquiry, Session


def sessions(runtime_dir: Path, server: str | None, pool: str | None, as_json: bool = False) -> int:
    """Print them, as answered if ``as_json``; the exit status, which is 1 also where some may be missing."""
    inquiry = Inquiry(server=server and printable(server), pool=pool and printable(pool))
    try:
        answer, body = adminclient.sessions_with_json(runtime_dir, inquiry)
    except adminclient.AdminFault as fault:
        print(printable(f"kubelb sessions: {fault}"), file=sys.stderr)
        return 1
    print(body.decode() if as_json else _table(answer.sessions))
    if answer.unanswered:
        print(f"kubelb sessions: {unanswered(answer.unanswered)}; its sessions are missing", file=sys.stderr)
        return 1
    return 0


def unanswered(workers: Sequence[int]) -> str:
    """Which have not answered, for the operator."""
    return f"no answer from {'worker' if len(workers) == 1 else 'workers'} {', '.join(map(str, workers))}"


def _table(sessions: Sequence[Session]) -> str:
    """By server, the oldest first. What is the same for all is left out: the pool, the listener."""
    count = plural(len(sessions), "session")
    if not sessions:
        return count
    places = [place for place in ("pool", "listener") if len({getattr(session, place) for session in sessions}) > 1]
    rows = [
        [*(printable(getattr(session, place)) for place in places), *_cells(session)]
        for session in sorted(
            sessions, key=lambda session: (session.pool, session.server, session.address, -session.age)
        )
    ]
    lines = aligned([*places, "server", "client", "age", "idle", "up", "down", "worker"], rows, len(places) + 2)
    return "\n".join((*lines, "", count))


def _cells(session: Session) -> tuple[str, ...]:
    return (
        printable(called(session.server, session.address)),
        printable(session.client),
        length(session.age),
        length(session.idle),
        size(session.bytes_up),
        size(session.bytes_down),
        str(session.worker),
    )
