"""Which clients may come in, and which proxies are believed where theirs come from; pure.

``allow`` and ``deny`` as in nginx's src/stream/ngx_stream_access_module.c, ``set_real_ip_from`` as in
ngx_stream_realip_module.c, networks as ``ngx_ptocidr`` and ``ngx_cidr_match`` of src/core/ngx_inet.c take them.
A client on a unix socket has the host ``unix:``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from kubelb.inet import packed, packed_host, shown, unmapped
from kubelb.reasons import ValueFault

_UNIX = b""
_PREFIX = re.compile(r"0*[0-9]{1,3}")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class Network(msgspec.Struct, frozen=True):
    """Addresses that begin alike; an empty ``address`` is that of all unix sockets."""

    address: bytes
    """4 or 16 bytes, all zero after the first ``prefix`` bits."""
    prefix: int

    def __contains__(self, address: bytes) -> bool:
        return len(address) == len(self.address) and _cut(address, self.prefix) == self.address

    def __str__(self) -> str:
        return f"{shown(self.address)}/{self.prefix}" if self.address else "unix:"


class Rule(msgspec.Struct, frozen=True):
    """One ``allow`` or ``deny``; without a network it is for all."""

    deny: bool
    network: Network | None


def _unheard(warning: str) -> None: ...


def parse_access(text: str, warn: Callable[[str], None] = _unheard) -> Rule:
    """The rule of a text such as ``deny 10.0.0.0/8``. Raises :class:`ValueFault`; warns as nginx does."""
    verdict, _, whom = text.partition(" ")
    if verdict not in ("allow", "deny"):
        raise ValueFault(f'"{text}" is no rule; write for example "allow 10.0.0.0/8" or "deny all"')
    return parse_rule(verdict == "deny", whom, warn)


def parse_rule(deny: bool, text: str, warn: Callable[[str], None] = _unheard) -> Rule:
    """The rule for ``all``, ``unix:``, an address or a network. Raises :class:`ValueFault`; warns as nginx does."""
    return Rule(deny, None if text == "all" else parse_network(text, warn))


def parse_network(text: str, warn: Callable[[str], None] = _unheard) -> Network:
    """``unix:``, an address or a network. Raises :class:`ValueFault`; warns as nginx does."""
    if text == "unix:":
        return Network(_UNIX, 0)
    host, slash, length = text.partition("/")
    try:
        address = packed(host)
    except ValueError:
        raise ValueFault(f'invalid parameter "{text}"') from None
    bits = len(address) * 8
    if slash and not (_PREFIX.fullmatch(length) and int(length) <= bits):
        raise ValueFault(f'invalid parameter "{text}"')
    prefix = int(length) if slash else bits
    if _cut(address, prefix) != address:
        warn(f"low address bits of {text} are meaningless")
    return Network(_cut(address, prefix), prefix)


def parse_trusted(text: str, warn: Callable[[str], None] = _unheard) -> Network | None:
    """As :func:`parse_network`; None: it is a name, whose addresses are meant."""
    try:
        return parse_network(text, warn)
    except ValueError:
        if not _NAME.fullmatch(text):
            raise
        return None


def _cut(address: bytes, prefix: int) -> bytes:
    """``address`` with all but its first bits zero."""
    spare = len(address) * 8 - prefix
    return (int.from_bytes(address, "big") >> spare << spare).to_bytes(len(address), "big")


def allowed(rules: Sequence[Rule], host: str) -> bool:
    """Whether a client from ``host`` may come in: as the first rule that fits it says, else yes."""
    address = _address(host)
    if any(rule.network is None or len(rule.network.address) == 4 for rule in rules):
        address = unmapped(address)
    verdicts = (not rule.deny for rule in rules if rule.network is None or address in rule.network)
    return next(verdicts, True)


def real_client(trusted: Sequence[Network], client: tuple[str, int], claimed: tuple[str, int]) -> tuple[str, int]:
    """Where a client is from: what a PROXY header in front of its bytes claims, if the connection is from a trusted
    network and the claim is an address, else the connection's own address."""
    connected = unmapped(_address(client[0]))
    if not any(connected in network for network in trusted):
        return client
    try:
        return shown(packed(claimed[0])), claimed[1]
    except ValueError:
        return client


def _address(host: str) -> bytes:
    return _UNIX if host.startswith("unix:") else packed_host(host)
