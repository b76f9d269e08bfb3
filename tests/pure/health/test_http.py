from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb import __version__
from kubelb.health.http import MAX_BODY, MAX_HEAD, Answer, PeerFault, answer, request


def read(*pieces: bytes) -> Answer | str:
    """What is made of the pieces and the end after them; the fault's words where there is one."""
    reading = answer()
    next(reading)
    try:
        for piece in (*pieces, b""):
            reading.send(piece)
    except StopIteration as end:
        return cast(Answer, end.value)
    except PeerFault as fault:
        return str(fault)
    raise AssertionError("the end of the connection is the end of the answer")


def cut(text: bytes, points: list[int]) -> list[bytes]:
    ends = sorted({point % (len(text) + 1) for point in points} | {len(text)})
    return [piece for start, end in zip([0, *ends], ends, strict=False) if (piece := text[start:end])]


def chunked(body: bytes, sizes: list[int], extension: bytes, trailer: bytes) -> bytes:
    text = b""
    while body:
        size = sizes.pop() if sizes else len(body)
        piece, body = body[:size], body[size:]
        text += b"%x%s\r\n%s\r\n" % (len(piece), extension, piece)
    return text + b"0\r\n" + trailer + b"\r\n"


def shown(text: bytes | str) -> str:
    """A test's name without all of a long text."""
    shown = repr(text)
    return f"{shown[:40]}...{shown[-20:]}" if len(shown) > 60 else shown


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, Answer]:
    """A whole answer as it goes over the wire, and what has to be read in it."""
    status = draw(st.integers(200, 599).filter(lambda code: code not in (204, 304)))
    body = draw(st.binary(max_size=200))
    close = draw(st.sampled_from([b"", b"Connection: close\r\n", b"connection: Keep-Alive , CLOSE\r\n"]))
    minor = draw(st.sampled_from([0, 1]))
    head = b"HTTP/1.%d %d%s\r\n" % (minor, status, draw(st.sampled_from([b"", b" ", b" Not so good"])))
    head += draw(st.sampled_from([b"", b"Date: now\r\n", b"X-Long: one\r\n\ttwo\r\n", b"Audit-Id:\r\n"])) + close
    if draw(st.booleans()):
        sizes = draw(st.lists(st.integers(1, 50)))
        extension = draw(st.sampled_from([b"", b" ", b";name=value"]))
        trailer = draw(st.sampled_from([b"", b"Checksum: 0\r\n"]))
        text = head + b"Transfer-Encoding: Chunked\r\n\r\n" + chunked(body, sizes, extension, trailer)
    else:
        text = head + draw(st.sampled_from([1, 2])) * (b"Content-Length: %d\r\n" % len(body)) + b"\r\n" + body
    interim = draw(
        st.sampled_from([b"", b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n", b"HTTP/1.1 100 \r\n\r\n" * 2])
    )
    return interim + text, Answer(status, body, reusable=bool(minor) and not close)


@given(answers(), st.lists(st.integers(0)))
def test_an_answer_is_read_in_whatever_pieces_it_comes(made: tuple[bytes, Answer], points: list[int]) -> None:
    text, expected = made
    assert read(*cut(text, points)) == expected
    assert read(*(bytes([byte]) for byte in text)) == expected


@given(answers(), st.data())
def test_an_answer_cut_short_is_a_fault(made: tuple[bytes, Answer], data: st.DataObject) -> None:
    text, _ = made
    cut_at = data.draw(st.integers(1, len(text) - 1))
    assert read(text[:cut_at]) == "closed in the middle of its answer"


@given(answers(), st.data())
def test_whatever_comes_is_an_answer_or_a_fault_in_any_pieces(
    made: tuple[bytes, Answer], data: st.DataObject
) -> None:
    text = bytearray(made[0])
    for at in data.draw(st.lists(st.integers(0, len(text) - 1), max_size=5)):
        text[at] = data.draw(st.integers(0, 255))
    whole = read(bytes(text))
    pieces = read(*cut(bytes(text), data.draw(st.lists(st.integers(0)))))
    if isinstance(whole, Answer) and isinstance(pieces, Answer):
        # Bytes after the answer are seen only if they come with it.
        assert (whole.status, whole.body) == (pieces.status, pieces.body)
        assert pieces.reusable or not whole.reusable
    else:
        assert whole == pieces


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "closed without an answer"),
        (b"220 mail.example ESMTP\r\n", "not HTTP"),
        (b"HTTP/2 200\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 OK\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "not HTTP"),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "not HTTP"),
        (OK + b"no colon\r\n\r\n", "not HTTP: a malformed header"),
        (OK + b"word\r\n\r\n", "not HTTP: a malformed header"),
        (OK + b"two words: 1\r\n\r\n", "not HTTP: a malformed header"),
        (OK + b" folded: 1\r\n\r\n", "not HTTP: a malformed header"),
        (OK + b"a: b\rc\r\n\r\n", "not HTTP: a malformed header"),
        (OK + b"a: \0\r\n\r\n", "not HTTP: a malformed header"),
        (OK + b"Content-Length: -1\r\n\r\n", "not HTTP: a malformed Content-Length"),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "not HTTP: a malformed Content-Length"),
        (CHUNKED + b"xyz\r\n", "not HTTP: a malformed chunk"),
        (CHUNKED + b"1\r\nab\r\n", "not HTTP: a malformed chunk"),
        (CHUNKED + b"-1\r\n", "not HTTP: a malformed chunk"),
        (b"HTTP/1.1 " * MAX_HEAD, "not HTTP: a line or head without end"),
        (OK + b"a: b\r\n" * MAX_HEAD, "not HTTP: a line or head without end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_HEAD, "not HTTP: a line or head without end"),
        (CHUNKED + b"0\r\n" + b"a: b\r\n" * MAX_HEAD, "not HTTP: a line or head without end"),
        (CHUNKED + b"1;" + b"a" * 9999, "not HTTP: a line or head without end"),
    ],
    ids=shown,
)
def test_what_is_not_http(text: bytes, fault: str) -> None:
    assert read(text) == fault


