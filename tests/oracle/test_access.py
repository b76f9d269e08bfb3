"""allow and deny let in whom nginx lets in, and take the networks that it takes."""

from __future__ import annotations

import random
import re
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from kubelb.config.access import allowed, parse_network, parse_rule
from tests.support.nginx import PREAMBLE, STREAM_MODULE, listen, running_nginx

_SERVERS = 60
_IPV6 = (
    "::1",
    "::/0",
    "::/96",
    "::ffff:0:0/96",
    "::ffff:127.0.0.0/104",
    "::ffff:127.0.1.0/120",
    "fe80::/10",
    "::2/127",
)


class _Server(NamedTuple):
    rules: list[tuple[str, str]]
    """``allow`` or ``deny``, and for whom."""
    ipv4: socket.socket
    ipv6: socket.socket
    """For IPv4 too."""
    unix: Path

    def block(self) -> str:
        rules = " ".join(f"{verdict} {text};" for verdict, text in self.rules)
        return f"""
            server {{
                listen 127.0.0.1:{self.ipv4.getsockname()[1]};
                listen [::]:{self.ipv6.getsockname()[1]} ipv6only=off;
                listen unix:{self.unix};
                {rules}
                return in;
            }}
        """


def _a_client(rng: random.Random) -> str:
    return f"127.0.{rng.randrange(4)}.{rng.randrange(1, 9)}"


def _a_source(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.6:
        return f"{_a_client(rng)}/{rng.randint(20, 32)}"
    return rng.choice(["all", "unix:", "0.0.0.0/0", "127.0.0.1", *_IPV6])


def _a_server(rng: random.Random, unix: Path) -> _Server:
    rules = [(rng.choice(["allow", "deny"]), _a_source(rng)) for _ in range(rng.randrange(6))]
    ipv6 = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return _Server(rules, listen(), ipv6, unix)


def _is_let_in(family: int, server: tuple[str, int] | str, source: str | None = None) -> bool:
    with socket.socket(family) as client:
        client.settimeout(30)
        if source is not None:
            client.bind((source, 0))
        client.connect(server)
        return client.recv(16) == b"in"


def test_any_rules(tmp_path: Path) -> None:
    rng = random.Random(1)
    servers = [_a_server(rng, tmp_path / str(number)) for number in range(_SERVERS)]
    ports = [[sock.getsockname()[1] for sock in (server.ipv4, server.ipv6)] for server in servers]
    config = f"""{PREAMBLE}
        user root root;
        worker_processes 1;
        events {{ worker_connections 1024; }}
        stream {{ {"".join(server.block() for server in servers)} }}
    """
    listeners = [sock for server in servers for sock in (server.ipv4, server.ipv6)]
    with ExitStack() as stack:
        stack.enter_context(running_nginx(tmp_path, config, listeners))
        for server, (ipv4, ipv6) in zip(servers, ports, strict=True):
            rules = [parse_rule(verdict == "deny", text, lambda warning: None) for verdict, text in server.rules]
            for client in (_a_client(rng) for _ in range(8)):
                let_in = _is_let_in(socket.AF_INET, ("127.0.0.1", ipv4), client)
                assert allowed(rules, client) == let_in, (server.rules, client)
                let_in = _is_let_in(socket.AF_INET, ("127.0.0.1", ipv6), client)
                assert allowed(rules, f"::ffff:{client}") == let_in, (server.rules, client)
            assert allowed(rules, "::1") == _is_let_in(socket.AF_INET6, ("::1", ipv6)), server.rules
            assert allowed(rules, "unix:") == _is_let_in(socket.AF_UNIX, str(server.unix)), server.rules


_TEXTS = (
    *(
        "all",
        "unix:",
        "unix:/run/a.sock",
        "ALL",
        "localhost",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/8/8",
        "/8",
        "::/",
        "10./8",
    ),
    *(
        "10.0.0.0",
        "10.0.0.1/8",
        "10.0.0.1/32",
        "10.0.0.1/33",
        "10.0.0.1/0",
        "10.0.0.0/0008",
        "10.0.0.0/-1",
        "10.0.0.0/",
    ),
    *(
        "255.255.255.255",
        "255.255.255.255/8",
        "255.255.255.254/31",
        "1..2.3/16",
        "...",
        "010.1.1.1",
        "1.2.3.256",
        "1.2.3",
    ),
    *(
        "::",
        "::1",
        "::1/127",
        "::/0",
        "::/128",
        "::/129",
        "1::2:/128",
        ":1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7::",
        "[::1]",
    ),
    *(
        "::ffff:1.2.3.4",
        "::1.2.3.4/96",
        "fe80::1%lo",
        "12345::",
        "1:2:3:4:5:6:1.2.3.4",
        "::255.255.255.255",
        ":",
        ":/8",
    ),
    "10.0.0.0/99999999999999999999",
)


def test_any_text(tmp_path: Path, nginx: str) -> None:
    (tmp_path / "logs").mkdir()
    for directive in ("allow", "deny"):
        for text in _TEXTS:
            assert _ours(text) == _theirs(nginx, tmp_path, directive, text), text


def test_any_trusted_network(tmp_path: Path, nginx: str) -> None:
    """But for names, which nginx looks up."""
    (tmp_path / "logs").mkdir()
    texts = [text for text in _TEXTS if _is_numeric(text)]
    for text in texts:
        assert _ours(text) == _theirs(nginx, tmp_path, "set_real_ip_from", text), text


def _is_numeric(text: str) -> bool:
    try:
        parse_network(text, lambda warning: None)
    except ValueError:
        return False
    return True


def _ours(text: str) -> Sequence[str]:
    warnings: list[str] = []
    try:
        parse_rule(False, text, warnings.append)
    except ValueError as error:
        return [str(error)]
    return warnings


def _theirs(nginx: str, prefix: Path, directive: str, text: str) -> Sequence[str]:
    """What nginx has to say of it."""
    config = f'load_module {STREAM_MODULE}; pid {prefix}/nginx.pid; events {{}} stream {{ {directive} "{text}"; }}'
    (prefix / "nginx.conf").write_text(config)
    command = [nginx, "-t", "-p", str(prefix), "-c", "nginx.conf"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stderr
    return re.findall(r"\[(?:emerg|warn)\] (?:\d+#\d+: )?(.*) in \S+:\d+$", said, re.MULTILINE)
