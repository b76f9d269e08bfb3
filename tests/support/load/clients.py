"""The load's clients: each does one thing again and again, and knows what it has to hear.

They run on the load's event loop; a client's connection belongs to the task that opened it.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod

from tests.support.load.line import Line
from tests.support.load.loop import together
from tests.support.load.records import Shape
from tests.support.load.scene import Attempt, Scene
from tests.support.load.words import Bulk, Wrong, digest_of

AGAIN = 0.1
"""Seconds after a failure."""


class Client(ABC):
    """One that begins again when it is through, or was cut."""

    kind: str

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.steps = 0
        """How often it has got what it wanted."""

    @property
    def progress(self) -> tuple[int, int]:
        """Grows with every step."""
        return self.steps, 0

    async def run(self) -> None:
        while not self.scene.stopping:
            failures = len(self.scene.failures)
            with self.scene.attempt(self.kind) as attempt, self.scene.line() as line:
                await self.connect(line, attempt)
                await self.talk(line, attempt)
            await asyncio.sleep(AGAIN if len(self.scene.failures) > failures else self.scene.plan.pause)

    async def connect(self, line: Line, attempt: Attempt) -> None:
        try:
            await line.connect(self.scene.address)
        finally:
            attempt.port = line.port

    @abstractmethod
    async def talk(self, line: Line, attempt: Attempt) -> None:
        """As long as it pleases, but no longer than the scene."""

    async def ask(self, line: Line, attempt: Attempt) -> None:
        """A small question."""
        attempt.doing = "asking"
        question = self.scene.say()
        await line.send(question.line())
        attempt.hear(await line.line(), question.number)
        taken, digest = await line.digest(question.size, question.size, 0)
        if taken < question.size:
            raise EOFError(f"ended after {taken} of {question.size} bytes")
        if digest != digest_of(question.number, question.size):
            raise Wrong(f"the answer's {question.size} bytes are others than they should be")

    async def leave(self, line: Line, attempt: Attempt) -> None:
        """Say that it is over, and see that it is."""
        attempt.doing = "leaving"
        line.shut()
        await line.end()


class New(Client):
    kind = "new connection"

    async def talk(self, line: Line, attempt: Attempt) -> None:
        await self.ask(line, attempt)
        self.scene.waited(self.kind, attempt.began)
        await self.leave(line, attempt)
        self.scene.connections += 1
        self.steps += 1


class Regular(Client):
    kind = "regular"

    async def talk(self, line: Line, attempt: Attempt) -> None:
        while not self.scene.stopping:
            began = time.monotonic()
            await self.ask(line, attempt)
            self.scene.waited(self.kind, began)
            self.scene.requests += 1
            self.steps += 1
            await asyncio.sleep(self.scene.plan.pause)
        await self.leave(line, attempt)


class Bulky(Client):
    def __init__(self, scene: Scene, shape: Shape) -> None:
        super().__init__(scene)
        self.kind = f"bulk, {shape.name}"
        self._shape = shape
        self._line: Line | None = None

    @property
    def progress(self) -> tuple[int, int]:
        return self.steps, self._line.moved if self._line else 0

    async def talk(self, line: Line, attempt: Attempt) -> None:
        self.steps += 1
        self._line = line
        transfer = self.scene.bulk(self._shape)
        attempt.doing = "asking"
        await line.send(transfer.line())
        attempt.hear(await line.line(), transfer.number)
        attempt.doing = "transferring"
        (_, sent), (taken, heard) = await together(self._send(line, transfer), self._take(line, transfer))
        if taken < transfer.down:
            raise EOFError(f"ended after {taken} of {transfer.down} bytes")
        attempt.doing = "comparing digests"
        expected = f"{sent} {heard}\n".encode()
        if (told := await line.line()) != expected:
            if not told:
                raise EOFError("ended before the digests")
            raise Wrong(f"{told!r} instead of {expected!r}, of {transfer.up} bytes up and {transfer.down} bytes down")
        await line.end()
        self.scene.transfers += 1

    async def _send(self, line: Line, transfer: Bulk) -> tuple[int, str]:
        digest = await line.send_stream(transfer.number, transfer.up)
        line.shut()
        self.scene.bytes_up += transfer.up
        return transfer.up, digest

    async def _take(self, line: Line, transfer: Bulk) -> tuple[int, str]:
        taken = await line.digest(transfer.down, transfer.burst, transfer.pause)
        self.scene.bytes_down += taken[0]
        return taken
