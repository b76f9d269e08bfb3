from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubelb.snapshot import Pool, Server, Snapshot, State
from kubelb.supervisor.systemd import Systemd, describe, encode

SOCKET = "/run/systemd/notify"


@given(st.text())
@example("up\nMAINPID=1")
@example("up\r\nREADY=1")
@example("up\x00\x85\u2028MAINPID=1")
@example("\ud800")
def test_a_value_is_one_line_of_its_own(text: str) -> None:
    encoded = encode(("READY", "1"), ("STATUS", text)).decode()
    ready, status = encoded.splitlines()
    assert ready == "READY=1"
    assert status.startswith("STATUS=")
    assert len(status) == len("STATUS=") + len(text)
    assert "\x00" not in status


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_what_can_be_printed_is_said_as_it_is(text: str) -> None:
    assert encode(("STATUS", text)) == f"STATUS={text}".encode()


def snapshot(*states: State, removed: int = 0) -> Snapshot:
    servers = [
        Server(slot=slot, name=f"s{slot}", address=("10.0.0.1", slot), state=state, removed=slot <= removed)
        for slot, state in enumerate(states, 1)
    ]
    pools = [
        Pool(name=name, balance="least_conn", hash_key="", servers=tuple(part))
        for name, part in (("a", servers[:2]), ("b", servers[2:]))
    ]
    return Snapshot(version=1, listeners=(), pools=tuple(pools))


@pytest.mark.parametrize(
    ("states", "workers", "line"),
    [
        (("up", "up", "up"), [True, True], "3 of 3 servers usable; 2 of 2 workers"),
        (("unknown", "up"), [True, False], "2 of 2 servers usable; 1 of 2 workers"),
        (("down", "up", "down"), [True], "1 of 3 servers usable, 2 down; 1 of 1 workers"),
        (("suspect", "down"), [], "0 of 2 servers usable, 1 down, 1 suspect; 0 of 0 workers"),
    ],
)
def test_the_status_line(states: tuple[State, ...], workers: list[bool], line: str) -> None:
    assert describe(snapshot(*states), workers) == line


def test_who_has_left_does_not_count() -> None:
    assert describe(snapshot("draining", "up", "up", removed=1), [True]) == "2 of 2 servers usable; 1 of 1 workers"


@given(st.lists(st.sampled_from(get_args(State))))
def test_every_server_is_in_the_status_line(states: list[State]) -> None:
    line = describe(snapshot(*states), [True])
    usable, _, total, *_ = line.split()
    others = [int(part.split()[0]) for part in line.partition(";")[0].split(", ")[1:]]
    assert int(usable) + sum(others) == int(total) == len(states)


def test_without_the_variable_nothing_is_sent() -> None:
    """Here no socket can be opened."""
    systemd = Systemd({"WATCHDOG_USEC": "1000"}, 7)
    assert systemd.due == math.inf
    systemd.ready("")
    systemd.reloading()
    systemd.status("changed")
    systemd.alive(1e9)
    systemd.stopping("")


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative", " @name"])
def test_an_address_of_another_kind_is_none(address: str) -> None:
    Systemd({"NOTIFY_SOCKET": address}, 7).ready("")


def test_the_variables_are_gone_afterwards() -> None:
    environment = {"NOTIFY_SOCKET": SOCKET, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7", "HOME": "/"}
    Systemd(environment, 7)
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environment", "pause"),
    [
        ({}, math.inf),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, math.inf),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, 15.0),
        ({"WATCHDOG_USEC": "0"}, math.inf),
        ({"WATCHDOG_USEC": "-1"}, math.inf),
        ({"WATCHDOG_USEC": "soon"}, math.inf),
        ({"WATCHDOG_USEC": "²"}, math.inf),
        ({"WATCHDOG_USEC": "9" * 5000}, math.inf),
    ],
)
def test_who_is_to_give_signs_of_life(environment: dict[str, str], pause: float) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": SOCKET, **environment}, 7)
    assert (systemd.pause, systemd.due) == (pause, math.inf)


def test_who_takes_its_place_is_watched_as_it_was() -> None:
    environment = {"NOTIFY_SOCKET": SOCKET, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}
    first = Systemd(dict(environment), pid=7)
    second = Systemd({**environment, **first.variables}, pid=8)
    assert first.pause == second.pause == 1.5
    assert second.variables == first.variables


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": SOCKET, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "8"},
        {"NOTIFY_SOCKET": SOCKET},
        {"WATCHDOG_USEC": "1"},
    ],
)
def test_nobody_watches_who_takes_its_place(environment: dict[str, str]) -> None:
    first = Systemd(dict(environment), pid=7)
    assert Systemd({**environment, **first.variables}, pid=8).pause == math.inf
