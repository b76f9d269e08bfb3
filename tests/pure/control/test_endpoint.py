"""Which location answers a path. What it answers is compared with nginx's own in tests/real/test_admin.py."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime, timezone

from hypothesis import example, given
from hypothesis import strategies as st

from kubelb.config.http_head import Head, parse_head
from kubelb.config.model.http import Header, HttpServer, Location
from kubelb.config.values import Duration
from kubelb.config.variables import Client, Worker
from kubelb.control.answers import respond
from kubelb.control.endpoint import Answer, Figures, Request, answer, find

NOTHING = Figures(active=0, accepts=0, requests=0, reading=0, writing=0, waiting=0)
_HERE = Worker("Node.example", 7)
_NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)

pieces = st.sampled_from(["a", "b", "healthz", ".", "..", "", "...", "a.b"])
paths = st.lists(pieces, min_size=1, max_size=6).map(lambda parts: "/" + "/".join(parts))


def _asked(head: Head, client: str = "127.0.0.1", number: int = 1) -> Request:
    return Request(head, Client(1, (client, 40000), ("127.0.0.1", 8081)), _NOW, number)


def _head(path: str, method: str = "GET", *headers: str) -> Head:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]
    return parse_head("\r\n".join(lines).encode("latin-1"))


def _get(location: Location, path: str, figures: Figures = NOTHING) -> Answer | None:
    server = HttpServer(listen=(), locations=(location,))
    return answer(server, _asked(_head(path)), figures, _HERE)


@given(st.lists(st.tuples(paths, st.booleans()), max_size=6, unique=True), paths)
@example([("/healthz", False), ("/healthz", True)], "/healthz")
def test_the_exact_location_wins_then_the_longest_prefix(chosen: list[tuple[str, bool]], path: str) -> None:
    locations = [Location(path=prefix, exact=exact) for prefix, exact in chosen]
    found = find(locations, path)
    if (path, True) in chosen:
        assert found == Location(path=path, exact=True)
    else:
        prefixes = [prefix for prefix, exact in chosen if not exact and path.startswith(prefix)]
        assert (found.path if found else None) == max(prefixes, key=len, default=None)


def test_stub_status_is_in_nginxs_form() -> None:
    figures = Figures(active=1, accepts=2, requests=3, reading=4, writing=5, waiting=6)
    given_answer = _get(Location(path="/s", stub_status=True), "/s", figures)
    assert given_answer is not None
    assert given_answer.body == (
        b"Active connections: 1 \nserver accepts handled requests\n 2 2 3 \nReading: 4 Writing: 5 Waiting: 6 \n"
    )


def test_a_text_is_sent_as_utf8() -> None:
    given_answer = _get(Location(path="/", body="läuft"), "/x")
    assert given_answer is not None
    assert given_answer.body == "läuft".encode()


def _status(server: HttpServer, path: str, client: str, method: str = "GET") -> str:
    given_answer = answer(server, _asked(_head(path, method), client), NOTHING, _HERE)
    assert given_answer is not None
    return given_answer.status[:3]


def test_the_rules_of_the_location_stand_in_the_place_of_the_servers() -> None:
    open_ = Location(path="/open", access=("allow 10.0.0.0/8", "deny all"))
    server = HttpServer(listen=(), locations=(open_, Location(path="/closed")), access=("deny 10.0.0.0/8",))
    assert [_status(server, path, "10.0.0.1") for path in ("/open", "/closed", "/none")] == ["200", "403", "403"]
    assert [_status(server, path, "11.0.0.1") for path in ("/open", "/closed", "/none")] == ["403", "200", "404"]
    assert _status(server, "/closed", "10.0.0.1", "TRACE") == "405"


@given(st.sampled_from([200, 204, 301, 302, 308, 304, 400, 404, 418, 503]), st.booleans())
def test_headers_go_with_good_answers_or_with_all(status: int, always: bool) -> None:
    headers = (Header(name="X-A", value="1", always=always), Header(name="X-Empty", value="", always=True))
    location = Location(path="/", status=status, body="/x", headers=headers)
    server = HttpServer(listen=(), locations=(location,), headers=(Header(name="X-B", value="2", always=True),))
    given_answer = answer(server, _asked(_head("/")), NOTHING, _HERE)
    assert given_answer is not None
    mine = [header for header in given_answer.headers if header[0].startswith("X-")]
    assert mine == ([("X-A", "1")] if always or status < 400 else [])


def test_a_path_is_redirected_to_on_the_same_origin() -> None:
    for url, wanted in (("/y", "http://x:8081/y"), ("https://y/", "https://y/"), ("", "")):
        given_answer = _get(Location(path="/", status=307, body=url), "/")
        assert given_answer is not None
        assert ("Location", wanted) in given_answer.headers


_TEXTS = st.sampled_from(
    ["$uri", "$document_uri$args", "$remote_user", "$http_x_a", "$cookie_a", "$host", "$request", "x"]
)
_BYTES = st.binary(max_size=30).map(lambda data: "".join(f"%{byte:02x}" for byte in data if byte))


@given(_TEXTS, _BYTES, st.binary(max_size=30), st.sampled_from([200, 301, 404]))
@example("$uri", "%0d%0aSet-Cookie:%20a=1", b"", 301)
@example("$remote_user", "", b"a\r\nb\0:c", 200)
def test_nothing_ends_the_line_of_a_header(text: str, path: str, user: bytes, status: int) -> None:
    word = b64encode(user).decode()
    head = _head(f"/{path}", "GET", f"Authorization: Basic {word}", "X-A: \x01\x02")
    location = Location(path="/", status=status, body=text, headers=(Header(name="X-A", value=text, always=True),))
    given_answer = answer(HttpServer(listen=(), locations=(location,)), _asked(head), NOTHING, _HERE)
    assert given_answer is not None
    assert given_answer.headers
    for _, value in given_answer.headers:
        assert not {"\r", "\n", "\0"} & set(value)
    respond(given_answer, {"REQUEST_METHOD": "GET"}, lambda status, headers: headers)


def test_a_line_that_would_end_is_encoded_again() -> None:
    given_answer = _get(Location(path="/", status=301, body="https://$host$uri"), "/a%0d%0aSet-Cookie:%20b")
    assert given_answer is not None
    assert ("Location", "https://x/a%0D%0ASet-Cookie: b") in given_answer.headers


def test_what_a_connection_is_kept_for() -> None:
    own = Location(path="/own", keepalive_timeout=Duration(5), keepalive_requests=2)
    never = Location(path="/never", keepalive_timeout=Duration(0))
    server = HttpServer(listen=(), locations=(own, never, Location(path="/")), keepalive_requests=3)

    def kept(path: str, number: int, *headers: str) -> Duration | None:
        given_answer = answer(server, _asked(_head(path, "GET", *headers), number=number), NOTHING, _HERE)
        assert given_answer is not None
        return None if given_answer.is_last else given_answer.wait

    assert [kept("/own", number) for number in (1, 2)] == [Duration(5), None]
    assert [kept("/", number) for number in (1, 2, 3)] == [Duration(75), Duration(75), None]
    assert kept("/never", 1) is None
    assert kept("/", 1, "Connection: close") is None
