"""A pool on the status page: a table of its servers, which on a narrow screen becomes a card each; pure.

The roles that a table's elements have by themselves are written out, because a style sheet that lays them out as
cards takes them away.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Final, NamedTuple

from kubelb.control import figures
from kubelb.control.history import EVERY, KEPT, History, Trail, identity
from kubelb.control.markup import Html, escape, join, tag
from kubelb.control.sparkline import sparkline
from kubelb.control.status import Pool, Probe, Server

_HEADINGS: Final = ("server", "state", "sessions", "new sessions", "traffic", "failures", "last probe")
_SPAN: Final = f"the last {figures.length(EVERY * KEPT)}"


class _Tops(NamedTuple):
    """The upper ends of the pool's scales: the same for all its servers, so that they can be compared."""

    active: float
    opened: float
    traffic: float


def pool_table(pool: Pool, addresses: Sequence[str], history: History, number: int, now: float) -> Html:
    """``addresses`` are where it is listened on, ``number`` is its place on the page, ``now`` in Unix seconds."""
    trails = [history.trail(identity(pool, server)) for server in pool.servers]
    tops = _Tops(
        active=max([4.0, *(max(trail.active, default=0.0) for trail in trails)]),
        opened=max([1.0, *(max(trail.opened, default=0.0) for trail in trails)]),
        traffic=max([1000.0, *(max(_traffic(trail), default=0.0) for trail in trails)]),
    )
    rows = (_row(server, trail, tops, now) for server, trail in zip(pool.servers, trails, strict=True))
    headings = (tag("th", heading, role="columnheader", scope="col") for heading in _HEADINGS)
    heading = f"pool-{number}"
    return tag(
        "section",
        tag("h2", pool.name, id=heading),
        tag("p", join(*_about(pool, addresses)), class_="about"),
        tag(
            "table",
            tag("thead", tag("tr", *headings, role="row"), role="rowgroup"),
            tag("tbody", *rows, role="rowgroup"),
            role="table",
            aria_labelledby=heading,
        ),
    )


def _about(pool: Pool, addresses: Sequence[str]) -> Iterator[str]:
    if addresses:
        yield join(*(join(tag("code", address), " ") for address in addresses), "→ ")
    up = sum(server.state == "up" for server in pool.servers)
    yield f"{pool.balance}, {up} of {figures.plural(len(pool.servers), 'server')} up, "
    yield figures.plural(sum(server.active for server in pool.servers), "session")


def _row(server: Server, trail: Trail, tops: _Tops, now: float) -> Html:
    cells = (
        _state(server, now),
        _sessions(server, trail, tops.active),
        _new_sessions(trail, tops.opened),
        _bytes(server, trail, tops.traffic),
        _failures(server),
        _probe(server, now),
    )
    return tag(
        "tr",
        tag("th", _name(server), role="rowheader", scope="row"),
        *(
            tag("td", cell, role="cell", data_name=heading)
            for heading, cell in zip(_HEADINGS[1:], cells, strict=True)
        ),
        class_=server.state,
        role="row",
    )


def _name(server: Server) -> Html:
    address = [tag("span", server.address, class_="more")] if server.address != server.name else []
    marks = (tag("span", mark, class_="mark", title=title) for mark, title in _marks(server))
    return join(tag("bdi", server.name), *address, tag("span", *marks, class_="marks"))


def _marks(server: Server) -> Iterator[tuple[str, str]]:
    """What is out of the ordinary about it, and what that means."""
    if server.tier:
        yield f"tier {server.tier}", "used when none of a lower tier is up"
    if server.backup:
        yield "backup", "used when no other server is left"
    if server.drained:
        yield "drained", "the operator wants it empty: no new sessions"
    if server.failing:
        yield "left out", "for a while, because dials to it have failed"
    if server.ramping:
        yield "slow start", "it came back a moment ago; its share of new sessions still grows"


def _state(server: Server, now: float) -> Html:
    return join(
        tag("span", server.state, class_=f"state {server.state}"),
        tag("span", "for ", _time(server.since, figures.length(now - server.since)), class_="since"),
        *(tag("bdi", text, class_="more") for text in (server.reason, server.evidence) if text),
    )


def _time(moment: float, text: str) -> Html:
    """``moment`` in Unix seconds."""
    # A clock that was set meanwhile may have given any number.
    written = datetime.fromtimestamp(max(0.0, moment), timezone.utc).isoformat(" ", "seconds")
    return tag("time", text, datetime=written, title=written)


def _sessions(server: Server, trail: Trail, top: float) -> Html:
    return join(
        _figure(figures.count(server.active), f"of {figures.count(server.opened)}", "alive, of all that ever were"),
        _history(trail.active, trail, top, f"sessions in {_SPAN}, highest {{:.0f}}"),
    )


def _new_sessions(trail: Trail, top: float) -> Html:
    return join(
        _figure(f"{figures.rate(trail.opened[-1])}/s" if trail.opened else "–"),
        _history(trail.opened, trail, top, f"new sessions a second in {_SPAN}, highest {{:.1f}}"),
    )


def _bytes(server: Server, trail: Trail, top: float) -> Html:
    total = f"in all {figures.size(server.bytes_down)} from the server, {figures.size(server.bytes_up)} to it"
    now = f"↓ {figures.size(trail.down[-1])}/s" if trail.down else "–"
    up = f"↑ {figures.size(trail.up[-1])}/s" if trail.up else ""
    return join(
        _figure(now, up, total),
        _history(_traffic(trail), trail, top, f"bytes a second, both ways, in {_SPAN}, highest {{:,.0f}}"),
    )


def _figure(figure: str, more: str = "", title: str | None = None) -> Html:
    return tag("span", tag("b", figure), " ", tag("span", more, class_="more"), class_="figure", title=title)


def _history(values: array[float], trail: Trail, top: float, meaning: str) -> Html:
    return sparkline(values, trail.states, top, meaning.format(max(values, default=0.0)))


def _traffic(trail: Trail) -> array[float]:
    return array("f", map(sum, zip(trail.up, trail.down, strict=True)))


def _failures(server: Server) -> Html:
    return join(
        _failure(figures.plural(server.dial_failures, "dial"), server.dial_failures, "dials that failed"),
        _failure(figures.plural(server.resets, "reset"), server.resets, "sessions that ended by a reset"),
    )


def _failure(text: str, number: int, title: str) -> Html:
    return tag("span", text, class_="line" if number else "line none", title=title)


def _probe(server: Server, now: float) -> Html:
    probe = server.probe
    if probe is None:
        return tag("span", "none", class_="line none")
    return join(
        tag("span", _outcome(probe, server), class_="line", title=probe.fault or None),
        tag("span", f"{figures.ago(now - probe.at)} ago", class_="more"),
    )


def _outcome(probe: Probe, server: Server) -> Html:
    """Briefly, where the reason for the state is the same."""
    if not probe.fault:
        return escape(figures.short(probe.seconds))
    if probe.fault == server.reason:
        return escape("failed")
    return join("failed", tag("bdi", probe.fault, class_="more"))
