"""Access rules and trusted networks, beside what Python's own ipaddress says of the same networks."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kubelb.config.access import (
    Network,
    Rule,
    allowed,
    parse_access,
    parse_network,
    parse_rule,
    parse_trusted,
    real_client,
)
from kubelb.reasons import ValueFault

Address = IPv4Address | IPv6Address

_near: st.SearchStrategy[Address] = st.one_of(
    st.builds(lambda low: IPv4Address(0x0A000000 + low), st.integers(0, 15)),
    st.builds(lambda low: IPv6Address((0xFE80 << 112) + low), st.integers(0, 15)),
    st.builds(lambda low: IPv6Address((0xFFFF << 32) + 0x0A000000 + low), st.integers(0, 15)),
    st.ip_addresses(),
)


@st.composite
def _sources(draw: st.DrawFn) -> str:
    """Networks that often hold what is near."""
    address = draw(_near)
    assume("255.255.255.255" not in str(address))
    length = draw(
        st.one_of(st.integers(0, address.max_prefixlen), st.integers(1, 5).map(address.max_prefixlen.__sub__))
    )
    return f"{address}/{length}" if draw(st.booleans()) else str(address)


_rules = st.lists(st.tuples(st.booleans(), _sources() | st.sampled_from(["all", "unix:"])), max_size=6)


def _ignored(warning: str) -> None: ...


def _parsed(rules: Sequence[tuple[bool, str]]) -> list[Rule]:
    return [parse_rule(deny, text, _ignored) for deny, text in rules]


def _verdict(rules: Sequence[tuple[bool, str]], client: Address | None) -> bool:
    """What nginx's three lists of rules say, one for each kind of client; None is one on a unix socket."""
    of_ipv4 = [(deny, text) for deny, text in rules if text == "all" or ("." in text and ":" not in text)]
    if isinstance(client, IPv6Address) and client.ipv4_mapped and of_ipv4:
        client = client.ipv4_mapped
    return next((not deny for deny, text in rules if _fits(text, client)), True)


def _fits(text: str, client: Address | None) -> bool:
    if text in ("all", "unix:"):
        return text == "all" or client is None
    return client is not None and client in ip_network(text, strict=False)


@given(_rules, st.none() | _near)
@example([(True, "all")], ip_address("255.255.255.255"))
def test_the_first_rule_that_fits_decides(rules: list[tuple[bool, str]], client: Address | None) -> None:
    host = "unix:" if client is None else str(client)
    assert allowed(_parsed(rules), host) == _verdict(rules, client)


def test_a_length_may_have_leading_zeros() -> None:
    assert parse_network("10.0.0.0/0000000000000000000008", pytest.fail) == parse_network("10.0.0.0/8", pytest.fail)


def test_a_client_with_a_scope() -> None:
    assert not allowed(_parsed([(True, "fe80::/10")]), "fe80::1%eth0")


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ([], True),
        ([(True, "::/0")], False),
        ([(True, "::ffff:0:0/96"), (False, "all")], True),
        ([(False, "10.0.0.0/8"), (True, "::/0")], True),
        ([(True, "10.1.0.0/16"), (False, "unix:")], False),
    ],
)
def test_an_ipv4_client_of_an_ipv6_socket(rules: list[tuple[bool, str]], verdict: bool) -> None:
    """It is judged by the rules for IPv4 if there are any, else by those for IPv6."""
    assert allowed(_parsed(rules), "::ffff:10.1.2.3") == verdict


@given(_sources())
def test_low_bits_are_warned_about(text: str) -> None:
    warnings: list[str] = []
    network = parse_network(text, warnings.append)
    meant = ip_network(text, strict=False)
    assert network == Network(meant.network_address.packed, meant.prefixlen)
    meaningless = meant.network_address != ip_address(text.partition("/")[0])
    assert warnings == [f"low address bits of {text} are meaningless"] * meaningless


@given(_sources() | st.just("unix:"))
def test_a_network_reads_back(text: str) -> None:
    network = parse_network(text, _ignored)
    assume("255.255.255.255" not in str(network))
    assert parse_network(str(network), pytest.fail) == network
    rule = Rule(True, network)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(rule), type=Rule) == rule


