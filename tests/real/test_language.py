"""In another locale kubelb says the same, in its own words."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import pytest

from kubelb.cli import adminclient
from tests.support.eventually import eventually
from tests.support.identity import name_of, refusing
from tests.support.language import GIBBERISH, said, speaking
from tests.support.program import OURS, a_program

pytestmark = pytest.mark.usefixtures("no_leaks")

_NGINX = "kubelb.cli.nginx"
_UNKNOWN = """\
[[listener]]
listen = ['127.0.0.1:1']
pool = 'a'
[pool.a]
servers = ['nobody.invalid:1']
"""


def commands(directory: Path, taken: str) -> list[list[str]]:
    """That fail in all the ways in which the system can say no."""
    unknown, log = directory / "unknown.toml", directory / "log.toml"
    unknown.write_text(_UNKNOWN)
    log.write_text(_UNKNOWN.replace("nobody.invalid", "127.0.0.1") + f"[log]\nfile = '{directory}'\n")
    missing, within = str(directory / "missing"), str(unknown / "within")
    flags = ["--listen", taken, "--server", "127.0.0.1:1", "--runtime-dir"]
    return [
        ["check", "--config", missing],
        ["check", "--config", str(directory)],
        ["check", "--config", within],
        ["check", "--config", str(unknown)],
        ["check", "--config", str(log)],
        ["run", *flags, str(directory / "run")],
        ["run", *flags, within],
        ["status", "--runtime-dir", within],
        ["stop", "--runtime-dir", within],
    ]


def nginx_commands(directory: Path) -> list[list[str]]:
    missing, conf = str(directory / "missing"), directory / "nginx.conf"
    proxy = "events {}\nstream { server { listen 127.0.0.1:1; proxy_pass 127.0.0.1:2; } }\n"
    conf.write_text(f"pid {missing}/nginx.pid;\n{proxy}")
    log = directory / "log.conf"
    log.write_text(f"error_log {directory};\n{proxy}")
    return [["-t", "-c", missing], ["-t", "-c", str(conf)], ["-s", "stop", "-c", str(conf)], ["-t", "-c", str(log)]]


def test_what_a_command_says(tmp_path: Path) -> None:
    program = speaking(tmp_path / "language")
    with socket.create_server(("127.0.0.1", 0)) as holder:
        for arguments in commands(tmp_path, name_of(holder.getsockname())):
            plain, foreign = said(OURS, *arguments), said(program, *arguments)
            assert plain.returncode == 1, arguments
            assert foreign.returncode == 1
            assert GIBBERISH not in foreign.stderr
            assert (foreign.stdout, timeless(foreign.stderr)) == (plain.stdout, timeless(plain.stderr))


def timeless(text: str) -> str:
    return re.sub(r'"timestamp": "[^"]*"', "", text)


def test_what_nginxs_command_says(tmp_path: Path) -> None:
    program = speaking(tmp_path / "language", _NGINX)
    for arguments in nginx_commands(tmp_path):
        plain, foreign = said(OURS.replace("kubelb.cli.app", _NGINX), *arguments), said(program, *arguments)
        assert plain.returncode == foreign.returncode == 1
        assert re.search(r" failed \([0-9]+: [A-Z]| cannot be opened: is a directory", plain.stderr)
        assert GIBBERISH not in foreign.stderr
        assert foreign.stderr == plain.stderr


def test_what_a_running_proxy_says(tmp_path: Path) -> None:
    code = speaking(tmp_path / "language")
    with refusing(["127.0.0.1"]) as servers, a_program(tmp_path, servers, code) as (proxy, _):
        with socket.create_connection(proxy.address) as client, pytest.raises(ConnectionError):
            client.recv(1)
        eventually(lambda: _failures(tmp_path / "run") > 0, "the server has refused")
        (tmp_path / "kubelb.toml").unlink()
        with pytest.raises(adminclient.AdminFault, match=r"kubelb\.toml: cannot be read: no such file or directory$"):
            adminclient.reload(tmp_path / "run")
        text = adminclient.status_json(tmp_path / "run").decode()
        assert proxy.end(signal.SIGTERM) == 0
        assert GIBBERISH not in text
        assert GIBBERISH not in proxy.log.text


def _failures(runtime_dir: Path) -> int:
    (pool,) = adminclient.status(runtime_dir).pools
    return sum(server.dial_failures for server in pool.servers)
