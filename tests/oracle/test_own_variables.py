"""``map``, ``geo``, ``split_clients`` and ``set`` make the same in nginx and in kubelb, and name the same pools."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import name_of
from tests.support.nginx import PREAMBLE, listen, running_nginx
from tests.support.proxy import reserved, running

TEXTS = (
    *("", "a", "A.B", "a.b.", "x.example.org", "example.org", ".example.org", "y.x.example.org", "www.a.b", "www.a"),
    *(
        "10.1.2.3",
        "10.1.2.4",
        "10.1.3.0",
        "10.1.3.1",
        "10.2.0.0",
        "10.3.0.9",
        "10.3.0.10",
        "255.255.255.254",
        "127.0.0.1",
        "::1",
        "::ffff:10.1.2.3",
        "2001:db8::5",
        "255.255.255.255",
    ),
    *("unix:", "default", "hostnames", "include", "volatile", "~a", "1", "22", "333", "4444", "55555", "ü"),
)
"""What ``$text`` is for the clients of one listener each."""
MADE = r"""
    map $text $exact { default "no: $text"; "" nothing; A.b "$text/$remote_addr"; \default d; \hostnames h; \~a tilde;
                       333 "${net}!"; }
    map $text $host { hostnames; default none; *.example.org star; .x.example.org dot; www.* tail; www.a.* longer;
                      a.b plain; }
    map "$text$text" $twice { 11 one; 2222 two; }
    map $status $over { 200 good; 000 early; default bad; }
    geo $text $net { default other; 10.0.0.0/8 ten; 10.1.0.0/16 inner; 10.1.2.3 one; delete 10.1.2.3; 10.1.2.4 four;
                     2001:db8::/32 six; ::1/128 self; 255.255.255.255 none; }
    geo $text $bare { 10.0.0.0/8 ten; }
    geo $text $range { ranges; default other; 10.0.0.0-10.3.0.9 wide; 10.1.2.3-10.1.2.3 one;
                       10.1.2.4-10.1.3.0 part; 10.1.3.0-10.1.3.0 x; delete 10.1.2.4-10.1.2.255; }
    geo $text $last { ranges; 255.255.0.0-255.255.255.254 most; }
    geo $client { 127.0.0.0/8 local; }
    split_clients $text $part { 10% a; 20.5% b; 0.01% c; 33% d; * e; }
    split_clients "$text x" $half { 50% yes; }
    map $text $kept { default "<$text>"; }
    map $text $fresh { volatile; default "<$text>"; }
    map $text $found { "~^10\.(\d+)\.(\d+)" "$1-$2$3/$1"; ~*^(?<First>A)(?<rest>.*) "$first+$rest"; a exact;
                       ~. "any $1"; default "none $1"; }
    map $text $name { hostnames; *.b star; ~(\.)$ dot; "~^(?:(x)|.)\.?(.*)$" "[$1|$2]"; }
    map "$text $remote_addr" $both { ~\.(?<ending>[0-9]+)$ "$ending"; }
    map $text $within { ~^(.)(.*) "$found<$1>"; default "<$1>"; }
    map $remote_addr $early { ~^(\d+) $1; }
