"""A fixture that fails a test which leaves something behind: descriptors, threads or children.

For use in a conftest: ``from tests.support.leaks import no_leaks  # noqa: F401``.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.support.eventually import eventually


class Holdings(NamedTuple):
    """What this process has, as the kernel sees it."""

    fds: int
    threads: int
    children: frozenset[int]

    @classmethod
    def now(cls) -> Holdings:
        me = psutil.Process()
        return cls(me.num_fds(), me.num_threads(), frozenset(child.pid for child in me.children(recursive=True)))

    def no_more_than(self, before: Holdings) -> bool:
        return self.fds <= before.fds and self.threads <= before.threads and self.children <= before.children


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Nothing is open or running after the test that was not before; a moment is allowed for threads to end."""
    before, names = Holdings.now(), _descriptors()
    yield
    try:
        eventually(lambda: Holdings.now().no_more_than(before), "all released", deadline=10)
    except AssertionError:
        more = _descriptors() - names
        threads = [thread.name for thread in threading.enumerate()]
        pytest.fail(f"left behind: {before} became {Holdings.now()}; {dict(more)}; running {threads}")


def _descriptors() -> Counter[str]:
    """What the descriptors of this process lead to; sockets and pipes without their numbers."""
    found: Counter[str] = Counter()
    for link in Path("/proc/self/fd").iterdir():
        try:
            found[str(link.readlink()).partition("[")[0]] += 1
        except FileNotFoundError:
            continue
    return found
