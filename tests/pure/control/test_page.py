"""The status page: what is on it, and that nothing it shows can become more than text."""

from __future__ import annotations

import html.parser
import re
import typing
from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.faults import printable
from kubelb.control.history import KEPT, History, Trail, identity
from kubelb.control.markup import escape, join, tag
from kubelb.control.page import Look, Picture, document, fragment
from kubelb.control.sparkline import HEIGHT, WIDTH, sparkline
from kubelb.control.status import Probe, Server
from kubelb.snapshot import GOOD, State
from tests.pure.control.pictures import NOON, a_picture, a_server

LOOK = Look("body { margin: 0 }", "'use strict'")
STATES: tuple[State, ...] = typing.get_args(State)
hostile = st.text() | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "\"' onload=alert(1) x='",
        "&lt;b&gt;",
        "]]>",
        "</title>",
        "--><!--",
        "\x00\ud800{}",
    ]
)
VOID = {"meta", "link"}


class Reader(html.parser.HTMLParser):
    """The elements with their attributes, and the text; ends have to fit."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[tuple[str, str]] = set()
        self.values: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes |= {(tag, name) for name, _ in attrs}
        self.values += [value or "" for _, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def read(picture: Picture) -> Reader:
    return Reader(document(picture, LOOK).body.decode())


def with_trails(*servers: Server) -> History:
    trail = Trail(("up", "down"), *(array("f", [value, 2 * value]) for value in (3, 1.5, 2000, 40_000)))
    return History(0.0, {}, {("api", server.name, server.address): trail for server in servers})


def test_everything_is_there() -> None:
    server = a_server(
        address="10.0.0.9:6443",
        active=4,
        opened=1234,
        bytes_up=10**6,
        bytes_down=5 * 10**9,
        dial_failures=1,
        resets=2,
        state="draining",
        since=NOON - 190,
        reason="not ready",
        tier=2,
        backup=True,
        drained=True,
        failing=True,
        ramping=True,
        probe=Probe(at=NOON - 0.4, seconds=0.0006, fault=""),
    )
    page = read(a_picture(server, history=with_trails(server)))
    text = " ".join(page.text.split())
    for words in (
        *("version 1.2.3, pid 42, snapshot 7, running for 2 h 5 min", "clients3", "accepted12,345"),
        *("new sessions3/s", "to servers4.0 kB/s", "from servers80.0 kB/s"),
        *("127.0.0.1:6443 → least_conn, 0 of 1 server up, 4 sessions", "No usable server in api"),
        *("10.0.0.1:644310.0.0.9:6443", "tier 2backupdrainedleft outslow start", "drainingfor 3 min 10 snot ready"),
        *("4 of 1,234", "3/s", "↓ 80.0 kB/s ↑ 4.0 kB/s", "1 dial2 resets", "0.6 ms0.4 s ago"),
    ):
        assert words in text, words
    assert "in all 5.0 GB from the server, 1.0 MB to it" in page.values
    assert page.elements.count("path") == 3
    assert page.elements.count("rect") == 3


def test_before_there_is_a_history_or_a_probe() -> None:
    page = read(a_picture(a_server(state="unknown")))
    assert "path" not in page.elements
    assert page.elements.count("svg") == 3
    assert "–" in page.texts
    assert "none" in page.texts


def test_without_servers_and_pools() -> None:
    assert "0 of 0 servers up" in read(a_picture()).text


def test_a_failed_probe_says_why_once() -> None:
    probe = Probe(at=NOON - 1, seconds=0.1, fault="connection refused")
    server = a_server(state="down", reason="connection refused", probe=probe)
    assert read(a_picture(server)).text.count("connection refused") == 1
    other = a_server(state="suspect", reason="a dial failed", probe=probe)
    assert "failedconnection refused" in read(a_picture(other)).text


@given(hostile, hostile, hostile, hostile)
def test_what_comes_from_outside_stays_text(name: str, reason: str, fault: str, pool: str) -> None:
    usual = a_server(reason="reason", state="down", probe=Probe(at=NOON, seconds=1, fault="fault"))
    probe = Probe(at=NOON, seconds=1, fault=f"f{fault}")
    server = a_server(f"n{name}", address="10.0.0.1:6443", reason=f"r{reason}", state="down", probe=probe)
    expected = read(
        a_picture(a_server("name", address=usual.address, reason="reason", state="down", probe=usual.probe))
    )
    page = read(a_picture(server, pool=f"p{pool}"))
    assert page.attributes == expected.attributes
    if f"f{fault}" != f"r{reason}":
        assert page.elements == expected.elements
    for text in (f"n{name}", f"r{reason}", f"p{pool}"):
        assert printable(text) in page.text


@given(hostile)
def test_markup_is_escaped_unless_it_is_markup(text: str) -> None:
    reader = Reader(tag("p", tag("b", text), text, title=text))
    assert reader.elements == ["p", "b"]
    assert reader.text == 2 * printable(text)
    assert reader.values == [printable(text)]
    assert join(escape(text), text) == 2 * escape(text)


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        (("up", "up"), "2 up of 2 servers"),
        (("up", "unknown"), "1 up, 1 unknown of 2 servers"),
        (("up", "disabled"), "1 up of 2 servers"),
        (("up", "down"), "1 down of 2 servers"),
        (("suspect", "draining"), "1 suspect, 1 draining of 2 servers"),
        (("down", "down"), "No usable server in api"),
    ],
)
def test_the_verdict_is_in_the_title_too(states: tuple[State, ...], verdict: str) -> None:
    picture = a_picture(*(a_server(f"10.0.0.{n}:1", state=state) for n, state in enumerate(states)))
    page = document(picture, LOOK).body.decode()
    assert f"<title>{verdict} · kubelb</title>" in page
    assert re.search(rf'class="verdict state \w+">{verdict}<', page)


def test_the_fragment_is_the_part_that_changes() -> None:
    picture = a_picture(a_server())
    answer = fragment(picture, LOOK)
    assert answer.body in document(picture, LOOK).body
    assert answer.body.startswith(b'<div id="live"')


def test_nothing_runs_or_loads_but_what_is_there() -> None:
    answer = document(a_picture(a_server()), LOOK)
    headers = dict(answer.headers)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    page = Reader(answer.body.decode())
    assert page.elements.count("script") == page.elements.count("style") == 1
    assert not {name for _, name in page.attributes if name in ("style", "src") or name.startswith("on")}


def test_another_look_is_another_version_and_policy() -> None:
    others = [LOOK, Look(LOOK.style + " ", LOOK.script), Look(LOOK.style, LOOK.script + " ")]
    assert len({look.version for look in others}) == len({look.headers for look in others}) == 3


points = st.lists(st.tuples(st.floats(0, 1e6), st.sampled_from(STATES)), max_size=KEPT)


@given(points, st.floats(1, 1e6))
def test_a_line_has_a_place_for_each_look_and_stays_within(pairs: list[tuple[float, State]], top: float) -> None:
    values, states = [value for value, _ in pairs], [state for _, state in pairs]
    drawn = sparkline(values, states, top, "meaning")
    rects = [int(width) for width in re.findall(r'<rect [^>]* width="(\d+)"', drawn)]
    assert sum(rects) == sum(state not in GOOD for state in states)
    heights = walked(drawn)
    assert len(heights) == len(values)
    assert all(0 < height < HEIGHT for height in heights)
    for (one, lower), (other, higher) in pairwise(zip(values, heights, strict=True)):
        assert (one <= other) <= (lower >= higher)


def walked(drawn: str) -> list[int]:
    """The height at each place, as a browser would follow the path; the last is at the right edge."""
    found = re.search(r' d="M-?\d+ \d+V(\d+)H(\d+)(.*)h9V\d+"', drawn)
    if not found:
        return []
    heights = [int(found[1])]
    for command, numbers in re.findall(r"([hl])([-\d ]+)", found[3]):
        steps = [int(number) for number in numbers.split()]
        if command == "h":
            heights += [heights[-1]] * steps[0]
        for change in steps[1::2] if command == "l" else ():
            heights.append(heights[-1] + change)
    assert int(found[2]) + len(heights) - 1 == WIDTH
    return heights


def test_servers_of_a_pool_have_one_scale() -> None:
    small, large = a_server("10.0.0.1:1"), a_server("10.0.0.2:1")
    history = History(
        0.0,
        {},
        {
            ("api", s.name, s.address): Trail(("up",), *[array("f", [v])] * 4)
            for s, v in ((small, 10.0), (large, 1000.0))
        },
    )
    page = document(a_picture(small, large, history=history), LOOK).body.decode()
    low, high = re.findall(r"alive, .*? d=\"M\d+ \d+V(\d+)", page)
    assert int(low) > HEIGHT * 0.9
    assert int(high) < HEIGHT * 0.1


def test_identity_is_what_the_page_looks_up() -> None:
    server = a_server()
    assert identity(a_picture(server).status.pools[0], server) == ("api", server.name, server.address)
