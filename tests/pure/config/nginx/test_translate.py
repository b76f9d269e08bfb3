"""Directives into the model: what no file of the corpus shows."""

from __future__ import annotations

import pytest

from kubelb.config.faults import ConfigFault
from kubelb.config.model.config import Loaded
from kubelb.config.nginx.directives import HARMLESS
from kubelb.config.nginx.syntax import Directive
from kubelb.config.nginx.translate import translate


def _directive(line: int, name: str, *args: str, block: tuple[Directive, ...] | None = None) -> Directive:
    return Directive(name, args, "F", line, block)


def _stream(*listener: Directive) -> Loaded:
    """A proxy with ``listener`` in its ``server {}``."""
    server = (_directive(4, "listen", "1"), _directive(5, "proxy_pass", "10.0.0.1:1"), *listener)
    events = _directive(1, "events", block=())
    return translate((events, _directive(2, "stream", block=(_directive(3, "server", block=server),))), "F")


def _faults(*listener: Directive) -> list[str]:
    with pytest.raises(ConfigFault) as caught:
        _stream(*listener)
    return [str(fault) for fault in caught.value.faults]


def test_what_is_done_anyway_is_not_warned_of() -> None:
    assert _stream(_directive(6, "tcp_nodelay", "on"), _directive(7, "proxy_protocol", "off")).warnings == ()


@pytest.mark.parametrize("name", sorted(set(HARMLESS["stream server"]) - {"access_log"}))
def test_every_harmless_directive_says_why(name: str) -> None:
    (warning,) = _stream(_directive(6, name, "x")).warnings
    assert warning.startswith(f"F:6: {name}: has no effect")


def test_all_faults_are_told() -> None:
    assert _faults(
        _directive(6, "proxy_timeout", "soon"),
        _directive(7, "listen", "unix:run/a.sock"),
        _directive(8, "listen", "2-1"),
        _directive(9, "frobnicate"),
        _directive(10, "listen", "2", "ssl"),
    ) == [
        'F:6: proxy_timeout: not a time: "soon"; write for example 30s or 10m',
        'F:7: listen: "run/a.sock" is not the path of a unix socket; begin it with /, without control characters',
        'F:8: listen: invalid port range in "2-1"; write for example 8000-8003',
        "F:9: frobnicate: unknown directive",
        "F:10: listen: ssl: TLS is passed through, not ended here",
    ]


def test_no_shutdown_timeout_is_none() -> None:
    events = _directive(1, "events", block=())
    assert translate((events, _directive(2, "worker_shutdown_timeout", "0")), "F").config.shutdown_timeout is None


def test_one_worker_unless_told() -> None:
    assert _stream().config.workers == 1
