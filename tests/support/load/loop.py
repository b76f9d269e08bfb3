"""The thread that the load's clients and servers run on, all in one event loop, so that they never wait for each
other's interpreter and a server's death is at one moment for all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

_DEADLINE = 100.0
_SOON = 0.5
"""Seconds in which a cancelled task ends."""


class Loop:
    """Owned by the thread that enters it; :meth:`do` is for any."""

    def __init__(self) -> None:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")
        self._started = threading.Event()

    def __enter__(self) -> Loop:
        self._thread.start()
        assert self._started.wait(_DEADLINE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._started.set()
        await self._ended.wait()

    def do(self, what: Coroutine[Any, Any, T], deadline: float = _DEADLINE) -> T:
        """Have it done there, and wait for what it returns. Raises what it raises."""
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(deadline)


async def together(*calls: Coroutine[Any, Any, T]) -> list[T]:
    """What they return. If one fails the others are given up, and what it raised is raised."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await give_up(*tasks)


async def give_up(*tasks: asyncio.Task[Any]) -> None:
    """Cancel them, and wait until they have ended; again if one has taken that for something else."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_SOON)
    await asyncio.gather(*tasks, return_exceptions=True)
