"""Which location answers a path. What it answers is compared with nginx's own in tests/real/test_admin.py."""

from __future__ import annotations

import posixpath

from hypothesis import example, given
from hypothesis import strategies as st

from kubelb.config.model import Location
from kubelb.control.endpoint import Figures, answer, find, normal

NOTHING = Figures(active=0, accepts=0, requests=0, reading=0, writing=0, waiting=0)

pieces = st.sampled_from(["a", "b", "healthz", ".", "..", "", "...", "a.b"])
paths = st.lists(pieces, min_size=1, max_size=6).map(lambda parts: "/" + "/".join(parts))


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
    given_answer = answer([Location(path="/s", stub_status=True)], "GET", "/s", figures)
    assert given_answer is not None
    assert given_answer.body == (
        b"Active connections: 1 \nserver accepts handled requests\n 2 2 3 \nReading: 4 Writing: 5 Waiting: 6 \n"
    )


def test_a_text_is_sent_as_utf8() -> None:
    given_answer = answer([Location(path="/", body="läuft")], "GET", "/x", NOTHING)
    assert given_answer is not None
    assert given_answer.body == "läuft".encode()