@pytest.mark.parametrize("begun", [b"S", b"HTTP/2", b"\x15\x03\x01\x00\x02\x02\x46"])
def test_it_is_not_waited_for_more_of_what_cannot_be_http(begun: bytes) -> None:
    reading = answer()
    next(reading)
    with pytest.raises(PeerFault, match="not HTTP"):
        reading.send(begun)


@pytest.mark.parametrize(
    "rest",
    [
        b"\r\n",
        b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1),
        b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        b"Transfer-Encoding: chunkedX\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (MAX_BODY + 1),
        b"Transfer-Encoding: chunked\r\n\r\n" + (b"1;" + b"b" * 1022 + b"\r\na\r\n") * (MAX_BODY // 1024),
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"Connection: close\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=shown,
)
def test_a_connection_is_given_up_where_the_next_answer_is_not_sure_to_follow(rest: bytes) -> None:
    result = read(OK + rest)
    assert isinstance(result, Answer)
    assert (result.status, result.reusable) == (200, False)


@pytest.mark.parametrize("status", [204, 304])
def test_some_answers_have_no_body_whatever_they_say(status: int) -> None:
    assert read(b"HTTP/1.1 %d\r\nContent-Length: 9\r\n\r\n" % status) == Answer(status, b"", reusable=True)


def test_the_largest_body_is_read_and_little_of_it_kept() -> None:
    body = bytes(range(256)) * 4096
    assert read(OK + b"Content-Length: 1048576\r\n\r\n", body) == Answer(200, body[: 16 * 1024], reusable=True)
    assert read(OK + b"Content-Length: 1048577\r\n\r\n", body + b"a") == Answer(200, b"", reusable=False)


@pytest.mark.parametrize(("size", "reusable"), [(1048570, True), (1048571, False)])
def test_the_lines_of_chunks_count_towards_the_largest_body(size: int, reusable: bool) -> None:
    """They have five bytes and one here."""
    result = read(CHUNKED + b"%x\r\n" % size, b"a" * size + b"\r\n0\r\n\r\n")
    assert result == Answer(200, b"a" * 16 * 1024, reusable)


def test_a_body_whose_end_is_not_told_is_not_looked_at() -> None:
    assert read(OK + b"\r\nnot so good") == Answer(200, b"", reusable=False)


def test_lines_may_end_without_a_carriage_return() -> None:
    assert read(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok") == Answer(200, b"ok", reusable=True)
    chunks = b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\nSum: 1\n\n"
    assert read(chunks) == Answer(200, b"ok", reusable=True)
    assert read(*(bytes([byte]) for byte in chunks)) == Answer(200, b"ok", reusable=True)


def test_a_value_may_go_on_in_the_next_line() -> None:
    assert read(OK + b"Content-Length:\r\n 2\r\n\r\nok") == Answer(200, b"ok", reusable=True)
    assert read(OK + b"Connection: a,\r\n\tclose\r\nContent-Length: 0\r\n\r\n") == Answer(200, b"", reusable=False)


def test_all_below_200_are_interim() -> None:
    assert read(b"HTTP/1.1 199 Soon\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n") == Answer(200, b"", reusable=True)
    assert read(b"HTTP/1.1 200 Now\r\nContent-Length: 0\r\n\r\n") == Answer(200, b"", reusable=True)


WITHOUT_END = "not HTTP: a line or head without end"
GOOD = Answer(200, b"", reusable=True)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"HTTP/1.1 200 OK\nContent-Length: 0\n", b"\n"),
        (b"HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\nContent-Length: 0\n", b"\n"),
        (b"HTTP/1.1 200 OK\n", b"a: b\nc: d\nContent-Length: 0\n\n"),
    ],
    ids=shown,
)
def test_a_head_has_64_kib_with_the_interim_answers_before_it(before: bytes, after: bytes) -> None:
    room = 64 * 1024 - len(before + after) - len(b"x: \n")
    assert read(before + b"x: " + b"a" * room + b"\n" + after) == GOOD
    assert read(before + b"x: " + b"a" * (room + 1) + b"\n" + after) == WITHOUT_END


