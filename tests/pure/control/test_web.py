"""The admin side over TCP: its pages, and when the proxy is ready."""

from __future__ import annotations

import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.control.endpoint import Answer
from kubelb.control.status import Clients, Status
from kubelb.control.web import Views, answer, unready
from kubelb.snapshot import Listener, Pool, Server, Snapshot, State

STATUS = Status(version="1", pid=42, snapshot=7, clients=Clients(active=1, accepted=2), pools=())
PAGES = ("/", "/fragment", "/healthz", "/readyz", "/status", "/metrics")
STATES: tuple[State, ...] = typing.get_args(State)
servers = st.builds(
    Server,
    slot=st.just(1),
    name=st.just("n:1"),
    address=st.just(("10.0.0.1", 1)),
    state=st.sampled_from(STATES),
    drained=st.booleans(),
    removed=st.booleans(),
)


def a_server(state: State = "up", **marks: bool) -> Server:
    return Server(slot=1, name="n:1", address=("10.0.0.1", 1), state=state, **marks)  # type: ignore[arg-type]


def a_snapshot(used: tuple[str, ...], **pools: tuple[Server, ...]) -> Snapshot:
    """Listeners on these pools, out of those there are."""
    return Snapshot(
        version=1,
        listeners=tuple(Listener(address="a:1", pool=name, connect_timeout=1) for name in used),
        pools=tuple(
            Pool(name=name, balance="least_conn", hash_key="", servers=members) for name, members in pools.items()
        ),
    )


def views(snapshot: Snapshot) -> Views:
    return Views(
        page=lambda: Answer("200 OK", body=b"page"),
        fragment=lambda: Answer("200 OK", body=b"fragment"),
        snapshot=lambda: snapshot,
        status=lambda: STATUS,
        metrics=lambda: b"kubelb 1\n",
    )


READY = views(a_snapshot(("a",), a=(a_server(),)))


def test_pages() -> None:
    answers = {path: answer("GET", path, "", "node", READY) for path in PAGES}
    assert {page.status for page in answers.values()} == {"200 OK"}
    assert answers["/healthz"].body == answers["/readyz"].body == b"ok\n"
    assert msgspec.json.decode(answers["/status"].body, type=Status) == STATUS
    assert answers["/metrics"].body == b"kubelb 1\n"
    assert (answers["/"].body, answers["/fragment"].body) == (b"page", b"fragment")
    assert dict(answers["/metrics"].headers)["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


@given(st.text(max_size=10))
def test_nothing_else_is_there(path: str) -> None:
    if path not in PAGES:
        assert answer("GET", path, "", "node", READY).status == "404 Not Found"


@pytest.mark.parametrize("path", [*PAGES, "/drain", "/undrain", "/reload"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"])
def test_looking_is_all_that_can_be_done(method: str, path: str) -> None:
    page = answer(method, path, "", "node", READY)
    assert (page.status, dict(page.headers)["Allow"]) == ("405 Method Not Allowed", "GET, HEAD")


@pytest.mark.parametrize(
    ("server", "ready"),
    [
        (a_server("unknown"), True),
        (a_server("up"), True),
        (a_server("suspect"), True),
        (a_server("down"), False),
        (a_server("draining"), False),
        (a_server("disabled"), False),
        (a_server("up", drained=True), False),
        (a_server("up", removed=True), False),
    ],
)
def test_which_servers_are_usable(server: Server, ready: bool) -> None:
    snapshot = a_snapshot(("a",), a=(server,))
    assert unready(snapshot) == (() if ready else ("a",))
    assert answer("GET", "/readyz", "", "node", views(snapshot)).status[:3] == ("200" if ready else "503")
    assert answer("GET", "/healthz", "", "node", views(snapshot)).status == "200 OK"


@given(st.lists(servers, max_size=4))
def test_one_usable_server_is_enough(members: list[Server]) -> None:
    alone = [unready(a_snapshot(("a",), a=(server,))) == () for server in members]
    assert (unready(a_snapshot(("a",), a=tuple(members))) == ()) == any(alone)


def test_pools_are_named_once_and_only_those_that_are_used() -> None:
    down = (a_server("down"),)
    snapshot = a_snapshot(("b", "ok", "a\n", "b"), **{"a\n": down, "b": down, "ok": (a_server(),), "idle": down})
    assert unready(snapshot) == ("b", "a\n")
    assert answer("GET", "/readyz", "", "node", views(snapshot)).body == b"no usable server: b, a\\n\n"


def test_all_pools_that_a_text_may_name_are_used() -> None:
    named = Listener(address="a:1", pool="$name", connect_timeout=1.0, pools=("a", "b"))
    snapshot = msgspec.structs.replace(a_snapshot((), a=(a_server(),), b=(), c=()), listeners=(named,))
    assert unready(snapshot) == ("b",)


@pytest.mark.parametrize(
    "host",
    ["", "127.0.0.1", "127.0.0.1:8081", "10.0.0.1:8081", "[::1]", "[::1]:8081", "localhost:8081", "Node", "node:1"],
)
def test_a_name_of_this_machine_is_answered(host: str) -> None:
    assert answer("GET", "/status", host, "node", READY).status == "200 OK"


@pytest.mark.parametrize(
    "host", ["a.example", "a.example:8081", "node.example", "127.0.0.1.example", "localhost.a:1"]
)
def test_a_name_of_anybody_else_gets_nothing_to_read(host: str) -> None:
    """It may be a page's that has its name lead to this machine: DNS rebinding."""
    codes = {path: answer("GET", path, host, "node", READY).status[:3] for path in PAGES}
    assert {path for path, code in codes.items() if code == "200"} == {"/healthz", "/readyz"}
    assert set(codes.values()) == {"200", "421"}
