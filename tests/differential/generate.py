"""Cases and batches of them for Hypothesis. A new directive is one more line in a table here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import strategies as st

from kubelb.proxyproto import HeaderFault, decode
from tests.differential.configuration import Batch
from tests.differential.scripts import (
    HOSTS,
    Break,
    By,
    Case,
    Change,
    Connect,
    Finish,
    Leave,
    Member,
    Resume,
    Say,
    Stall,
    Step,
    Welcome,
)
from tests.support import proxy_headers

METHODS = (
    *("", "least_conn", "hash $remote_addr", "hash $remote_addr consistent", "hash $server_addr$remote_addr"),
    *("hash $part", "hash $kind$net consistent"),
    *("hash $server_port$proxy_protocol_addr", "hash $binary_remote_addr consistent", "zone z@ 64k"),
    *("zone z@ 64k; least_conn", "least_conn; zone z@ 64k", "zone z@ 64k; hash $remote_addr"),
)
"""Those that pick by rule; what ``random`` picks is nobody's to compare."""
SHARED = ("zone z@ 64k; hash $remote_addr", "zone z@ 64k; hash $kind$server_port consistent")
"""Those by which it does not matter which of several workers picks."""
PARAMETERS = (
    *("weight=1", "weight=2", "weight=5"),
    *("max_fails=0", "max_fails=1", "max_fails=2"),
    *("fail_timeout=1h", "fail_timeout=60"),
    *("max_conns=0", "max_conns=1", "max_conns=2"),
    *("down", "backup"),
)
"""Of a ``server`` in an upstream."""
SERVER_DIRECTIVES = (
    *("proxy_connect_timeout 20s", "proxy_timeout 1h", "proxy_timeout 5m"),
    *("proxy_half_close on", "proxy_half_close on", "proxy_half_close off"),
    *("proxy_buffer_size 4k", "tcp_nodelay on", "tcp_nodelay off", "proxy_socket_keepalive on"),
    *(
        "proxy_next_upstream off",
        "proxy_next_upstream_tries 1",
        "proxy_next_upstream_tries 2",
        "proxy_next_upstream_timeout 1h",
    ),
    *("proxy_download_rate 100m", "proxy_upload_rate 100m"),
    *("proxy_protocol on", "proxy_protocol on", "proxy_protocol off", "limit_conn_dry_run on"),
)
"""Of a ``server {}`` or the whole stream."""
LIMITS = ("limit_conn each 1", "limit_conn each 2")
"""Of the same, before one worker: a client may be gone, and still be counted by a worker that has not noticed."""
IPV4_DIRECTIVES = ("proxy_bind 127.0.0.77", "proxy_bind $server_addr", "proxy_bind $remote_addr")
"""Where no address is an IPv6 one."""
ACCESS = (
    "allow 127.7.0.0/16",
    "deny 127.0.0.9",
    "deny 127.7.7.7",
    "allow all",
    "deny ::1",
    "deny all",
    "deny 10.0.0.0/8",
    "deny unix:",
)
"""Of the same; their order counts."""
TRUST = ("set_real_ip_from 127.0.0.0/8", "set_real_ip_from ::1", "set_real_ip_from unix:")
"""Of the same; whose headers are believed."""
LISTENS = (
    *("127.0.0.1", "127.0.0.1 backlog=100", "::1", "127.0.0.5 so_keepalive=on"),
    *("127.0.0.1 proxy_protocol", "::1 proxy_protocol", "unix: proxy_protocol"),
    *("unix:", "127.0.0.1/3", "::1/2 backlog=9", "127.0.0.6/2 proxy_protocol"),
)
HEADERS = (
    *(b"PROXY TCP4 10.1.2.3 10.4.5.6 7000 8000\r\n", b"PROXY TCP6 fe80::1 ::1 1 2\r\n", b"PROXY UNKNOWN\r\n"),
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03\x0a\x04\x05\x06\x1b\x58\x1f\x40",
    *(b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 10.1.2.3 10.4.5.6 7000 80000\r\n"),
)
"""Of the PROXY protocol, and the last two of none."""
ENDS = (
    *(((), (), "proxy_pass pool@"),) * 4,
    (("map $remote_addr $to@ { 127.0.0.9 other@; 127.7.7.7 <1>; default pool@; }",), (), "proxy_pass $to@"),
    (("geo $to@ { default pool@; 127.7.0.0/16 other@; 10.1.0.0/16 <4>; }",), (), "proxy_pass $to@"),
    (("split_clients $remote_addr$server_addr $to@ { 40% other@; 20% <3>; * pool@; }",), (), "proxy_pass $to@"),
    ((), ("set $to@ other@", "set $to@ pool@"), "proxy_pass $to@"),
    (("map $kind $to@ { nine nobody; default $of@; }",), ("set $of@ other@",), "proxy_pass $to@"),
    ((), (), "return '$remote_addr:$remote_port to $server_addr:$server_port, $kind of $part in $net'"),
    (
        (),
        ("set $of@ $proxy_protocol_addr",),
        "return '$of@ $proxy_protocol_port $protocol $realip_remote_addr $bytes_received'",
    ),
    ((), (), "return ''"),
)
"""What becomes of clients: directives of the ``stream {}``, of the ``server {}``, and of that the last."""
SOURCES = (None, "127.0.0.1", "127.0.0.9", "127.7.7.7", "127.255.0.1")
_WELCOMES = (Welcome.STAY, Welcome.GREET, Welcome.FINISH, Welcome.LEAVE, Welcome.BREAK, Welcome.REFUSE)
_SIZES = (1, 7, 1000, 5000, 16384, 70000)


def _distinct(texts: Sequence[str], most: int) -> st.SearchStrategy[tuple[str, ...]]:
    """A few of them, no name twice."""
    return st.lists(
        st.sampled_from(texts), max_size=most, unique_by=lambda text: text.replace("=", " ").split()[0]
    ).map(tuple)


def _few(texts: Sequence[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(texts), max_size=2)


@st.composite
def _members(draw: st.DrawFn, method: str, never: bool) -> tuple[Member, ...]:
    """``never``: no server is ever left out by ``max_fails``; else the first never is, nor is it full.

    The first is a primary, for nginx wants one.
    """
    allowed = [text for text in PARAMETERS if not (text == "backup" and "hash" in method)]
    steady = [text for text in allowed if not text.startswith("max_fails")]
    first = [
        text for text in steady if not text.startswith(("backup", "down") if never else ("backup", "down", "max_c"))
    ]
    others, extra = (steady, ["max_fails=0"]) if never else (allowed, [])
    numbers = draw(st.lists(st.integers(0, len(HOSTS) - 1), min_size=1, max_size=len(HOSTS), unique=True))
    return (
        Member(numbers[0], (*draw(_distinct(first, 3)), "max_fails=0")),
        *(Member(number, (*draw(_distinct(others, 3)), *extra)) for number in numbers[1:]),
    )


def _changes(steady: int | None) -> st.SearchStrategy[Change]:
    """``steady`` is the number of a server that does not refuse."""
    return st.builds(Change, st.integers(0, len(HOSTS) - 1), st.sampled_from(_WELCOMES)).filter(
        lambda change: (change.server, change.welcome) != (steady, Welcome.REFUSE)
    )


def _steps(sessions: int, listens: Sequence[str], steady: int | None) -> st.SearchStrategy[Step]:
    session, by = st.integers(0, max(sessions - 1, 0)), st.sampled_from(By)
    return st.one_of(
        _connects(listens),
        st.builds(Say, session, by, st.sampled_from(_SIZES)),
        *(st.builds(act, session, by) for act in (Finish, Leave, Break, Stall, Resume)),
        _changes(steady),
    )


def _is_whole(header: bytes) -> bool:
    """Whether nginx and kubelb wait for no more of it: what comes in pieces is a wanted difference."""
    try:
        return decode(header) is not None
    except HeaderFault:
        return True


_headers = st.sampled_from(HEADERS) | proxy_headers.good | proxy_headers.damaged.filter(_is_whole)


@st.composite
def _connects(draw: st.DrawFn, listens: Sequence[str]) -> Connect:
    listener = draw(st.integers(0, len(listens) - 1))
    source = None if ":" in listens[listener] else draw(st.sampled_from(SOURCES))
    header = draw(_headers) if "proxy_protocol" in listens[listener] else b""
    return Connect(listener, source, draw(st.sampled_from((b"", b"", b"hello"))), draw(st.booleans()), header)


@st.composite
def _scripts(draw: st.DrawFn, listens: Sequence[str], steady: int | None) -> tuple[Step, ...]:
    first = draw(_connects(listens))
    rest = draw(st.lists(_steps(4, listens, steady), max_size=12))
    return (first, *rest)


def _each_port(listens: Sequence[str]) -> list[str]:
    """Its ``listen``."""
    counts = [re.match(r"\S+/(\d+)", text) for text in listens]
    return [text for text, count in zip(listens, counts, strict=True) for _ in range(int(count[1]) if count else 1)]


@st.composite
def cases(draw: st.DrawFn, workers: int = 1) -> Case:
    """In which a server is always left to be tried: where ``max_fails`` leaves out all, kubelb tries them anyway."""
    method = draw(st.sampled_from(METHODS if workers == 1 else SHARED))
    listens = tuple(draw(st.lists(st.sampled_from(LISTENS), min_size=1, max_size=2, unique=True)))
    if workers > 1 and draw(st.booleans()):
        listens = tuple(text if text.startswith("unix:") else f"{text} reuseport" for text in listens)
    never = draw(st.booleans())
    members = draw(_members(method, never))
    steady = None if never else members[0].server
    welcomes = [draw(st.sampled_from(_WELCOMES)) for _ in HOSTS]
    if steady is not None and welcomes[steady] is Welcome.REFUSE:
        welcomes[steady] = Welcome.STAY
    others = (Member(draw(st.integers(0, len(HOSTS) - 1)), ("max_fails=0",)),)
    around, first, then = draw(st.sampled_from(ENDS))
    directives = _directives(workers)
    if not then.startswith("proxy_pass $") and not any(
        ":" in host for host in (*listens, *(HOSTS[each.server] for each in members))
    ):
        directives = (*directives, *IPV4_DIRECTIVES)
    return Case(
        members,
        draw(_scripts(_each_port(listens), steady)),
        method,
        (*first, *draw(_distinct(directives, 3)), *draw(_few(ACCESS)), *draw(_few(TRUST))),
        listens,
        tuple(welcomes),
        others,
        around,
        then,
    )


def _directives(workers: int) -> tuple[str, ...]:
    return SERVER_DIRECTIVES if workers > 1 else (*SERVER_DIRECTIVES, *LIMITS)


def batches(most: int, workers: int = 1) -> st.SearchStrategy[Batch]:
    return st.builds(
        Batch,
        st.lists(cases(workers), min_size=1, max_size=most).map(tuple),
        _distinct(_directives(workers), 3),
        st.just(workers),
    )