def test_trailers_have_64_kib() -> None:
    trailers = b"a: b\nc: d\nx: %s\n\n"
    room = 64 * 1024 - len(trailers % b"")
    assert read(CHUNKED + b"0\r\n" + trailers % (b"a" * room)) == GOOD
    assert read(CHUNKED + b"0\r\n" + trailers % (b"a" * (room + 1))) == WITHOUT_END


def test_the_line_of_a_chunk_has_4_kib() -> None:
    assert read(CHUNKED + b"0;" + b"a" * 4093 + b"\n\n") == GOOD
    assert read(CHUNKED + b"0;" + b"a" * 4094 + b"\n\n") == WITHOUT_END


@pytest.mark.parametrize(("begun", "most"), [(OK, 64 * 1024 - len(OK) + 1), (CHUNKED, 4096)], ids=shown)
def test_it_is_not_waited_for_more_of_a_line_that_is_too_long(begun: bytes, most: int) -> None:
    reading = answer()
    next(reading)
    reading.send(begun)
    reading.send(b"a" * (most - 1))
    with pytest.raises(PeerFault, match=WITHOUT_END):
        reading.send(b"a")


@pytest.mark.parametrize("token", [None, "a.b-c"])
def test_a_request_is_a_get_that_keeps_the_connection(token: str | None) -> None:
    authorization = [] if token is None else ["Authorization: Bearer a.b-c"]
    assert request("/readyz?verbose", "[::1]:6443", token).decode().split("\r\n") == [
        "GET /readyz?verbose HTTP/1.1",
        "Host: [::1]:6443",
        f"User-Agent: kubelb/{__version__}",
        "Accept: */*",
        "Connection: keep-alive",
        *authorization,
        "",
        "",
    ]
