"""Messages read back as what they were made of."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.reasons import ValueFault
from kubelb.syslog.message import FACILITIES, OF_LEVEL, SEVERITIES, Facility, Peer, Severity, check_tag

_MESSAGE = re.compile(
    rb"<(?P<priority>[0-9]{1,3})>(?P<time>[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}) "
    rb"(?P<host>\S* )?(?P<tag>\w*): (?P<text>.*)",
    re.DOTALL,
)
_NAMES = st.from_regex(r"[a-z0-9.-]{0,20}", fullmatch=True)
_TAGS = st.from_regex(r"[A-Za-z0-9_]{0,32}", fullmatch=True)


def test_as_nginx_writes_it() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5)
    peer = Peer("/dev/log", "local7", "nginx", "node1")
    assert peer.message("info", at, b"hello") == b"<190>Jan  2 03:04:05 node1 nginx: hello"
    assert peer._replace(hostname="").message("emerg", at, b"") == b"<184>Jan  2 03:04:05 nginx: "
    assert Peer("/", "kern", "").message("debug", at.replace(month=12, day=31), b"x") == b"<7>Dec 31 03:04:05 : x"


@given(
    facility=st.sampled_from(FACILITIES),
    severity=st.sampled_from(SEVERITIES),
    at=st.datetimes(),
    host=_NAMES,
    tag=_TAGS,
    text=st.binary(),
)
def test_it_reads_back(
    facility: Facility, severity: Severity, at: datetime, host: str, tag: str, text: bytes
) -> None:
    match = _MESSAGE.fullmatch(Peer("/", facility, tag, host).message(severity, at, text))
    assert match is not None
    assert divmod(int(match["priority"]), 8) == (FACILITIES.index(facility), SEVERITIES.index(severity))
    read = datetime.strptime(f"{at.year:04} {match['time'].decode()}", "%Y %b %d %H:%M:%S")
    assert read == at.replace(microsecond=0)
    assert (match["host"] or b"").rstrip().decode() == host
    assert (match["tag"].decode(), match["text"]) == (tag, text)


def test_the_numbers_of_the_rfc() -> None:
    """RFC 3164, 4.1.1."""
    assert [FACILITIES.index(name) for name in ("kern", "daemon", "authpriv", "local0", "local7")] == [
        0,
        3,
        10,
        16,
        23,
    ]
    assert [SEVERITIES.index(OF_LEVEL[level]) for level in ("critical", "error", "warning", "info", "debug")] == [
        *(2, 3, 4, 6, 7)
    ]


@given(_TAGS)
def test_tags(tag: str) -> None:
    check_tag(tag)


@pytest.mark.parametrize("tag", ["a-b", "a b", "a\n", "é", "`", "a:", "x" * 33])
def test_no_tags(tag: str) -> None:
    with pytest.raises(ValueFault, match="syslog"):
        check_tag(tag)


@pytest.mark.parametrize(
    ("address", "text"),
    [("/dev/log", "unix:/dev/log"), (("::1", 514), "[::1]:514"), (("10.0.0.1", 5), "10.0.0.1:5")],
)
def test_as_the_operator_writes_it(address: str | tuple[str, int], text: str) -> None:
    assert str(Peer(address)) == text
