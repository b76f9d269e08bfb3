"""What ``kubelb top`` shows: rates from successive looks, the order of sessions, what fits, what a key does; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from kubelb.control.sessions import Session, Sessions
from kubelb.control.status import Server, Status

WINDOW = 3.0
"""Seconds that rates are taken over: the workers count bytes once a second, which beats with looks."""
_FIXED = 7
"""Lines that are always there: two above the servers and their heading, three above the sessions, the help."""


@dataclass(frozen=True)
class Look:
    """The proxy as it was at one moment."""

    at: float
    """Seconds of the monotonic clock."""
    status: Status
    sessions: Sessions


@dataclass(frozen=True)
class ServerLine:
    """A server with what happens on it each second; None: not known yet."""

    pool: str
    server: Server
    opened: float | None = None
    bytes_up: float | None = None
    bytes_down: float | None = None


@dataclass(frozen=True)
class SessionLine:
    session: Session
    rate: float
    """Bytes a second, in both directions."""


@dataclass(frozen=True)
class Picture:
    """All there is to show."""

    status: Status
    servers: tuple[ServerLine, ...]
    sessions: tuple[SessionLine, ...]
    unanswered: tuple[int, ...]


def remember(looks: Sequence[Look], look: Look) -> tuple[Look, ...]:
    """Those that rates are taken from next, the newest last; none from before the counters began anew."""
    kept = [old for old in looks if look.status.clients.accepted >= old.status.clients.accepted]
    recent = [old for old in kept if look.at - old.at <= WINDOW]
    return (*(recent or kept[-1:]), look)


def picture(looks: Sequence[Look]) -> Picture:
    """Of the last of ``looks``, with rates since the first."""
    first, last = looks[0], looks[-1]
    seconds = last.at - first.at
    servers = {_key(pool, server): server for pool, server in _servers(first.status)}
    sessions = {_identity(session): session for session in first.sessions.sessions}
    return Picture(
        status=last.status,
        servers=tuple(
            _server_line(pool, server, servers.get(_key(pool, server)), seconds)
            for pool, server in _servers(last.status)
        ),
        sessions=tuple(
            SessionLine(session, _session_rate(session, sessions.get(_identity(session)), seconds))
            for session in last.sessions.sessions
        ),
        unanswered=last.sessions.unanswered,
    )


def _servers(status: Status) -> Iterator[tuple[str, Server]]:
    for pool in status.pools:
        for server in pool.servers:
            yield pool.name, server


def _key(pool: str, server: Server) -> tuple[str, str, str]:
    return pool, server.name, server.address


def _identity(session: Session) -> tuple[str, str, str]:
    """What no two sessions have in common at the same time."""
    return session.client, session.listener, session.address


def _server_line(pool: str, now: Server, before: Server | None, seconds: float) -> ServerLine:
    if before is None or seconds <= 0:
        return ServerLine(pool, now)
    return ServerLine(
        pool,
        now,
        opened=_rate(before.opened, now.opened, seconds),
        bytes_up=_rate(before.bytes_up, now.bytes_up, seconds),
        bytes_down=_rate(before.bytes_down, now.bytes_down, seconds),
    )


def _rate(before: int, now: int, seconds: float) -> float | None:
    """None for one that was counted anew."""
    return (now - before) / seconds if now >= before else None


def _session_rate(now: Session, before: Session | None, seconds: float) -> float:
    """Of one that is new, since it was opened, a second at least; it may have the port of one that has ended."""
    moved = now.bytes_up + now.bytes_down
    if before is not None and seconds > 0 and now.age >= before.age + seconds / 2:
        return max(0, moved - before.bytes_up - before.bytes_down) / seconds
    return moved / max(1.0, now.age)


ORDERS: dict[str, Callable[[SessionLine], tuple[object, ...]]] = {
    "rate": lambda line: (-line.rate, -line.session.age),
    "bytes": lambda line: (-line.session.bytes_up - line.session.bytes_down,),
    "age": lambda line: (-line.session.age,),
    "idle": lambda line: (-line.session.idle,),
    "server": lambda line: (line.session.pool, line.session.server, line.session.address, -line.session.age),
    "client": lambda line: (line.session.client,),
}
"""By what sessions can be sorted: the most first, names from A on."""


@dataclass(frozen=True)
class View:
    """What the operator wants to see of it."""

    order: str = "rate"
    reverse: bool = False
    first: int = 0
    """How many sessions were scrolled past."""
    paused: bool = False


def ordered(sessions: Sequence[SessionLine], view: View) -> list[SessionLine]:
    """Those that are equal keep their order, so that no line jumps about; reversed, they are reversed too."""
    lines = sorted(sessions, key=ORDERS[view.order])
    return lines[::-1] if view.reverse else lines


@dataclass(frozen=True)
class Fit:
    """How many lines there are for what."""

    servers: int
    sessions: int


def fit(height: int, servers: int) -> Fit:
    """On a screen of so many lines. Servers have at most half of what there is to give."""
    free = max(0, height - _FIXED)
    shown = min(servers, max(1, free // 2))
    return Fit(servers=shown, sessions=max(0, free - shown))


def scrolled(view: View, sessions: int, room: int) -> View:
    """The same, so that the last page is full, if there is more than one."""
    return replace(view, first=max(0, min(view.first, sessions - room)))


def pressed(view: View, key: str, sessions: int, room: int) -> View:
    """After a key, with so many sessions and lines for them. A key without meaning changes nothing."""
    steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -room, "page down": room, " ": room}
    if key in steps:
        view = replace(view, first=view.first + steps[key])
    elif key in ("home", "g"):
        view = replace(view, first=0)
    elif key in ("end", "G"):
        view = replace(view, first=sessions)
    elif key == "s":
        names = list(ORDERS)
        view = replace(view, order=names[(names.index(view.order) + 1) % len(names)], reverse=False, first=0)
    elif key == "r":
        view = replace(view, reverse=not view.reverse, first=0)
    elif key == "p":
        view = replace(view, paused=not view.paused)
    return scrolled(view, sessions, room)


_SEQUENCES = {
    **{b"A": "up", b"B": "down", b"H": "home", b"F": "end"},
    **{b"1~": "home", b"4~": "end", b"5~": "page up", b"6~": "page down"},
}
"""What follows ``ESC [`` or ``ESC O`` (ECMA-48 control sequences as xterm sends them)."""


def keys(data: bytes) -> tuple[list[str], bytes]:
    """What was typed, and the beginning of a sequence whose rest is still to come."""
    found: list[str] = []
    while data:
        if data[:1] != b"\x1b":
            found.append(chr(data[0]))
            data = data[1:]
        elif len(data) == 1:
            break
        elif data[1:2] not in (b"[", b"O"):
            data = data[1:]
        else:
            end = next((i for i in range(2, len(data)) if 0x40 <= data[i] <= 0x7E), None)
            if end is None:
                break
            found.append(_SEQUENCES.get(data[2 : end + 1], "unknown"))
            data = data[end + 1 :]
    return found, data
