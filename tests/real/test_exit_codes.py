"""What every command exits with, as the README's table has it; how ``kubelb run`` ends is in test_signals."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import click
import pytest

from kubelb.cli.app import main
from kubelb.cli.usage import Group
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
    code, out, errors = kubelb(name, "--zzz")
    assert (code, out) == (2, "")
    assert errors == f"kubelb {name}: no option --zzz; see kubelb {name} --help\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--nonsense"], "kubelb: no option --nonsense; see kubelb --help"),
        (["nonsense"], 'kubelb: no command "nonsense"; see kubelb --help'),
        (["relaod"], 'kubelb: no command "relaod"; did you mean reload?'),
        (["run", "--lisen", "x"], "kubelb run: no option --lisen; did you mean --listen?"),
        (["run", "--listen"], "kubelb run: --listen is without a value; write --listen HOST:PORT"),
        (["run", "--workers", "some"], 'kubelb run: --workers: not "some"; write a number or "auto"'),
        (
            ["run", "--threads", "some"],
            'kubelb run: --threads: not "some"; write a number, "auto" or "per-connection"',
        ),
        (["run", "--log-level", "loud"], 'kubelb run: --log-level: not "loud"; one of debug, info, warning, error'),
        (["run", "file.toml"], 'kubelb run: "file.toml" is too much; see kubelb run --help'),
        (["check", "--pin=yes"], "kubelb check: --pin takes no value; leave it out"),
        (["drain"], "kubelb drain: SERVER is missing; see kubelb drain --help"),
        (["convert", "a", "b\n"], 'kubelb convert: "b\\n" is too much; see kubelb convert --help'),
        (["top", "--every", "0"], 'kubelb top: --every: not "0"; write a number from 0.1 to 3600'),
        (["top", "--every", "often"], 'kubelb top: --every: not "often"; write a number from 0.1 to 3600'),
        (["demo", "--seconds", "nan"], 'kubelb demo: --seconds: not "nan"; write a number from 0 up'),
    ],
)
def test_what_is_wrong_with_a_command_line_is_a_line_of_ours(arguments: list[str], line: str) -> None:
    assert kubelb(*arguments) == (2, "", f"{line}\n")


def test_no_command_at_all_is_answered_with_help() -> None:
    code, out, errors = kubelb()
    assert (code, out) == (2, "")
    assert all(f"\n  {name} " in errors for name in main.commands)


_NONSENSE = "in words that are not ours"


@pytest.mark.parametrize(
    "error",
    [
        click.UsageError(_NONSENSE),
        click.BadParameter(_NONSENSE),
        click.BadParameter(_NONSENSE, param_hint=_NONSENSE),
        click.MissingParameter(_NONSENSE),
        click.BadOptionUsage("--some", _NONSENSE),
        click.BadArgumentUsage(_NONSENSE),
        click.NoSuchOption("--some", _NONSENSE),
        click.FileError("some", _NONSENSE),
        click.ClickException(_NONSENSE),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_click_says_is_not_shown(error: click.ClickException, capsys: pytest.CaptureFixture[str]) -> None:
    @click.group(cls=Group)
    def group() -> None: ...

    @group.command()
    def command() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        group(["command"], prog_name="kubelb")
    assert ended.value.code == error.exit_code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("kubelb")
    assert len(said.err.splitlines()) == 1
    assert _NONSENSE not in said.err


def test_ctrl_c_is_not_commented(capsys: pytest.CaptureFixture[str]) -> None:
    @click.group(cls=Group)
    def group() -> None: ...

    @group.command()
    def command() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        group(["command"], prog_name="kubelb")
    assert ended.value.code == 1
    assert "".join(capsys.readouterr()).strip() == ""


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
