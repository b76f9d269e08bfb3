"""The status page: one HTML document that needs nothing else, and the part of it that changes; pure.

The server writes all of it, so it is complete without JavaScript. With it the page asks for :func:`fragment` again
and again, and takes over what has changed.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from kubelb.control import figures
from kubelb.control.endpoint import Answer
from kubelb.control.history import History
from kubelb.control.markup import Html, escape, tag
from kubelb.control.pool_table import pool_table
from kubelb.control.status import Server, Status
from kubelb.control.web import unready
from kubelb.snapshot import GOOD, Snapshot, State

_ICON: Final = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='none' stroke='%233b82f6' "
    "stroke-width='2.2' stroke-linecap='round'%3E%3Cpath d='M2 8h4l6-5M6 8h8M6 8l6 5'/%3E%3C/svg%3E"
)
_DOCUMENT: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="{icon}">
<style>{style}</style>
<noscript><meta http-equiv="refresh" content="5"></noscript>
</head>
<body>
<p id="silence" role="alert" hidden></p>
{live}
<footer>
<p><a href="status">status</a> <a href="metrics">metrics</a> <a href="readyz">readyz</a></p>
<noscript><p>Without JavaScript the page is loaded anew every five seconds.</p></noscript>
</footer>
<script>{script}</script>
</body>
</html>
"""


@dataclass(frozen=True)
class Look:
    """How the page looks and moves: a style sheet and a script, neither with anything of the outside in it."""

    style: str
    script: str

    @property
    def version(self) -> str:
        """Another one for any other look."""
        return hashlib.sha256((self.style + self.script).encode()).hexdigest()[:12]

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """With a policy (w3.org/TR/CSP3) that lets nothing run or load but what is here."""
        policy = (
            "default-src 'none'",
            f"style-src {_hash(self.style)}",
            f"script-src {_hash(self.script)}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
        return (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Security-Policy", "; ".join(policy)),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        )


def _hash(source: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


@dataclass(frozen=True)
class Picture:
    """All there is to show at one moment."""

    snapshot: Snapshot
    status: Status
    history: History
    began: float
    """When the supervisor did; Unix seconds."""
    now: float
    """Unix seconds."""


class _Verdict(NamedTuple):
    """The whole in a few words."""

    state: State
    text: str


def document(picture: Picture, look: Look) -> Answer:
    page = _DOCUMENT.format(
        title=escape(_title(picture)),
        icon=_ICON,
        style=look.style,
        live=_live(picture, look),
        script=look.script,
    )
    return Answer("200 OK", look.headers, page.encode())


def fragment(picture: Picture, look: Look) -> Answer:
    """The element of the document that changes."""
    return Answer("200 OK", look.headers, _live(picture, look).encode())


def _live(picture: Picture, look: Look) -> Html:
    status = picture.status
    tables = (
        pool_table(pool, _addresses(picture, pool.name), picture.history, number, picture.now)
        for number, pool in enumerate(status.pools)
    )
    return tag(
        "div",
        _header(picture),
        tag("main", *tables),
        id="live",
        data_look=look.version,
        data_title=_title(picture),
    )


def _addresses(picture: Picture, pool: str) -> tuple[str, ...]:
    return tuple(listener.address for listener in picture.snapshot.listeners if pool in listener.reached)


def _title(picture: Picture) -> str:
    return f"{_verdict(picture).text} · kubelb"


def _header(picture: Picture) -> Html:
    verdict = _verdict(picture)
    return tag(
        "header",
        tag("h1", "kubelb"),
        tag("p", verdict.text, class_=f"verdict state {verdict.state}"),
        tag("p", ", ".join(_about(picture)), class_="about"),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in _facts(picture))),
    )


def _about(picture: Picture) -> Iterator[str]:
    yield f"version {picture.status.version}"
    yield f"pid {picture.status.pid}"
    yield f"snapshot {picture.status.snapshot}"
    yield f"running for {figures.length(picture.now - picture.began)}"


def _facts(picture: Picture) -> Iterator[tuple[str, str]]:
    status, trails = picture.status, picture.history.trails.values()
    yield "clients", figures.count(status.clients.active)
    yield "accepted", figures.count(status.clients.accepted)
    yield "new sessions", f"{figures.rate(sum(trail.opened[-1] for trail in trails))}/s"
    yield "to servers", f"{figures.size(sum(trail.up[-1] for trail in trails))}/s"
    yield "from servers", f"{figures.size(sum(trail.down[-1] for trail in trails))}/s"


def _verdict(picture: Picture) -> _Verdict:
    servers = [server for pool in picture.status.pools for server in pool.servers]
    if pools := unready(picture.snapshot):
        return _Verdict("down", f"No usable server in {', '.join(pools)}")
    trouble = _in_words(server for server in servers if server.state not in (*GOOD, "disabled"))
    if trouble:
        return _Verdict("suspect", f"{trouble} of {figures.plural(len(servers), 'server')}")
    wanted = [server for server in servers if server.state != "disabled"]
    state: State = "up" if any(server.state == "up" for server in wanted) else "unknown"
    return _Verdict(state, f"{_in_words(iter(wanted))} of {figures.plural(len(servers), 'server')}")


def _in_words(servers: Iterator[Server]) -> str:
    """``2 up, 1 unknown``."""
    counted = Counter(server.state for server in servers)
    return ", ".join(f"{number} {state}" for state, number in counted.items())
