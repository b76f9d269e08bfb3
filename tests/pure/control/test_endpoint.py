"""Which location answers a path. What it answers is compared with nginx's own in tests/real/test_admin.py."""

from __future__ import annotations

import posixpath

from hypothesis import example, given
from hypothesis import strategies as st

from kubelb.config.model import Header, HttpServer, Location
from kubelb.control.endpoint import Answer, Figures, Request, answer, find, normal

NOTHING = Figures(active=0, accepts=0, requests=0, reading=0, writing=0, waiting=0)

pieces = st.sampled_from(["a", "b", "healthz", ".", "..", "", "...", "a.b"])
paths = st.lists(pieces, min_size=1, max_size=6).map(lambda parts: "/" + "/".join(parts))


def _get(location: Location, path: str, figures: Figures = NOTHING) -> Answer | None:
    server = HttpServer(listen=(), locations=(location,))
    return answer(server, Request("GET", path, client="127.0.0.1", origin="http://x"), figures)


@given(paths)
def test_the_normal_form_is_normal(path: str) -> None:
    result = normal(path)
    assert result.startswith("/")
    assert normal(result) == result
    assert not {".", ".."} & set(result.split("/"))
    assert result.rstrip("/") == posixpath.normpath(path).lstrip("/").join(["/", ""]).rstrip("/")


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
    given_answer = answer(server, Request(method, path, client, origin="http://x"), NOTHING)
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
    given_answer = answer(server, Request("GET", "/", "127.0.0.1", "http://x"), NOTHING)
    assert given_answer is not None
    mine = [header for header in given_answer.headers if header[0].startswith("X-")]
    assert mine == ([("X-A", "1")] if always or status < 400 else [])


def test_a_path_is_redirected_to_on_the_same_origin() -> None:
    for url, wanted in (("/y", "http://x/y"), ("https://y/", "https://y/"), ("", "")):
        given_answer = _get(Location(path="/", status=307, body=url), "/")
        assert given_answer is not None
        assert ("Location", wanted) in given_answer.headers
