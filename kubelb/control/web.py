"""The admin side over TCP: what anybody who reaches it may look at. Nothing can be changed here; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from kubelb.config.faults import printable
from kubelb.control.answers import in_json, plain, use_instead
from kubelb.control.endpoint import Answer
from kubelb.control.status import Status
from kubelb.snapshot import Server, Snapshot, State

_HAS_PORT: Final = re.compile(r"(?<!:):[0-9]{1,5}$")
_USABLE: Final[tuple[State, ...]] = ("unknown", "up", "suspect")
_READING: Final = ("GET", "HEAD")
_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"
"""What :func:`kubelb.control.metrics.exposition` writes."""


@dataclass(frozen=True)
class Views:
    """What there is to see, made when it is asked for."""

    page: Callable[[], Answer]
    fragment: Callable[[], Answer]
    """What of the page changes."""
    snapshot: Callable[[], Snapshot]
    status: Callable[[], Status]
    metrics: Callable[[], bytes]


def answer(method: str, path: str, host: str, here: str, views: Views) -> Answer:
    """What a request gets; ``path`` is without the query, ``host`` is the Host header or empty, ``here`` the name of
    this machine."""
    if path not in _FOR_ANY_NAME and not is_own(host, here):
        return plain("421 Misdirected Request", "that is no name of this machine; use its address, or localhost")
    if method not in _READING:
        return use_instead(", ".join(_READING))
    page = _PAGES.get(path)
    if page is None:
        return plain("404 Not Found", f"there is only {', '.join(_PAGES)}")
    return page(views)


def is_own(host: str, here: str) -> bool:
    """Whether a Host header may be meant for this machine.

    A page of somebody else's may have its own name lead here (DNS rebinding), and would read what a browser on this
    machine gets; an address it cannot have.
    """
    name = host.rpartition(":")[0] if _HAS_PORT.search(host) else host
    return name.lower() in ("", "localhost", here.lower()) or _is_address(name.strip("[]"))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def unready(snapshot: Snapshot) -> tuple[str, ...]:
    """The pools that listeners send sessions to and that have no server for them.

    One that is down or draining counts as none, although it is tried where nothing else is left.
    """
    usable = {pool.name for pool in snapshot.pools if any(map(_is_usable, pool.servers))}
    used = dict.fromkeys(pool for listener in snapshot.listeners for pool in listener.reached)
    return tuple(name for name in used if name not in usable)


def _is_usable(server: Server) -> bool:
    return server.may_be_picked and server.state in _USABLE


def _page(views: Views) -> Answer:
    return views.page()


def _fragment(views: Views) -> Answer:
    return views.fragment()


def _healthz(_views: Views) -> Answer:
    return plain("200 OK", "ok")


def _readyz(views: Views) -> Answer:
    if pools := unready(views.snapshot()):
        return plain("503 Service Unavailable", printable(f"no usable server: {', '.join(pools)}"))
    return plain("200 OK", "ok")


def _status(views: Views) -> Answer:
    return in_json(views.status())


def _metrics(views: Views) -> Answer:
    return Answer("200 OK", (("Content-Type", _METRICS),), views.metrics())


_FOR_ANY_NAME: Final = ("/healthz", "/readyz")
"""Tell nobody anything, and are asked for by whatever name a probe has been given."""
_PAGES: Final[Mapping[str, Callable[[Views], Answer]]] = {
    "/": _page,
    "/fragment": _fragment,
    "/healthz": _healthz,
    "/readyz": _readyz,
    "/status": _status,
    "/metrics": _metrics,
}
