"""The rounds: every peer of a case in turn, round after round, so that a slow minute of the machine is shared by all.

Runs in the bench's main thread; every program is started and stopped here, by context managers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from bench.cases.case import Case
from bench.faults import BenchFault, failed
from bench.figures import turn
from bench.origin import origin_command, prepare
from bench.peers.peer import Peer
from bench.results import CaseResult, Sample
from bench.running import Running, running

Note = Callable[[str], None]
"""Takes a line about what is going on."""


class Harness:
    """Measures cases against one origin."""

    def __init__(self, origin_port: int, rounds: int, seconds: int, note: Note) -> None:
        self._origin_port = origin_port
        self._rounds = rounds
        self._seconds = seconds
        self._note = note

    def measure(self, case: Case, peers: Sequence[Peer]) -> CaseResult:
        """All rounds of a case. A peer that fails has no figures there, and the others go on without it."""
        samples: dict[str, list[Sample]] = {peer.name: [] for peer in peers}
        failures: dict[str, str] = {}
        with ExitStack() as stack:
            lasting: dict[str, Running] = {}
            for peer in [] if case.fresh else peers:
                with _noted(failures, peer):
                    lasting[peer.name] = stack.enter_context(self._started(peer))
                    case.measure(lasting[peer.name], seconds=1)
            for number in range(self._rounds):
                for peer in turn(peers, number):
                    if peer.name in failures:
                        continue
                    self._note(f"{case.name}: round {number + 1} of {self._rounds}, {peer.name}")
                    with _noted(failures, peer), self._visit(peer, lasting) as target:
                        samples[peer.name].append(self._sample(case, target))
        kept = {name: taken for name, taken in samples.items() if name not in failures}
        return CaseResult(case.name, case.title, case.metrics, kept, failures)

    def _sample(self, case: Case, target: Running) -> Sample:
        sample = case.measure(target, self._seconds)
        if target.program.ended():
            raise BenchFault(f"it ended under load: {target.program.log_tail()}")
        return sample

    def _visit(self, peer: Peer, lasting: dict[str, Running]) -> AbstractContextManager[Running]:
        return nullcontext(lasting[peer.name]) if peer.name in lasting else self._started(peer)

    @contextmanager
    def _started(self, peer: Peer) -> Iterator[Running]:
        with (
            work_directory() as directory,
            running(peer.name, lambda port: peer.command(port, self._origin_port, directory), directory) as target,
        ):
            yield target


@contextmanager
def origin() -> Iterator[int]:
    """The HTTP origin, until the block ends; its port."""
    with work_directory() as directory:
        prepare(directory)
        with running("the origin", lambda port: origin_command(port, directory), directory) as target:
            yield target.port


@contextmanager
def work_directory() -> Iterator[Path]:
    """A directory for one program, removed at the end; open to the account nginx's workers change to under root."""
    with tempfile.TemporaryDirectory(prefix="kubelb-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@contextmanager
def _noted(failures: dict[str, str], peer: Peer) -> Iterator[None]:
    """Keep why a peer failed instead of ending the run: all other figures do without it."""
    try:
        yield
    except BenchFault as fault:
        failures[peer.name] = str(fault)
    except OSError as error:
        failures[peer.name] = failed(error)
