"""Settings that were written down and mean nothing beside the others; pure.

They are no faults: in an nginx.conf they stand where they count for many servers, so what was converted has them too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kubelb.config.faults import Key, Places, fault_at
from kubelb.config.model.config import Config
from kubelb.config.model.listeners import Listener

_OF_HEADERS: Final = ("proxy_protocol_timeout", "trusted_proxies")
_OF_KEEPALIVE: Final = ("keepalive_idle", "keepalive_interval", "keepalive_count")
_OF_SERVERS: Final = ("send_proxy_protocol", "connect_timeout", "hedge_delay", "max_tries", "retry_timeout", "bind")


def without_effect(config: Config, places: Places) -> tuple[str, ...]:
    """A line for each."""
    return tuple(
        str(fault_at(places, key, f"means nothing {why}"))
        for i, listener in enumerate(config.listeners)
        for key, why in _idle(("listener", i), listener)
        if key in places
    )


def _idle(key: Key, listener: Listener) -> Iterator[tuple[Key, str]]:
    """Every setting that would mean nothing, and why."""
    if not listener.accept_proxy_protocol:
        yield from (((*key, name), "without accept_proxy_protocol") for name in _OF_HEADERS)
    if not listener.socket.keepalive:
        yield from (((*key, "socket", name), "without keepalive") for name in _OF_KEEPALIVE)
    if not listener.half_close:
        yield (*key, "half_close_timeout"), "without half_close"
    if listener.answer is not None:
        yield from (((*key, name), "with return: no server is connected to") for name in _OF_SERVERS)
