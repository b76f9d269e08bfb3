from __future__ import annotations

from datetime import datetime, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.log_format import compile_format
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Listener
from kubelb.config.model.pools import Pool, Server
from kubelb.config.model.variables import MapRegex, Part, Variable
from kubelb.config.own_variables import Cycle, compile_own
from kubelb.config.validate import validate
from kubelb.config.values import Address
from kubelb.config.variables import Client, Ended, Opening, Worker, compile_answer, compile_key, knowing
from kubelb.reasons import ValueFault

CLIENT = Client(7, ("10.0.0.9", 50001), ("10.0.0.1", 6443))
SERVER = Server(address=Address("10.0.0.1", 6443))


def a_map(source: str, default: str = "", **values: str) -> Variable:
    return Variable(kind="map", source=source, default=default, values=values)


def regexes(source: str, default: str = "", **values: str) -> Variable:
    """``values`` by pattern."""
    lines = tuple(MapRegex(pattern=pattern, value=value) for pattern, value in values.items())
    return Variable(kind="map", source=source, default=default, regexes=lines)


def worker(*assigned: str, **variables: Variable) -> Worker:
    return Worker("node", 1, compile_own(variables, assigned))


def value(text: str, place: Worker, client: Client = CLIENT) -> bytes:
    return compile_key(text, place)(client)


def keeping(client: Client = CLIENT) -> tuple[Client, dict[str, bytes]]:
    values: dict[str, bytes] = {}
    return msgspec.structs.replace(client, own=values), values


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_in_which_they_are_written_does_not_count(order: list[str]) -> None:
    made = {
        "a": a_map("$remote_addr", "<$b>"),
        "b": a_map("$c", "", x="$server_port"),
        "c": a_map("${d}", "y", far="x"),
        "d": Variable(kind="geo", values={"10.0.0.0/8": "far"}),
    }
    assert value("$A", worker(**{name: made[name] for name in order})) == b"<6443>"


def test_what_they_were_is_kept_for_the_session() -> None:
    place = worker("x", m=a_map("$x", "<$x>"), v=Variable(kind="map", source="$x", default="<$x>", volatile=True))
    client, values = keeping()
    values["x"] = b"1"
    assert value("$m$v", place, client) == b"<1><1>"
    values["x"] = b"2"
    assert value("$m$v", place, client) == b"<1><2>"
    assert value("$m$v$x", place) == b"<><>"


def test_an_assignment_goes_before_what_it_would_be() -> None:
    client, values = keeping()
    values["m"] = b"assigned"
    assert value("$m", worker(m=a_map("$remote_addr", "mapped")), client) == b"assigned"
    assert value("$m", worker(m=a_map("$remote_addr", "mapped"))) == b"mapped"


def test_what_needs_the_end_is_not_known_before() -> None:
    place = worker(m=a_map("$status", "x"), n=a_map("$remote_addr", "$m"), o=a_map("$remote_addr", "x"))
    for name in "mn":
        with pytest.raises(ValueFault, match=f'^"{name}" is not known yet at that time'):
            compile_key(f"${name}", place)
        compile_answer(f"${name}", place)
    compile_key("$o", place)


@pytest.mark.parametrize("depth", [1, 2, 50, 101])
def test_cycles_and_long_ways_are_refused(depth: int) -> None:
    ring = {f"v{i}": a_map(f"$v{(i + 1) % depth}") for i in range(depth)}
    with pytest.raises(Cycle, match=r'^cycle while evaluating variable "v'):
        compile_own(ring)


def test_a_long_way_that_nginx_goes() -> None:
    way = {f"v{i}": a_map(f"$v{i + 1}", "", x="x") for i in range(99)}
    assert value("$v0", worker(**way, v99=a_map("$remote_port", "x"))) == b"x"


def test_values_that_are_not_texts_of_a_map_have_no_variables() -> None:
    place = worker(g=Variable(kind="geo", default="$x"), s=Variable(kind="split_clients", default="$y"))
    assert value("$g$s", place) == b"$x$y"


def test_those_that_are_gone_are_empty() -> None:
    place = knowing(worker(m=a_map("$remote_addr", "m")), "<$m$gone>", "$gone")
    assert value("<$m$gone>", place) == b"<m>"


def test_what_was_captured_last_is_known_from_then_on() -> None:
    place = worker(
        a=regexes("$remote_addr", **{r"^(\d+)\.(?<Second>\d+)": "$2.$1"}),
        b=regexes("$remote_port", **{"^9": "", "^(?<second>5)": "$second$1$2"}),
        c=regexes("$remote_port", "no", **{"^9(.)": "$1"}),
        d=regexes("$remote_port", **{"^5": "found"}),
    )
    client, values = keeping()
    assert value("<$1$second>", place, client) == b"<>"
    assert value("$1$second$a$1$2$second", place, client) == b"0.101000"
    assert value("$b$1$2$12$second", place, client) == b"555525"
    assert value("$c$1", place, client) == b"no5"
    assert value("$a$1$second", place, client) == b"0.1055"
    assert value("$d$1$second", place, client) == b"found5"
    assert values.keys() == {"a", "b", "c", "d", "second"}


def test_what_nobody_has_captured_is_no_value_to_a_log() -> None:
    place = worker(a=regexes("$remote_addr", **{"(?<x>z)|1": "a"}))
    client, _ = keeping()
    line = compile_format("$x $a $x", "default", place)
    assert line(ended(client)) == b"- a "


def test_a_log_does_not_know_what_was_captured_by_its_number() -> None:
    place = worker(a=regexes("$remote_addr", **{"(z)": "a"}))
    with pytest.raises(ValueFault, match=r'^unknown "1" variable'):
        compile_format("$1", "default", place)
    compile_answer("$1", place)


