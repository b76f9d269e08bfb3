"""The two proxies, each with the same text of configuration but for addresses and paths, and what they are asked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kubelb.snapshot import SocketAddress
from tests.differential.observe import Observation
from tests.differential.play import Player
from tests.differential.scripts import Case, Member
from tests.differential.stage import Stage
from tests.support.eventually import eventually
from tests.support.identity import name_of
from tests.support.nginx import PREAMBLE, running_nginx
from tests.support.proxy import reserved, running

_FORMAT = (
    "log_format plain '$realip_remote_addr $realip_remote_port|$status $remote_addr $proxy_protocol_addr'"
    " ' $proxy_protocol_port $protocol $bytes_received $bytes_sent to $upstream_addr'"
    " ' $upstream_bytes_sent $upstream_bytes_received';"
)
"""Who it was, and what is the same in both."""


@dataclass(frozen=True)
class Batch:
    """Cases that are played before the same process: each has a listener, a pool and a log of its own."""

    cases: tuple[Case, ...]
    directives: tuple[str, ...] = ()
    """Of the ``stream {}``."""


Where = Sequence[Sequence[SocketAddress]]
"""For each case its listeners' addresses."""
Proxy = Callable[[Path, Batch, Stage], AbstractContextManager[Where]]


def stream(batch: Batch, where: Where, stage: Stage, logs: Path) -> str:
    blocks = (_block(number, case, where[number], stage, logs) for number, case in enumerate(batch.cases))
    directives = "".join(f"{text}\n" if text.endswith("}") else f"{text};\n" for text in batch.directives)
    return f"stream {{\n{_FORMAT}\n{directives}{''.join(blocks)}}}\n"


def _block(number: int, case: Case, where: Sequence[SocketAddress], stage: Stage, logs: Path) -> str:
    servers = "".join(f"    {_line(member, stage)}\n" for member in case.members)
    listens = "".join(
        f"    listen {' '.join([name_of(address), *text.split()[1:]])};\n"
        for address, text in zip(where, case.listens, strict=True)
    )
    directives = "".join(f"    {directive};\n" for directive in case.directives)
    method = f"    {case.method};\n" if case.method else ""
    return (
        f"upstream pool{number} {{\n{method}{servers}}}\n"
        f"server {{\n{listens}{directives}"
        f"    access_log {logs}/{number}.log plain;\n    proxy_pass pool{number};\n}}\n"
    )


def _line(member: Member, stage: Stage) -> str:
    return " ".join(["server", name_of(stage.servers[member.server].address), *member.parameters]) + ";"


@contextmanager
def nginx(directory: Path, batch: Batch, stage: Stage) -> Iterator[Where]:
    with ExitStack() as stack:
        sockets = [[stack.enter_context(_listen(host)) for host in _hosts(case)] for case in batch.cases]
        where = [[sock.getsockname()[:2] for sock in each] for each in sockets]
        config = f"{PREAMBLE}user root root;\nevents {{}}\n{stream(batch, where, stage, directory)}"
        stack.enter_context(running_nginx(directory, config, [sock for each in sockets for sock in each]))
        yield where


@contextmanager
def kubelb(directory: Path, batch: Batch, stage: Stage) -> Iterator[Where]:
    with ExitStack() as stack:
        where = [[stack.enter_context(reserved(host)) for host in _hosts(case)] for case in batch.cases]
        conf = directory / "nginx.conf"
        conf.write_text(f"error_log stderr info;\nevents {{}}\n{stream(batch, where, stage, directory)}")
        stack.enter_context(running(directory, "--nginx-conf", str(conf)))
        yield where


def _hosts(case: Case) -> list[str]:
    return [text.split()[0] for text in case.listens]


def _listen(host: str) -> socket.socket:
    return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=511)


def observed(proxy: Proxy, directory: Path, batch: Batch, stage: Stage) -> list[Observation]:
    """What is seen when all cases are played before that proxy, one after the other."""
    directory.mkdir()
    seen = []
    with proxy(directory, batch, stage) as where:
        for number, (case, listeners) in enumerate(zip(batch.cases, where, strict=True)):
            log = partial(_lines, directory / f"{number}.log")
            try:
                seen.append(Player(stage, listeners, _half_close(batch, case), log).play(case))
            except AssertionError as error:
                raise AssertionError(f"{directory.name}: {error}: {case}") from None
    return seen


def _half_close(batch: Batch, case: Case) -> bool:
    """What the innermost directive says."""
    said = [text for text in (*batch.directives, *case.directives) if text.startswith("proxy_half_close ")]
    return bool(said) and said[-1].endswith(" on")


def _lines(log: Path, clients: Sequence[str]) -> list[str]:
    """Those of the clients, once each has one."""
    lines = eventually(lambda: _all_lines(log, len(clients)), f"{len(clients)} lines in {log.name}")
    assert lines.keys() == set(clients), lines
    return [lines[client] for client in clients]


def _all_lines(log: Path, count: int) -> dict[str, str] | None:
    lines = log.read_text().splitlines() if log.exists() else []
    return dict(line.split("|", 1) for line in lines) if len(lines) == count else None
