"""What is played before both proxies: a configuration of one listener and its pool, and a sequence of steps.

A :class:`Case` is a value: it prints as a few lines, and Hypothesis makes and shrinks it. Servers are those of the
stage (:mod:`tests.differential.stage`), by number; sessions are the ``Connect`` steps of a script, by number. A step
that has become pointless (the session got no server, that side has left) does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1", "unix:")
"""Of the stage's servers; the last is a unix socket."""


class By(Enum):
    """Whose end of a session."""

    CLIENT = "client"
    SERVER = "server"

    def __repr__(self) -> str:
        return f"By.{self.name}"


class Welcome(Enum):
    """What a server does with whoever connects."""

    STAY = "stay"
    GREET = "greet"
    """Says something and stays."""
    FINISH = "finish"
    """Says something and has no more to say, but goes on hearing."""
    LEAVE = "leave"
    BREAK = "break"
    """Resets."""
    REFUSE = "refuse"
    """Nobody listens there."""
    MUTE = "mute"
    """Connects to it are never answered."""

    def __repr__(self) -> str:
        return f"Welcome.{self.name}"


class Value:
    """A dataclass that shows only what is not as usual."""

    def __repr__(self) -> str:
        shown = (
            f"{field.name}={_shown(getattr(self, field.name))}"
            for field in fields(self)  # type: ignore[arg-type]
            if getattr(self, field.name) != field.default
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def _shown(value: object) -> str:
    """Several values have a line each."""
    if isinstance(value, tuple) and all(isinstance(each, Value) for each in value):
        return "(" + "".join(f"\n        {each!r}," for each in value) + "\n    )"
    return repr(value)


@dataclass(frozen=True, repr=False)
class Connect(Value):
    """A client comes; the step is over when it has a server, or when it has been turned away."""

    listener: int = 0
    source: str | None = None
    """Its address; None: the listener's own."""
    words: bytes = b""
    """What it says at once, before anybody can have answered."""
    slow: bool = False
    """Reads little at a time into a small buffer."""
    header: bytes = b""
    """What it begins with, which is for the proxy."""


@dataclass(frozen=True, repr=False)
class Pass(Connect):
    """A client who comes where nobody answers, and goes."""

    broken: bool = False
    """With a reset."""


@dataclass(frozen=True, repr=False)
class Say(Value):
    """So many bytes; the step is over when they have reached the other side, if that reads at all."""

    session: int
    by: By
    size: int


@dataclass(frozen=True, repr=False)
class Finish(Value):
    """Has no more to say: shutdown(SHUT_WR)."""

    session: int
    by: By


@dataclass(frozen=True, repr=False)
class Leave(Value):
    """Closes its socket, be there something to be read or not."""

    session: int
    by: By


@dataclass(frozen=True, repr=False)
class Break(Value):
    """Resets the connection, once all that was said has arrived; where that is nothing, it says a byte before."""

    session: int
    by: By


@dataclass(frozen=True, repr=False)
class Stall(Value):
    """Reads no more, until ``Resume`` or the end of the script."""

    session: int
    by: By


@dataclass(frozen=True, repr=False)
class Resume(Value):
    session: int
    by: By


@dataclass(frozen=True, repr=False)
class Change(Value):
    """A server welcomes in another way from now on."""

    server: int
    welcome: Welcome


@dataclass(frozen=True, repr=False)
class AwaitEnd(Value):
    """Nobody does anything until the proxy has ended the session."""

    session: int


Step = Connect | Say | Finish | Leave | Break | Stall | Resume | Change | AwaitEnd


@dataclass(frozen=True, repr=False)
class Member(Value):
    """A ``server`` line of an upstream."""

    server: int
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Case(Value):
    """One ``server {}`` with an ``upstream {}`` of its own, and what is done there.

    In texts of configuration ``@`` stands for the case's number, ``<2>`` for the address of server 2.
    """

    members: tuple[Member, ...]
    script: tuple[Step, ...]
    method: str = ""
    """How the upstream balances: directives."""
    directives: tuple[str, ...] = ()
    """Of the ``server {}``."""
    listens: tuple[str, ...] = ("127.0.0.1",)
    """Hosts, each with the parameters of its ``listen`` behind it; ``127.0.0.1/3`` are three ports in a row."""
    welcomes: tuple[Welcome, ...] = ()
    """What each server of the stage does at first; those that are not named stay."""
    others: tuple[Member, ...] = ()
    """Of a second upstream, ``other@``; the first is ``pool@``."""
    around: tuple[str, ...] = ()
    """Directives of the ``stream {}``."""
    then: str = "proxy_pass pool@"
    """What becomes of clients: ``proxy_pass`` or ``return``."""
