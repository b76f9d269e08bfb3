"""What has been done to the proxy and its servers, and what was found that nothing explains."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from tests.support.load.faults import Fault, unexplained
from tests.support.load.records import Failure


class Deed(NamedTuple):
    """Something that was done. Times are seconds of the monotonic clock."""

    name: str
    since: float
    until: float
    what: str = ""
    """What exactly, where that differs."""

    def __str__(self) -> str:
        return f"{self.name} ({self.what})" if self.what else self.name


class Journal:
    """Written by several threads."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.deeds: list[Deed] = []
        self.faults: list[Fault] = []
        self.findings: list[str] = []
        """Lines, each about something that must not be."""
        self._seen = 0
        self.lock = threading.Lock()
        """Held by who does something until he has noted it: meanwhile nothing is judged."""

    @property
    def clock(self) -> str:
        """Minutes and seconds since the beginning."""
        return "{:02d}:{:02d}".format(*divmod(int(time.monotonic() - self.begun), 60))

    @contextmanager
    def doing(self, deed: str) -> Iterator[list[str]]:
        """Within, it is being done; what exactly can be added to the list."""
        since = time.monotonic()
        what: list[str] = []
        yield what
        self.deeds.append(Deed(deed, since, time.monotonic(), ", ".join(what)))

    def during(self, since: float, until: float) -> str:
        """What was being done then."""
        return ", ".join(str(deed) for deed in self.deeds if deed.since <= until and deed.until >= since) or "nothing"

    def find(self, what: str) -> None:
        self.findings.append(f"{self.clock} {what}")

    def judge(self, failures: Callable[[], Sequence[Failure]]) -> None:
        """Of these failures, all that there have been, those that no fault explains are findings; each only once."""
        with self.lock:
            all_of_them = failures()
            new, self._seen = all_of_them[self._seen :], len(all_of_them)
            for failure in unexplained(new, self.faults):
                meanwhile = self.during(failure.began, failure.at)
                self.find(f"{failure}; {failure.at - self.begun:.3f} s after the beginning; meanwhile {meanwhile}")


def counts(words: Iterable[str]) -> str:
    """How often each comes."""
    return ", ".join(f"{count} x {word}" for word, count in sorted(Counter(words).items()))
