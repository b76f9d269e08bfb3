"""Regular expressions find and capture the same as nginx's, and what is accepted nginx accepts."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from kubelb.config.nginx.syntax import NginxOptions
from kubelb.config.regex.compiled import compile_regex
from kubelb.config.rules.variables import compiled_own
from kubelb.config.sources import Sources, load
from kubelb.config.variables import Client, Ended, Opening, Worker, compile_answer, compile_key
from kubelb.snapshot import SocketAddress
from tests.support.identity import name_of
from tests.support.nginx import PREAMBLE, listen, running_nginx
from tests.support.pcre2 import Pcre2
from tests.support.regexes import garbage, patterns, texts


@pytest.fixture(scope="module")
def pcre2() -> Pcre2:
    return Pcre2()


@settings(max_examples=400)
@given(patterns, st.booleans(), st.lists(texts, min_size=1, max_size=8))
def test_they_find_and_capture_what_pcre_does(
    pcre2: Pcre2, pattern: str, any_case: bool, subjects: list[bytes]
) -> None:
    try:
        regex = compile_regex(pattern, any_case)
    except ValueError:
        assume(False)
    for text in subjects:
        match = regex.pattern.search(text)
        ours = None if match is None else [match[0], *match.groups()]
        assert (text, ours) == (text, pcre2.search(pattern.encode(), any_case, text))


@settings(max_examples=1000)
@given(garbage, st.booleans())
def test_what_is_accepted_is_no_fault_to_pcre(pcre2: Pcre2, pattern: str, any_case: bool) -> None:
    try:
        compile_regex(pattern, any_case)
    except ValueError:
        return
    assert pcre2.accepts(pattern.encode(), any_case)


def _is_accepted(key: tuple[str, bool]) -> bool:
    try:
        compile_regex(*key)
    except ValueError:
        return False
    return True


Lines = list[tuple[str, bool]]
"""Patterns, and whether case does not count."""
_line = st.tuples(patterns, st.booleans()).filter(_is_accepted)
_maps = st.lists(st.lists(_line, min_size=1, max_size=3), min_size=8, max_size=16)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _map(number: int, lines: Lines) -> str:
    entries = [f'{_quoted(("~*" if case else "~") + p)} "{i}: $1,$2";' for i, (p, case) in enumerate(lines)]
    return f"map $text $m{number} {{ {' '.join(entries)} default none; }}"


def _stream(maps: Sequence[Lines], subjects: Sequence[bytes], where: Sequence[SocketAddress]) -> str:
    answer = "|".join(f"$m{number}" for number in range(len(maps)))
    servers = [
        f'server {{ listen {name_of(address)}; set $text {_quoted(text.decode())}; return "{answer}|$1,$2"; }}'
        for text, address in zip(subjects, where, strict=True)
    ]
    return "\n".join(["stream {", *(_map(number, lines) for number, lines in enumerate(maps)), *servers, "}"])


def _said(address: SocketAddress) -> bytes:
    with socket.create_connection(address, 30) as client:
        return b"".join(iter(lambda: client.recv(65536), b""))


def _ours(conf: Path) -> list[bytes]:
    """What the clients of each listener would be told."""
    config = load(Sources(nginx_conf=str(conf), nginx=NginxOptions())).config
    worker = Worker("", 0, compiled_own(config))
    answers = []
    for listener in config.listeners:
        own: dict[str, bytes] = {}
        client = Client(1, ("127.0.0.1", 1), ("127.0.0.1", 2), own=own)
        for one in listener.assignments:
            own[one.variable] = compile_key(one.value, worker)(client)
        ended = Ended(Opening(client, 0.0, ()), 0, 0.0, datetime.now(timezone.utc), 0, 0)
        answers.append(compile_answer(listener.answer or "", worker)(ended))
    return answers


# Each example is an nginx of its own: too slow to look for the shortest that fails.
@settings(max_examples=12, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(_maps, st.lists(texts, min_size=4, max_size=10))
def test_maps_are_as_in_nginx(maps: list[Lines], subjects: list[bytes]) -> None:
    sockets = [listen() for _ in subjects]
    where: list[SocketAddress] = [sock.getsockname()[:2] for sock in sockets]
    stream = _stream(maps, subjects, where)
    with tempfile.TemporaryDirectory() as directory:
        conf = Path(directory) / "ours.conf"
        conf.write_text(f"events {{}}\n{stream}")
        ours = _ours(conf)
        head = f"{PREAMBLE} user root root; worker_processes 1; events {{}}\n"
        with running_nginx(Path(directory), head + stream, sockets):
            theirs = [_said(address) for address in where]
    assert ours == theirs
