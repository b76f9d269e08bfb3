from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.faults import ConfigFault
from kubelb.supervisor import listenfds
from kubelb.supervisor.listenfds import Passed

NAMES = st.lists(st.text(st.characters(codec="ascii", exclude_characters=":"), min_size=1))


def variables(pid: int | None = None, fds: str | None = None, names: str | None = None) -> dict[str, str]:
    found = {"LISTEN_PID": None if pid is None else str(pid), "LISTEN_FDS": fds, "LISTEN_FDNAMES": names}
    return {name: text for name, text in found.items() if text is not None}


@given(NAMES)
def test_each_has_a_number_and_a_name(names: list[str]) -> None:
    environment = {"HOME": "/", **variables(7, str(len(names)), ":".join(names))}
    assert listenfds.take(environment, 7) == tuple(Passed(fd, name) for fd, name in enumerate(names, 3))
    assert environment == {"HOME": "/"}


def test_nobody_has_named_them() -> None:
    assert listenfds.take(variables(7, "2"), 7) == (Passed(3, "unknown"), Passed(4, "unknown"))


@pytest.mark.parametrize(
    "environment",
    [
        {},
        variables(7),
        variables(7, "0"),
        variables(8, "2", "a:b"),
        variables(None, "2", "a:b"),
        variables(8, "nonsense"),
    ],
)
def test_there_are_none_for_us(environment: dict[str, str]) -> None:
    assert listenfds.take(environment, 7) == ()
    assert environment == {}


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (variables(7, "-1"), 'LISTEN_FDS is "-1"; it is the number of descriptors that are passed'),
        (variables(7, ""), 'LISTEN_FDS is ""; it is the number of descriptors that are passed'),
        (variables(7, "٣"), 'LISTEN_FDS is "٣"; it is the number of descriptors that are passed'),
        (variables(7, "2", "a"), "LISTEN_FDNAMES has 1 names for 2 descriptors; it has one for each"),
        (variables(7, "1", "a:b"), "LISTEN_FDNAMES has 2 names for 1 descriptors; it has one for each"),
    ],
)
def test_what_does_not_fit_together_is_refused(environment: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigFault) as caught:
        listenfds.take(environment, 7)
    assert str(caught.value) == line
    assert environment == {}
