"""Plays a script before a proxy and tells what was seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatchmethod

from kubelb.proxyproto import decode
from kubelb.snapshot import SocketAddress
from tests.differential.endpoint import SURE_ROOM, Endpoint
from tests.differential.observe import End, Line, Observation
from tests.differential.pair import Pair, connected, name_of
from tests.differential.scripts import (
    AwaitEnd,
    Break,
    By,
    Case,
    Change,
    Connect,
    Finish,
    Leave,
    Pass,
    Resume,
    Say,
    Stall,
    Step,
    Welcome,
)
from tests.differential.stage import Stage

Log = Callable[[Sequence[str]], Sequence[Line]]
"""Gives the lines of the access log for those who are named by address and port."""


@dataclass(frozen=True)
class Scene:
    """Where a case is played."""

    listeners: Sequence[SocketAddress]
    half_close: bool
    """Whether sessions go on once one side has finished."""
    headers: bool
    """Whether servers are told first who is opposite."""


_Deed = Say | Finish | Leave | Break | Stall | Resume
_GREETING = 100
"""Bytes."""


def _length(header: bytes) -> int:
    """Of the PROXY header that is there, which may be followed by words."""
    found = decode(header) if header else None
    return found.length if found else 0


class Player:
    """Of one case before one proxy."""

    def __init__(self, stage: Stage, scene: Scene, log: Log) -> None:
        self._stage = stage
        self._scene = scene
        self._half_close = scene.half_close
        self._log = log
        self._pairs: list[Pair] = []

    def play(self, case: Case) -> Observation:
        self._stage.set(case.welcomes)
        try:
            for step in case.script:
                self._do(step)
            ends = self._end()
        finally:
            for end in self._ends():
                end.close()
        lines = self._log([pair.name for pair in self._pairs])
        return tuple(map(Pair.seen, self._pairs, ends, lines))

    def _ends(self) -> list[Endpoint]:
        return [end for pair in self._pairs for end in pair.ends]

    def _until(self, condition: Callable[[], object], what: object) -> None:
        self._stage.until(condition, self._ends(), str(what))

    def _pair(self, number: int) -> Pair | None:
        return self._pairs[number] if number < len(self._pairs) else None

    def _sides(self, step: _Deed) -> tuple[Endpoint, Endpoint] | None:
        pair = self._pair(step.session)
        return pair.sides(step.by) if pair else None

    @singledispatchmethod
    def _do(self, step: Step) -> None:
        raise NotImplementedError(step)

    @_do.register
    def _connect(self, step: Connect) -> None:
        pair = self._come(step)
        servers = self._stage.servers
        self._until(lambda: pair.client.end is not End.OPEN or any(server.accepted for server in servers), step)
        for number, server in enumerate(servers):
            for sock in server.accepted:
                mark = 1000 * len(self._pairs) - 500
                pair.picked, pair.server = number, Endpoint(sock, mark, told=self._scene.headers)
                pair.seen_from = "" if pair.server.unix else sock.getpeername()[0]
            server.accepted.clear()
        if pair.picked is not None:
            pair.client.said -= _length(step.header)
            self._welcome(len(self._pairs) - 1, servers[pair.picked].welcome, step)

    @_do.register
    def _pass(self, step: Pass) -> None:
        self._come(step).client.leave(step.broken)

    def _come(self, step: Connect) -> Pair:
        sock = connected(self._scene.listeners[step.listener], step)
        pair = Pair(Endpoint(sock, 1000 * len(self._pairs), step.slow), name_of(sock))
        self._pairs.append(pair)
        pair.client.speak(step.header + step.words)
        return pair

    def _welcome(self, session: int, welcome: Welcome, step: Connect) -> None:
        pair = self._pairs[session]
        assert pair.server is not None
        self._until(lambda: pair.server is not None and pair.server.arrived(pair.client.said), step)
        if welcome in (Welcome.GREET, Welcome.FINISH):
            self._do(Say(session, By.SERVER, _GREETING))
        act = {Welcome.FINISH: Finish, Welcome.LEAVE: Leave, Welcome.BREAK: Break}.get(welcome)
        if act is not None:
            self._do(act(session, By.SERVER))

    @_do.register
    def _say(self, step: Say) -> None:
        sides = self._sides(step)
        if sides is None or sides[0].finished:
            return
        one, other = sides
        if other.closed:
            # Nobody is there to hear it: that is a reset. How much of more than a byte is taken is chance.
            one.say(1)
            self._cut(step, one)
        else:
            one.say(step.size)
            self._until(lambda: other.arrived(one.said) or one.finished, step)

    @_do.register
    def _finish(self, step: Finish) -> None:
        sides = self._sides(step)
        if sides is None or sides[0].finished:
            return
        one, other = sides
        if not self._half_close:
            self._settle(one, other)
        one.finish()
        self._until(lambda: self._has_ended(one, other), step)

    def _has_ended(self, one: Endpoint, other: Endpoint) -> bool:
        """Whether all has come of it that ``one`` has finished."""
        if other.end is End.OPEN and not other.hung_up:
            return other.ended()
        return self._half_close or one.closed or one.hung_up

    @_do.register(Leave)
    @_do.register(Break)
    def _leave(self, step: Leave | Break) -> None:
        sides = self._sides(step)
        if sides is None:
            return
        one, other = sides
        self._settle(one, other)
        # Linux resets where something is left unread (RFC 2525, section 2.17).
        resets = one.waiting() > 0
        one.leave()
        if resets:
            self._cut(step, other)
            return
        self._until(lambda: self._has_ended(one, other), step)
        if one.unix and not other.closed:
            # Of a unix socket the kernel tells that nobody is there; kubelb closes then, nginx waits for a word.
            self._pairs[step.session].over = True
            other.leave()

    @_do.register
    def _break(self, step: Break) -> None:
        sides = self._sides(step)
        if sides is None:
            return
        one, other = sides
        if one.unix:
            self._leave(step)
            return
        if not one.said + other.said:
            # Whether a reset of a connection that carries nothing is taken for a refusal is chance.
            one.say(1)
        self._settle(one, other)
        one.leave(broken=True)
        self._cut(step, other)

    def _settle(self, one: Endpoint, other: Endpoint) -> None:
        """What is on its way when a connection is reset gets there or not by chance: so let it arrive before."""
        other.reads = True
        one.reads |= one.missing(other.said) > SURE_ROOM
        self._until(
            lambda: one.arrived(other.said) and other.arrived(one.said) and (other.ended() or not one.finished),
            "what was said",
        )

    def _cut(self, step: _Deed, left: Endpoint) -> None:
        """The other side of ``left`` is gone, or has never heard; who is left sees that, and leaves too."""
        self._pairs[step.session].over = True
        if not left.closed:
            left.cut = left.end is End.OPEN
            left.reads = True
            self._until(lambda: left.hung_up and left.end is not End.OPEN, step)
            left.leave()

    @_do.register
    def _stall(self, step: Stall) -> None:
        if sides := self._sides(step):
            sides[0].reads = False

    @_do.register
    def _resume(self, step: Resume) -> None:
        if sides := self._sides(step):
            one, other = sides
            one.reads = True
            self._until(lambda: one.arrived(other.said) and (not other.finished or self._has_ended(other, one)), step)

    @_do.register
    def _change(self, step: Change) -> None:
        self._stage.servers[step.server].change(step.welcome)

    @_do.register
    def _await_end(self, step: AwaitEnd) -> None:
        if pair := self._pair(step.session):
            self._until(lambda: all(end.ended() for end in pair.ends), step)

    def _end(self) -> list[list[End]]:
        """Everybody hears and is heard to the end; then those who are left have no more to say.

        What ends there were before that, by session.
        """
        numbers = range(len(self._pairs))
        for number in numbers:
            for by in By:
                self._do(Resume(number, by))
        for number in numbers:
            for by in By:
                self._do(Say(number, by, 1))
        ends = [[end.end for end in pair.ends] for pair in self._pairs]
        for number in numbers:
            for by in By:
                self._do(Finish(number, by))
        return ends
