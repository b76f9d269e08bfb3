"""The idle clients: they have been served once, and are silent until they are called."""

from __future__ import annotations

import asyncio
import time

from tests.support.load.clients import AGAIN, Client
from tests.support.load.line import Line
from tests.support.load.loop import give_up
from tests.support.load.scene import Attempt, Scene
from tests.support.load.words import Say, Wrong

_TOGETHER = 64
"""That connect at the same time, at most."""


class Idle(Client):
    """Silent until it is called."""

    kind = "idle"

    def __init__(self, scene: Scene, gate: asyncio.Semaphore) -> None:
        super().__init__(scene)
        self._gate = gate
        self._line: Line | None = None
        self._asked: Say | None = None

    async def run(self) -> None:
        while True:
            with self.scene.attempt(self.kind) as attempt, self.scene.line() as line:
                try:
                    async with self._gate:
                        await self.connect(line, attempt)
                        await self.ask(line, attempt)
                    self.steps += 1
                    await self.talk(line, attempt)
                finally:
                    self._line = self._asked = None
            await asyncio.sleep(AGAIN)

    async def talk(self, line: Line, attempt: Attempt) -> None:
        self._line = line
        attempt.doing = "being idle"
        while heard := await line.line(patience=False):
            if self._asked is None:
                raise Wrong(f"{heard[:80]!r} without a question")
            attempt.hear(heard, self._asked.number)
            self._asked = None
        raise EOFError("ended by the other side")

    @property
    def settled(self) -> bool:
        """Whether it has a session, and no answer is due."""
        return self._line is not None and self._asked is None

    async def call(self) -> None:
        """Have it say something, if it has a session."""
        if self._line is not None and self._asked is None:
            self._asked = Say(self.scene.say().number, 0)
            # If it was cut its own task finds out.
            try:
                await self._line.send(self._asked.line())
            except OSError:
                pass


class Idlers:
    """All of the idle ones."""

    def __init__(self, scene: Scene) -> None:
        gate = asyncio.Semaphore(_TOGETHER)
        self._scene = scene
        self._clients = [Idle(scene, gate) for _ in range(scene.plan.idle)]
        self._tasks = [asyncio.ensure_future(client.run()) for client in self._clients]

    async def settle(self) -> int:
        """How many have a session and have answered, once all have, or none more does."""
        most, deadline = 0, 0.0
        while (settled := sum(client.settled for client in self._clients)) < len(self._clients):
            if settled > most or not deadline:
                most, deadline = settled, time.monotonic() + self._scene.plan.patience
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.01)
        return settled

    async def roll_call(self) -> int:
        """How many answer. Those that do not at first, because they were cut, have another chance."""
        await self.settle()
        for client in self._clients:
            await client.call()
        return await self.settle()

    async def end(self) -> None:
        await give_up(*self._tasks)
