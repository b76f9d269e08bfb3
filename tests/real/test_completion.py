"""Completion in the operator's shell, as the README has it set up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.log import DEADLINE
from tests.support.proxy import KUBELB
from tests.support.requirements import missing

README = Path(__file__).parents[2] / "README.md"


def set_up(shell: str) -> str:
    """The line that the README gives for it."""
    (line,) = (line for line in README.read_text().splitlines() if f"_KUBELB_COMPLETE={shell}_source" in line)
    return line.partition(" #")[0].strip()


def typed(shell: str, script: str) -> list[str]:
    path = shutil.which(shell) or missing(shell)
    environment = {**os.environ, "PATH": f"{KUBELB.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [path, *(["--norc"] if shell == "bash" else []), "-c", script],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["kubelb", "unc"], []),
        (["kubelb", "relo"], ["reload"]),
        (["kubelb", "stop", "--g"], ["--graceful"]),
        (["kubelb", "run", "--on-down", ""], ["reset", "drain", "keep"]),
    ],
)
def test_in_bash(words: list[str], found: list[str]) -> None:
    assigned = " ".join(f'"{word}"' for word in words)
    script = f"""
        {set_up("bash")}
        COMP_WORDS=({assigned}) COMP_CWORD={len(words) - 1}
        _kubelb_completion kubelb
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert [line for line in typed("bash", script) if line] == found


@pytest.mark.parametrize("option", ["run --config", "check --nginx-conf", "convert", "stop --runtime-dir"])
def test_a_file_is_completed_by_the_shell(option: str) -> None:
    words = f"kubelb {option} /e"
    done = subprocess.run(
        [str(KUBELB)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={
            **os.environ,
            "_KUBELB_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        },
        check=False,
    )
    assert (done.stdout, done.stderr) == ("file,/e\n", "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_elsewhere_there_is_a_script_too(shell: str) -> None:
    environment = {**os.environ, "_KUBELB_COMPLETE": f"{shell}_source"}
    done = subprocess.run(
        [str(KUBELB)], capture_output=True, text=True, timeout=DEADLINE, env=environment, check=True
    )
    assert f"_KUBELB_COMPLETE={shell}_complete" in done.stdout
    assert set_up(shell)


def test_it_loads_nothing_of_the_proxy() -> None:
    """It happens at each press of a key."""
    code = "import sys, kubelb.cli.app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {".".join(module.split(".")[:2]) for module in loaded if module.startswith("kubelb.")}
    assert not ours & {f"kubelb.{part}" for part in ("supervisor", "control", "worker", "relay", "wire", "balance")}
