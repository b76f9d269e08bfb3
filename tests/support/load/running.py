"""A load as those use it who put a proxy under it: begin, have it rest, call the idle, end. For any thread."""

from __future__ import annotations

import asyncio
from types import TracebackType

from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.load.clients import Bulky, Client, New, Regular
from tests.support.load.idlers import Idlers
from tests.support.load.loop import Loop, give_up
from tests.support.load.records import Failure, Plan, Result, slowest
from tests.support.load.scene import Scene


class Load:
    """On ``address``, by clients on ``loop``. It goes on from the moment it is entered.

    Left early it is cut off; :meth:`finish` ends it in good order.
    """

    def __init__(self, loop: Loop, address: SocketAddress, plan: Plan) -> None:
        self._loop = loop
        self.plan = plan
        self._scene = Scene(address, plan)
        self._clients: list[Client] = [
            *(New(self._scene) for _ in range(plan.new)),
            *(Regular(self._scene) for _ in range(plan.regular)),
            *(Bulky(self._scene, shape) for shape in plan.bulk),
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def __enter__(self) -> Load:
        self._idlers = self._loop.do(self._begin())
        settled = self._loop.do(self._idlers.settle())
        assert settled == self.plan.idle, f"of {self.plan.idle} idle sessions there are {settled}: {self.failures()}"
        self.wait_for_progress()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.do(self._give_up())

    async def _begin(self) -> Idlers:
        await self._resume()
        return Idlers(self._scene)

    def failures(self) -> tuple[Failure, ...]:
        """So far."""
        return tuple(self._scene.failures)

    @property
    def connections(self) -> int:
        """New ones that have been served so far."""
        return self._scene.connections

    def wait_for_progress(self) -> None:
        """Until every client that is not idle has moved on since now."""
        before = self._progress()
        eventually(lambda: self._all_beyond(before), "every client goes on", deadline=60)

    def _progress(self) -> list[tuple[int, int]]:
        return [client.progress for client in self._clients]

    def _all_beyond(self, before: list[tuple[int, int]]) -> bool:
        for task in self._tasks:
            if task.done():
                task.result()
        return all(now > then for now, then in zip(self._progress(), before, strict=True))

    def rest(self) -> int:
        """All leave but the idle, in good order. How many of the idle answer then."""
        return self._loop.do(self._rest())

    def resume(self) -> None:
        """After :meth:`rest`."""
        self._loop.do(self._resume())

    def roll_call(self) -> int:
        """How many of the idle answer, on the sessions they have had."""
        return self._loop.do(self._idlers.roll_call())

    def finish(self) -> Result:
        """End it, and say what it has seen."""
        idle = self.rest()
        self._loop.do(self._give_up())
        scene = self._scene
        return Result(
            connections=scene.connections,
            requests=scene.requests,
            transfers=scene.transfers,
            bytes_up=scene.bytes_up,
            bytes_down=scene.bytes_down,
            idle=idle,
            slowest=tuple(slowest(scene.slow)),
            failures=self.failures(),
        )

    async def _resume(self) -> None:
        self._scene.stopping = False
        self._tasks = [asyncio.ensure_future(client.run()) for client in self._clients]

    async def _rest(self) -> int:
        self._scene.stopping = True
        await asyncio.gather(*self._tasks)
        return await self._idlers.roll_call()

    async def _give_up(self) -> None:
        await give_up(*self._tasks)
        await self._idlers.end()
