"""The text of configuration that both proxies get: of each case a listener, a pool and a log of its own."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubelb.config.variables import address_text
from kubelb.snapshot import SocketAddress
from tests.differential.observe import SHAPED
from tests.differential.scripts import Case, Member
from tests.differential.stage import Stage, family
from tests.support.proxy import reserved

_LOGGED = (
    *("status", "remote_addr", "remote_port", "binary_remote_addr", "server_addr", "server_port", "protocol"),
    *("proxy_protocol_addr", "proxy_protocol_port", "proxy_protocol_server_addr", "proxy_protocol_server_port"),
    *("bytes_received", "bytes_sent", "upstream_addr", "upstream_bytes_sent", "upstream_bytes_received"),
    *("limit_conn_status", "hostname", "part", "kind", "net", *SHAPED),
)
"""All variables but ``nginx_version``."""
_COMMON = (
    "log_format plain '$realip_remote_addr $realip_remote_port"
    + "".join(f'"{name}=${name}' for name in _LOGGED)
    + "'",
    "split_clients $remote_addr $part { 30% a; 30% b; * c; }",
    "map $remote_addr $kind { 127.0.0.9 nine; 10.1.2.3 told; default other; }",
    "geo $net { 127.7.0.0/16 seven; default rest; }",
    "limit_conn_zone $binary_remote_addr zone=each:1m;",
)
"""What directives of cases name."""


@dataclass(frozen=True)
class Batch:
    """Cases that are played before the same process."""

    cases: tuple[Case, ...]
    directives: tuple[str, ...] = ()
    """Of the ``stream {}``."""
    workers: int = 1


Row = Sequence[SocketAddress]
"""One ``listen``, mostly one address."""
Where = Sequence[Sequence[Row]]
"""For each case its ``listen`` directives."""


@contextmanager
def places(batch: Batch, directory: Path) -> Iterator[Where]:
    """Kept for as long: one proxy after the other listens there. ``directory`` is where unix sockets are."""
    with ExitStack() as stack:
        yield [
            [_row(text.split()[0], directory / f"{number}.{at}", stack) for at, text in enumerate(case.listens)]
            for number, case in enumerate(batch.cases)
        ]


def _row(host: str, path: Path, stack: ExitStack) -> Row:
    if host == "unix:":
        return [(f"unix:{path}", 0)]
    host, _, count = host.partition("/")
    while True:
        with ExitStack() as attempt:
            first = attempt.enter_context(reserved(host))
            rest = [(host, first[1] + at) for at in range(1, int(count or 1))]
            if all(map(_is_free, rest)):
                row = [first, *(attempt.enter_context(reserved(*address)) for address in rest)]
                stack.push(attempt.pop_all())
                return row


def _is_free(address: SocketAddress) -> bool:
    """Whether nobody has bound it, be it only to keep it."""
    with socket.socket(family(address)) as sock:
        try:
            sock.bind(address)
        except OSError:
            return False
    return True


def stream(batch: Batch, where: Where, stage: Stage, logs: Path) -> str:
    blocks = (_block(number, case, where[number], stage, logs) for number, case in enumerate(batch.cases))
    return f"stream {{\n{_statements((*_COMMON, *batch.directives))}{''.join(blocks)}}}\n"


def _statements(texts: Sequence[str], indent: str = "") -> str:
    return "".join(f"{indent}{text}\n" if text.endswith(("}", ";")) else f"{indent}{text};\n" for text in texts)


def _block(number: int, case: Case, where: Sequence[Row], stage: Stage, logs: Path) -> str:
    listens = [
        " ".join(["listen", _named(row), *text.split()[1:]]) for row, text in zip(where, case.listens, strict=True)
    ]
    inside = [*listens, *case.directives, f"access_log {logs}/{number}.log plain", case.then]
    text = (
        _upstream("pool@", [case.method] if case.method else [], case.members)
        + (_upstream("other@", [], case.others) if case.others else "")
        + _statements(case.around)
        + f"server {{\n{_statements(inside, '    ')}}}\n"
    )
    addresses = [address_text(server.address) for server in stage.servers]
    return re.sub(r"<(\d)>", lambda match: addresses[int(match[1])], text.replace("@", str(number)))


def _upstream(name: str, method: Sequence[str], members: Sequence[Member]) -> str:
    servers = [" ".join(["server", f"<{member.server}>", *member.parameters]) for member in members]
    return f"upstream {name} {{\n{_statements([*method, *servers], '    ')}}}\n"


def _named(row: Row) -> str:
    """As ``listen`` has it."""
    return address_text(row[0]) + (f"-{row[-1][1]}" if len(row) > 1 else "")
