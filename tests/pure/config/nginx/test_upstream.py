"""Which ``resolver`` counts for an upstream, and what is said of one that does not."""

from __future__ import annotations

import pytest

from kubelb.config.faults import ConfigFault
from kubelb.config.model.config import Loaded
from kubelb.config.model.pools import Discovery
from kubelb.config.nginx.resolver import NO_EFFECT
from kubelb.config.nginx.syntax import Directive
from kubelb.config.nginx.translate import translate
from kubelb.config.values import Address, Duration


def _directive(line: int, name: str, *args: str, block: tuple[Directive, ...] | None = None) -> Directive:
    return Directive(name, args, "F", line, block)


def _loaded(upstream: tuple[Directive, ...], *stream: Directive, resolve: str = "resolve") -> Loaded:
    """A proxy with ``upstream`` in its ``upstream {}`` and ``stream`` behind that."""
    server = _directive(4, "server", "a.example.org:1", resolve) if resolve else _directive(4, "server", "10.0.0.1:1")
    pool = _directive(3, "upstream", "a", block=(server, *upstream))
    listener = _directive(9, "server", block=(_directive(9, "listen", "1"), _directive(9, "proxy_pass", "a")))
    events = _directive(1, "events", block=())
    return translate((events, _directive(2, "stream", block=(pool, *stream, listener))), "F")


ZONE = _directive(5, "zone", "a", "64k")
OWN = _directive(6, "resolver", "10.0.0.1", "valid=3s", "ipv6=off")
OF_STREAM = _directive(8, "resolver", "10.0.0.2", "ipv4=off")


def _discovery(loaded: Loaded) -> Discovery | None:
    return loaded.config.pools["a"].discovery


def _warned(loaded: Loaded) -> list[str]:
    return [warning for warning in loaded.warnings if NO_EFFECT in warning]


def test_its_own_as_a_whole() -> None:
    loaded = _loaded((ZONE, OWN), OF_STREAM, _directive(8, "resolver_timeout", "4s"))
    resolver = (Address("10.0.0.1", 53),)
    assert _discovery(loaded) == Discovery(
        source="dns", resolver=resolver, interval=Duration(3), ipv6=False, timeout=Duration(4)
    )
    assert _warned(loaded) == []


def test_that_of_the_stream_with_its_own_timeout() -> None:
    loaded = _loaded((ZONE, _directive(6, "resolver_timeout", "5s")), OF_STREAM)
    resolver = (Address("10.0.0.2", 53),)
    assert _discovery(loaded) == Discovery(source="dns", resolver=resolver, ipv4=False, timeout=Duration(5))
    assert _discovery(_loaded((ZONE, OWN))) == Discovery(
        source="dns", resolver=(Address("10.0.0.1", 53),), interval=Duration(3), ipv6=False, timeout=Duration(30)
    )


def test_one_without_effect_is_warned_of() -> None:
    assert _warned(_loaded((OWN,), resolve="")) == [f"F:6: resolver: {NO_EFFECT}"]
    assert _warned(_loaded((), OF_STREAM, resolve="")) == [f"F:8: resolver: {NO_EFFECT}"]


def test_a_second_one() -> None:
    with pytest.raises(ConfigFault) as caught:
        _loaded((ZONE, OWN, _directive(7, "resolver", "10.0.0.3")))
    assert [str(fault) for fault in caught.value.faults] == ["F:7: resolver: directive is duplicate; write it once"]
