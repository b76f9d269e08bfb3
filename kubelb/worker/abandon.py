"""What becomes of a client when a limit or a fault of our own strikes on its way to a server.

Each stage of that way owns the client's socket for a while. A stage that fails gives up all that it owns, and the
fault goes on to whoever called it, to be logged there: the relay thread, or the stage before. So the stage before
finds the client's socket closed where a later one had it, and gives it up itself otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import SocketType
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from kubelb.worker.books import Books
from kubelb.worker.sockets import reset


class Stage(Protocol):
    def abandon(self) -> None:
        """Give up all that it owns and undo what it has counted, the client included. It has no effect twice."""


S = TypeVar("S", bound=Stage)
P = ParamSpec("P")
R = TypeVar("R")


def abandoned_by_faults(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method of a stage that is called by the relay thread, or by the stage before."""

    def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except Exception:
            self.abandon()
            raise

    return guarded


def give_up(client: SocketType, books: Books, counted_as: tuple[int, ...] = ()) -> None:
    """Close a client by a reset, and have it counted; nothing, where it is closed already."""
    if client.fileno() >= 0:
        books.broken_off(counted_as)
        reset(client)