@pytest.mark.parametrize(
    "text",
    [
        *("", "al", "unix", "unix:/run/a.sock", "localhost"),
        *("10.0.0", "255.255.255.255", "/8"),
        *("10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8", "::/129", "::/x"),
        *("10.0.0.0/255.0.0.0", "10.0.0.0/" + "9" * 20, "10.0.0.0/٨"),
    ],
)
def test_not_a_rule(text: str) -> None:
    with pytest.raises(ValueFault, match=f'^invalid parameter "{text}"$'):
        parse_rule(False, text, pytest.fail)


@given(_sources() | st.sampled_from(["all", "unix:"]), st.booleans())
def test_a_rule_as_one_text(text: str, deny: bool) -> None:
    assert parse_access(f"{'deny' if deny else 'allow'} {text}") == parse_rule(deny, text)


@pytest.mark.parametrize("text", ["", "all", "deny", "Deny all", "deny  all", "allow 10.0.0.1 all", " allow all"])
def test_no_rule_at_all(text: str) -> None:
    with pytest.raises(ValueFault, match=r"is no rule; write for example|^invalid parameter"):
        parse_access(text)


@given(_sources() | st.just("unix:"))
def test_a_trusted_network(text: str) -> None:
    assert parse_trusted(text) == parse_network(text)


def test_a_trusted_name() -> None:
    assert [parse_trusted(text) for text in ("localhost", "a-1.b_c.example")] == [None, None]
    for text in ("", "a b", "10.0.0.0/33", "a/8", "unix:/a", "::1%lo"):
        with pytest.raises(ValueFault, match=r"^invalid parameter"):
            parse_trusted(text)


@given(st.lists(_sources() | st.just("unix:"), max_size=4), st.none() | _near, _near)
def test_who_is_believed(trusted: list[str], proxy: Address | None, claimed: Address) -> None:
    client = ("unix:" if proxy is None else str(proxy), 4)
    found = real_client([parse_network(text, _ignored) for text in trusted], client, (str(claimed), 5))
    if isinstance(proxy, IPv6Address) and proxy.ipv4_mapped:
        proxy = proxy.ipv4_mapped
    believed = any(_fits(text, proxy) for text in trusted) and "255.255.255.255" not in str(claimed)
    assert (found == client) is not believed or client == (str(claimed), 5)
    assert found[1] == (5 if believed else 4)
    assert not believed or ip_address(found[0]) == claimed


@pytest.mark.parametrize(
    ("trusted", "proxy", "believed"),
    [
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("10.0.0.1", "::ffff:a00:1", True),
        ("10.0.0.0/8", "::ffff:11.0.0.1", False),
        ("10.0.0.0/8", "::10.0.0.1", False),
        ("::ffff:10.0.0.0/104", "::ffff:10.0.0.1", False),
        ("::/0", "::ffff:10.0.0.1", False),
        ("::/0", "::1", True),
    ],
)
def test_an_ipv4_proxy_of_an_ipv6_socket(trusted: str, proxy: str, believed: bool) -> None:
    """It is known by its IPv4 address alone."""
    claim, client = ("192.0.2.1", 5), (proxy, 4)
    assert real_client([parse_network(trusted, pytest.fail)], client, claim) == (claim if believed else client)


def test_a_claim_that_reads_otherwise_when_shown() -> None:
    """nginx writes it in a form that it does not read itself."""
    trusted = [parse_network("0.0.0.0/0", _ignored)]
    client = real_client(trusted, ("10.0.0.1", 4), ("::ffff:ffff", 5))
    assert client == ("::255.255.255.255", 5)
    assert not allowed(_parsed([(True, "::ffff:ffff")]), client[0])
    assert real_client([parse_network("::/0", _ignored)], client, ("10.0.0.2", 6)) == ("10.0.0.2", 6)


@pytest.mark.parametrize("claim", ["", "a.b", "::1::", "255.255.255.255"])
def test_a_claim_that_is_no_address(claim: str) -> None:
    assert real_client([parse_network("0.0.0.0/0", _ignored)], ("10.0.0.1", 4), (claim, 5)) == ("10.0.0.1", 4)
