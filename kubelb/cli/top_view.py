"""How ``kubelb top`` looks on a screen of so many columns and lines: nothing is wrapped, what is too long is cut."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kubelb.cli.figures import called, length, rate, size
from kubelb.cli.sessions import unanswered
from kubelb.cli.status import STYLES, marks
from kubelb.cli.top_model import Fit, Picture, ServerLine, SessionLine, View, ordered
from kubelb.config.faults import printable
from kubelb.control.figures import plural

_WIDEST = 132
"""Columns: on a wider screen the eye would lose its line."""
_ROOMY = 76
"""Columns from which on two blanks stand between two columns of a table."""
_HELP = " q quit  s sort  r reverse  j/k scroll  p pause"


def screen(picture: Picture, view: View, fit: Fit, width: int, trouble: str) -> RenderableType:
    """All of it, the help on the last line; ``trouble`` is why the picture is old, if it is."""
    several = len(picture.status.pools) > 1
    above: list[RenderableType] = [
        _line(_heading(picture, view), "bold"),
        _notice(picture, trouble),
        _servers(picture.servers, fit.servers, several, min(width, _WIDEST)),
        Text(),
        _line(_place(picture, view, fit), "bold"),
        _sessions(ordered(picture.sessions, view)[view.first : view.first + fit.sessions], min(width, _WIDEST)),
    ]
    shown = min(fit.sessions, len(picture.sessions) - view.first)
    gap = [Text()] * (fit.sessions - shown)
    return Group(*above, *gap, _line(_HELP.ljust(width), "reverse"))


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style, no_wrap=True, overflow="ellipsis")


def _heading(picture: Picture, view: View) -> str:
    status = picture.status
    clients = plural(status.clients.active, "client")
    paused = "  [paused]" if view.paused else ""
    return f"kubelb {status.version}, pid {status.pid}, snapshot {status.snapshot}, {clients}{paused}"


def _notice(picture: Picture, trouble: str) -> Text:
    if trouble:
        return _line(trouble, "bold red")
    if picture.unanswered:
        return _line(f"{unanswered(picture.unanswered)}: sessions are missing", "bold yellow")
    return Text()


def _place(picture: Picture, view: View, fit: Fit) -> str:
    count = len(picture.sessions)
    last = min(count, view.first + fit.sessions)
    part = "" if last - view.first == count else f", {view.first + 1} to {last}"
    return f"{plural(count, 'session')}{part}, by {view.order}{' reversed' if view.reverse else ''}"


def _table(width: int) -> Table:
    gap = 2 if width >= _ROOMY else 1
    return Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, width=width, header_style="dim")


def _servers(lines: tuple[ServerLine, ...], room: int, several_pools: bool, width: int) -> Table:
    drawn = _table(width)
    if several_pools:
        drawn.add_column("pool", no_wrap=True, overflow="ellipsis", max_width=16)
    drawn.add_column("server", no_wrap=True, overflow="ellipsis", max_width=width * 3 // 8)
    drawn.add_column("state", no_wrap=True, width=8)
    for heading, columns in (("sessions", 8), ("new/s", 5), ("up/s", 4), ("down/s", 6)):
        drawn.add_column(heading, justify="right", no_wrap=True, width=columns)
    drawn.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
    whole = len(lines) <= room
    for line in lines if whole else lines[: room - 1]:
        server = line.server
        note = ", ".join((*filter(None, [server.reason]), *marks(server)))
        drawn.add_row(
            *([_line(line.pool)] if several_pools else []),
            _line(called(server.name, server.address)),
            Text(server.state, STYLES[server.state]),
            f"{server.active:,}",
            rate(line.opened),
            rate(line.bytes_up),
            rate(line.bytes_down),
            _line(note),
        )
    if not whole:
        left = f"and {len(lines) - room + 1} more"
        drawn.add_row(*([_line(left), ""] if several_pools else [_line(left)]))
    return drawn


def _sessions(lines: list[SessionLine], width: int) -> Table:
    drawn = _table(width)
    drawn.add_column("client", no_wrap=True, overflow="ellipsis", ratio=1)
    drawn.add_column("server", no_wrap=True, overflow="ellipsis", ratio=1)
    for heading, columns in (("age", 4), ("idle", 4), ("up", 4), ("down", 4), ("rate/s", 6)):
        drawn.add_column(heading, justify="right", no_wrap=True, width=columns)
    for line in lines:
        session = line.session
        drawn.add_row(
            _line(session.client),
            _line(called(session.server, session.address)),
            length(session.age),
            length(session.idle),
            size(session.bytes_up),
            size(session.bytes_down),
            size(line.rate),
        )
    return drawn