def test_without_regular_expressions_nothing_is_captured() -> None:
    with pytest.raises(ValueFault, match=r'^unknown "1" variable'):
        compile_key("$1", worker(m=a_map("$remote_addr")))


def test_values_come_before_regular_expressions_and_these_in_their_order() -> None:
    lines = (
        MapRegex(pattern="^A", value="small"),
        MapRegex(pattern="^A", value="any", any_case=True),
        MapRegex(pattern="", value="rest"),
    )
    m = Variable(kind="map", source="$x", values={"abc": "whole"}, regexes=lines, default="default", volatile=True)
    host = msgspec.structs.replace(m, hostnames=True, regexes=(MapRegex(pattern=r"^(.*\.)$|b", value="<$1>"),))
    place, (client, values) = worker("x", m=m, host=host), keeping()
    for text, found in {"aBC": "whole", "Ab": "small", "ab": "any", "b": "rest", "": "default"}.items():
        values["x"] = text.encode()
        assert value("$m", place, client) == found.encode()
    values["x"] = b"b.."
    assert value("$host", place, client) == b"<b.>"
    values["x"] = b"b."
    assert value("$host", place, client) == b"<>"


def test_a_text_too_long_for_a_regular_expression_has_the_default() -> None:
    told: list[tuple[str, int]] = []
    m = regexes("$x", "default", **{"^(?:x|y)": "found", "([0-9]+x)+y": "never", "^z": "later"})
    place = Worker("node", 1, compile_own({"m": m}, ["x"], lambda *what: told.append(what)))
    for text, found in {b"x" * 4096: b"found", b"z" * 90: b"later", b"z" * 4096: b"default", b"": b"default"}.items():
        client, values = keeping()
        values["x"] = text
        assert value("$m", place, client) == found
    assert told == [("m", 4096)]


def ended(client: Client) -> Ended:
    return Ended(Opening(client, 0.0, ()), 200, 0.0, datetime.now(timezone.utc), 0, 0)


def faults(**variables: Variable) -> list[str]:
    listener = Listener(listen=(Address("127.0.0.1", 1),), pool="p")
    pool = Pool(servers=(SERVER,))
    return [
        str(fault) for fault in validate(Config(listeners=(listener,), pools={"p": pool}, variables=variables), {})
    ]


@pytest.mark.parametrize(
    ("name", "variable", "fault"),
    [
        ("X", a_map("x"), 'variable.X: invalid variable name "$X"; write small letters, digits and underscores'),
        ("pid", a_map("x"), 'variable.pid: the duplicate "pid" variable; there is one of that name'),
        ("x", a_map("$y"), 'variable.x.source: unknown "y" variable'),
        ("x", a_map("", "$y"), 'variable.x: unknown "y" variable'),
        ("x", a_map("", a="${y"), 'variable.x: the closing bracket in "y" variable is missing'),
        ("x", a_map("", a="b", A="c"), 'variable.x: conflicting parameter "A"'),
        ("x", a_map("$x"), 'variable.x: cycle while evaluating variable "x"'),
        (
            "x",
            a_map("", "x" * 200_000),
            "variable: 200000 characters in all variables; at most 131072 go to the workers",
        ),
        (
            "x",
            regexes("", a="", **{"(": ""}),
            r"variable.x.regex[1].pattern: missing closing parenthesis; write \( for one that is meant",
        ),
        (
            "x",
            regexes("", **{"(?<pid>.)": "$pid"}),
            'variable.x.regex[0].pattern: the duplicate "pid" variable; there is one of that name',
        ),
        (
            "x",
            regexes("", **{"(?<x>.)": "$x"}),
            'variable.x.regex[0].pattern: "x" is a variable already; give the group another name',
        ),
        ("x", regexes("", **{"(?<y>.)": "$z"}), 'variable.x: unknown "z" variable'),
        (
            "x",
            Variable(kind="geo", regexes=(MapRegex(pattern="a", value=""),)),
            "variable.x.regex: geo has no use for it; it is for map",
        ),
        ("x", Variable(kind="geo", hostnames=True), "variable.x.hostnames: geo has no use for it; it is for map"),
        (
            "x",
            Variable(kind="split_clients", values={"a": "b"}),
            "variable.x.values: split_clients has no use for it; it is for map and geo",
        ),
        (
            "x",
            Variable(kind="geo", values={"10.0.0.0/8": "a", "10.1.0.0/8": "b"}),
            'variable.x.values."10.1.0.0/8": duplicate network 10.0.0.0/8; write it once',
        ),
        (
            "x",
            Variable(kind="geo", values={"x": "a"}),
            'variable.x.values.x: invalid network "x"; write for example 10.0.0.0/8 or fd00::/8',
        ),
        (
            "x",
            Variable(kind="split_clients", parts=(Part(percent="x", value="a"),)),
            'variable.x.part[0].percent: invalid percent value "x"; write for example 50% or 0.5%',
        ),
        (
            "x",
            Variable(kind="split_clients", parts=(Part(percent="60%", value="a"), Part(percent="60%", value="b"))),
            "variable.x.part: percent total is greater than 100%",
        ),
    ],
)
def test_each_fault_is_told_once(name: str, variable: Variable, fault: str) -> None:
    assert faults(**{name: variable}) == [fault]


def test_there_are_not_too_many() -> None:
    many = Variable(kind="map", regexes=(MapRegex(pattern="a", value=""),) * 1001)
    assert faults(m=many) == ["variable: 1001 regular expressions; at most 1000"]
    assert faults(**{f"v{i}": a_map("") for i in range(1001)}) == ["variable: 1001 variables; at most 1000"]
