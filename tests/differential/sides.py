"""The two proxies, each with the same text of configuration but for its log's place, and what they are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from tests.differential.configuration import Batch, Where, stream
from tests.differential.observe import Line, Observation, parsed
from tests.differential.play import Player, Scene
from tests.differential.scripts import Case
from tests.differential.stage import Stage
from tests.support.eventually import eventually
from tests.support.nginx import ERROR_LOG, PREAMBLE, running_nginx
from tests.support.proxy import running

Proxy = Callable[[Path, str, int], AbstractContextManager[None]]
"""Runs with a ``stream {}`` and so many workers."""


@contextmanager
def nginx(directory: Path, stream: str, workers: int) -> Iterator[None]:
    config = f"{PREAMBLE}user root root;\nworker_processes {workers};\nevents {{}}\n{stream}"
    with running_nginx(directory, config, []) as process:
        log = directory / ERROR_LOG
        eventually(lambda: process.poll() is not None or "start worker process " in log.read_text(), "it listens")
        yield


@contextmanager
def kubelb(directory: Path, stream: str, workers: int) -> Iterator[None]:
    conf = directory / "nginx.conf"
    conf.write_text(f"error_log stderr info;\nworker_processes {workers};\nevents {{}}\n{stream}")
    with running(directory, "--nginx-conf", str(conf)):
        yield


def observed(proxy: Proxy, directory: Path, batch: Batch, where: Where, stage: Stage) -> list[Observation]:
    """What is seen when all cases are played before that proxy, one after the other."""
    directory.mkdir()
    seen = []
    with proxy(directory, stream(batch, where, stage, directory), batch.workers):
        for number, (case, listens) in enumerate(zip(batch.cases, where, strict=True)):
            listeners = [address for row in listens for address in row]
            scene = Scene(listeners, _on("proxy_half_close", batch, case), _on("proxy_protocol", batch, case))
            try:
                seen.append(Player(stage, scene, partial(_lines, directory / f"{number}.log")).play(case))
            except AssertionError as error:
                raise AssertionError(f"{directory.name}: {error}: {case}") from None
    return seen


def _on(directive: str, batch: Batch, case: Case) -> bool:
    """What the innermost says."""
    said = [text for text in (*batch.directives, *case.directives) if text.startswith(f"{directive} ")]
    return bool(said) and said[-1].endswith(" on")


def _lines(log: Path, clients: Sequence[str]) -> list[Line]:
    """Those of the clients, once each has one; of clients without a name in any order, which is the same for both."""
    lines = eventually(lambda: _all_lines(log, len(clients)), f"{len(clients)} lines in {log.name}")
    by_client = {client: [text for name, text in lines if name == client] for client in clients}
    assert sum(map(len, by_client.values())) == len(clients), lines
    return [by_client[client].pop() for client in clients]


def _all_lines(log: Path, count: int) -> list[tuple[str, Line]] | None:
    """Who it was, and what is said of them."""
    lines = log.read_text().splitlines() if log.exists() else []
    if len(lines) != count:
        return None
    return [(name, parsed(text)) for name, _, text in (line.partition('"') for line in sorted(lines))]