"""
NAMES = (
    "exact",
    "host",
    "twice",
    "over",
    "net",
    "bare",
    "range",
    "last",
    "client",
    "part",
    "half",
    "kept",
    "fresh",
    "before",
    "text",
    "found",
    "rest",
    "name",
    "both",
    "ending",
    "within",
    "first",
    "early",
)
FORMAT = "|".join(f"${name}" for name in NAMES)
NUMBERED = "$1|$2|$12"
"""A log format has no such variables in nginx, which also spoils those that stand before a map that changes them."""


def stream(where: Sequence[SocketAddress], servers: Sequence[SocketAddress], log: Path) -> str:
    """The first listeners answer with all variables, one for each text, the last ones proxy."""
    one, two = map(name_of, servers)
    answering = "".join(
        f"""server {{ listen {name_of(address)}; set $text "{text}"; set $before "$kept$fresh"; set $text "{text}";
            set $TEXT "{text}"; return "{FORMAT}|{NUMBERED}"; }}"""
        for address, text in zip(where, TEXTS, strict=False)
    )
    changing, first, second, by_geo, gone, found, _ = where[len(TEXTS) :]
    return f"""stream {{ {MADE} log_format all "{FORMAT}|$status|$upstream_addr"; access_log {log} all;
        {answering}
        server {{ listen {name_of(changing)}; set $text a; set $before "$kept$fresh$unknown"; set $text b;
                  set $NET assigned; set $unknown $text$before; return "{FORMAT}|$unknown"; }}
        map $server_port $pool {{ {first[1]} one; {second[1]} {two}; {by_geo[1]} $zone; {gone[1]} gone;
            "~^(?<port>{found[1]})$" $way; }}
        map $remote_addr $way {{ ~^127.0 two; }}
        geo $zone {{ default two; 127.0.0.7 ONE; }}
        upstream one {{ server {one}; }}
        upstream Two {{ server {two}; }}
        {"".join(f"server {{ listen {name_of(address)}; proxy_pass $pool; }}" for address in where[-6:])}
    }}"""


def said(address: SocketAddress, source: str = "127.0.0.1") -> bytes:
    with socket.create_connection(address, 30, (source, 0)) as client:
        return b"".join(iter(lambda: client.recv(65536), b""))


def played(where: Sequence[SocketAddress], log: Path) -> tuple[list[bytes], list[bytes]]:
    """What clients were told, and what the access log says."""
    answers = [said(address) for address in where[: len(TEXTS) + 1]]
    first, second, by_geo, gone, found, nameless = where[-6:]
    visits = [(first, "127.0.0.1"), (second, "127.0.0.1"), (by_geo, "127.0.0.1"), (by_geo, "127.0.0.7")]
    answers += [
        said(*visit) for visit in (*visits, (gone, "127.0.0.1"), (found, "127.0.0.1"), (nameless, "127.0.0.1"))
    ]
    eventually(lambda: log.exists() and log.read_bytes().count(b"\n") == len(answers), "a line for each")
    return answers, log.read_bytes().splitlines()


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, reachable: list[SocketAddress]
) -> tuple[tuple[list[bytes], list[bytes]], ...]:
    count, servers = len(TEXTS) + 7, reachable[:2]
    theirs, ours = tmp_path_factory.mktemp("nginx"), tmp_path_factory.mktemp("kubelb")
    sockets = [listen() for _ in range(count)]
    where: list[SocketAddress] = [sock.getsockname()[:2] for sock in sockets]
    config = f"{PREAMBLE} user root root; worker_processes 1; events {{}} {stream(where, servers, theirs / 'log')}"
    with running_nginx(theirs, config, sockets):
        of_nginx = played(where, theirs / "log")
    with ExitStack() as stack:
        where = [stack.enter_context(reserved()) for _ in range(count)]
        file = ours / "nginx.conf"
        file.write_text(f"error_log stderr info; events {{}} {stream(where, servers, ours / 'log')}")
        stack.enter_context(running(ours, "--nginx-conf", str(file)))
        of_kubelb = played(where, ours / "log")
    return of_nginx, of_kubelb


def test_clients_are_told_the_same(both: tuple[tuple[list[bytes], list[bytes]], ...]) -> None:
    (theirs, _), (ours, _) = both
    for text, one, other in zip((*TEXTS, *[None] * 8), theirs, ours, strict=True):
        assert (text, other) == (text, one)


def test_the_access_logs_say_the_same(both: tuple[tuple[list[bytes], list[bytes]], ...]) -> None:
    (_, theirs), (_, ours) = both
    assert ours == theirs
    assert len(set(ours)) > len(TEXTS)
