"""What every command exits with, as the README's table has it; how ``kubelb run`` ends is in test_signals."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from kubelb.cli.app import main
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers
from tests.support.log import DEADLINE
from tests.support.proxy import KUBELB, a_proxy, gone

ASK_WITH = {"drain": ["10.0.0.1:6443"], "undrain": ["10.0.0.1:6443"]}
OF_A_RUNNING_ONE = sorted(
    name for name, command in main.commands.items() if "runtime_dir" in {option.name for option in command.params}
)


def kubelb(*arguments: str | Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [str(KUBELB), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", sorted(main.commands))
def test_a_wrong_command_line(name: str) -> None:
    code, out, errors = kubelb(name, "--nonsense")
    assert (code, out) == (2, "")
    assert "No such option" in errors


def test_no_such_command() -> None:
    assert kubelb("nonsense")[0] == 2


@pytest.mark.parametrize("name", sorted(set(OF_A_RUNNING_ONE) - {"run", "check", "top"}))
def test_nobody_runs(tmp_path: Path, name: str) -> None:
    code, out, errors = kubelb(name, *ASK_WITH.get(name, []), "--runtime-dir", tmp_path)
    assert (code, out) == (1, "")
    (line,) = errors.splitlines()
    assert line.endswith("is kubelb running, with this runtime directory?")


def test_no_configuration(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for arguments in (["run", "--config"], ["check", "--nginx-conf"], ["convert"]):
        code, out, errors = kubelb(*arguments, missing)
        assert (code, out) == (1, "")
        assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["stop", "-h"]])
def test_what_is_asked_for_is_done(arguments: list[str]) -> None:
    code, out, errors = kubelb(*arguments)
    assert (code, errors) == (0, "")
    assert out


def test_killed(tmp_path: Path, servers: IdentityServers) -> None:
    with a_proxy(tmp_path, servers.addresses) as proxy:
        children = proxy.children()
        assert proxy.end(signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: all(map(gone, children)), "its children are gone")
