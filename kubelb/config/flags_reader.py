"""The command line's ``--listen`` and ``--server`` into the model; pure."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from kubelb.config.faults import ConfigFault, Fault, Key, Place, fault_of
from kubelb.config.model.config import Config, Loaded
from kubelb.config.model.listeners import Listener
from kubelb.config.model.pools import Balance, Pool, Server
from kubelb.config.values import Address, parse_address, parse_duration
from kubelb.reasons import ValueFault

POOL = "kube-apiserver"
"""The name of the only pool of a proxy that is given by flags."""

_PLACES: dict[Key, Place] = {
    ("pool", POOL): Place(path="--server"),
    ("pool", POOL, "balance"): Place(path="--balance"),
    ("listener", 0): Place(path="--listen"),
    ("listener", 0, "connect_timeout"): Place(path="--connect-timeout"),
    ("listener", 0, "idle_timeout"): Place(path="--idle-timeout"),
}

_T = TypeVar("_T")


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """A whole proxy on the command line, as typed; None or empty: not given."""

    listen: tuple[str, ...] = ()
    server: tuple[str, ...] = ()
    balance: str | None = None
    connect_timeout: str | None = None
    idle_timeout: str | None = None

    def given(self) -> tuple[str, ...]:
        """The flags that were given, by their names on the command line."""
        return tuple(flag(name) for name in self.__struct_fields__ if getattr(self, name) not in (None, ()))


def read_flags(flags: Flags) -> Loaded:
    """The proxy the flags describe, its rules not yet checked; :class:`ConfigFault` with all flags that are wrong."""
    reader = _FlagsReader()
    listens = [reader.take("listen", parse_address, text) for text in flags.listen]
    servers = [reader.take("server", parse_address, text) for text in flags.server]
    balance = reader.take("balance", _parse_balance, flags.balance)
    connect_timeout = reader.take("connect_timeout", parse_duration, flags.connect_timeout)
    idle_timeout = reader.take("idle_timeout", parse_duration, flags.idle_timeout)
    for name in ("listen", "server"):
        if not getattr(flags, name):
            reader.faults.append(Fault(path=flag(name), what="missing", instead="give at least one host:port"))
    if reader.faults:
        raise ConfigFault(*reader.faults)
    listener = Listener(listen=_present(listens), pool=POOL, idle_timeout=idle_timeout)
    if connect_timeout is not None:
        listener = msgspec.structs.replace(listener, connect_timeout=connect_timeout)
    pool = Pool(servers=tuple(Server(address=address) for address in _present(servers)))
    if balance is not None:
        pool = msgspec.structs.replace(pool, balance=balance)
    return Loaded(Config(listeners=(listener,), pools={POOL: pool}), places=_PLACES)


def _parse_balance(text: str) -> Balance:
    for name in typing.get_args(Balance):
        if text == name:
            return typing.cast(Balance, name)
    raise ValueFault(f'not "{text}"; one of {", ".join(typing.get_args(Balance))}')


class _FlagsReader:
    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def take(self, name: str, parse: Callable[[str], _T], text: str | None) -> _T | None:
        """The flag's value, or None where it is not given or wrong, which is noted."""
        if text is None:
            return None
        try:
            return parse(text)
        except ValueFault as error:
            self.faults.append(msgspec.structs.replace(fault_of(error), path=flag(name)))
            return None


def _present(addresses: Sequence[Address | None]) -> tuple[Address, ...]:
    return tuple(address for address in addresses if address is not None)


def flag(name: str) -> str:
    """An option's name as it is typed."""
    return "--" + name.replace("_", "-")
