from __future__ import annotations

import pytest

from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Listener
from kubelb.config.model.pools import Pool
from kubelb.config.model.variables import Assignment, MapRegex, Part, Variable
from kubelb.config.naming import nameless, reached_pools
from kubelb.config.validate import unused_pools
from kubelb.config.values import Address

POOLS = {name: Pool(servers=()) for name in ("One", "two", "10.0.0.1:6443", "spare")}
VARIABLES = {
    "m": Variable(kind="map", values={"1": "one", "2": "$g"}, default="${S}"),
    "g": Variable(kind="geo", values={"10.0.0.0/8": "TWO", "::/0": "$m"}, default="10.0.0.1:6443"),
    "s": Variable(kind="split_clients", parts=(Part(percent="1%", value="gone"),), default=""),
    "open": Variable(kind="map", default="$remote_addr"),
    "mixed": Variable(kind="map", default="pool-$g"),
    "regex": Variable(kind="map", default="two", regexes=(MapRegex(pattern="^(?<n>1)", value="one"),)),
    "captured": Variable(kind="map", regexes=(MapRegex(pattern="^(.)", value="$1"),)),
    "named": Variable(kind="map", default="$n"),
}
ALL = tuple(POOLS)


def reached(text: str, *assignments: tuple[str, str]) -> tuple[str, ...]:
    return reached_pools(listener(text, *assignments), Config(pools=POOLS, variables=VARIABLES))


def listener(text: str, *assignments: tuple[str, str]) -> Listener:
    return Listener(
        listen=(Address("127.0.0.1", 1),),
        pool=text,
        assignments=tuple(Assignment(variable=name, value=value) for name, value in assignments),
    )


@pytest.mark.parametrize(
    ("text", "pools"),
    [
        ("two", ("two",)),
        ("$m", ("One", "two", "10.0.0.1:6443")),
        ("${G}", ("two", "10.0.0.1:6443")),
        ("$s", ()),
        ("$open", ALL),
        ("$regex", ("One", "two")),
        ("$captured", ALL),
        ("$named", ALL),
        ("$mixed", ALL),
        ("$remote_addr", ALL),
        ("o$m", ALL),
        ("$set", ALL),
    ],
)
def test_the_pools_that_may_be_named(text: str, pools: tuple[str, ...]) -> None:
    assert reached(text) == pools


def test_what_is_assigned_counts_too() -> None:
    assert reached("$set", ("set", "one"), ("set", "$s")) == ("One",)
    assert reached("$g", ("g", "one")) == ("One", "two", "10.0.0.1:6443")
    assert reached("$set", ("set", "$set"), ("set", "two")) == ("two",)
    assert reached("$n", ("n", "two")) == ALL


def test_many_ways_to_the_same_name_are_gone_once() -> None:
    ways = {f"v{i}": Variable(kind="map", values={"a": f"$v{i + 1}"}, default=f"${{v{i + 1}}}") for i in range(90)}
    config = Config(pools=POOLS, variables={**ways, "v90": Variable(kind="map", default="two")})
    assert reached_pools(listener("$v0"), config) == ("two",)


def test_what_is_told_of_names() -> None:
    config = Config(listeners=(listener("$m"), listener("$m")), pools=POOLS, variables=VARIABLES)
    assert unused_pools(config) == ('pool "spare": no listener sends sessions to it',)
    assert nameless(config) == (
        'pool "$m" may be "$m", and there is no such pool: these clients are closed',
        'pool "$m" may be "gone", and there is no such pool: these clients are closed',
    )
