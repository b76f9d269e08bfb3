"""What is said of a change of relay/flow, with the tests that guard it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kubelb.relay import flow
from tests.mutants.targets import ROOT

_JUDGE = """
import sys
from pathlib import Path
from tests.mutants.trial import QUICK, Changed, run
source, *files = sys.argv[1:]
print(run([Path(file) for file in files], QUICK, Changed("kubelb.relay.flow", source), 3).verdict.value)
"""
_SOURCE = Path(flow.__file__).read_text()


@pytest.mark.parametrize(
    ("source", "verdict"),
    [
        (_SOURCE, "survived"),
        (_SOURCE.replace("WRITE = 0x0004", "WRITE = 0x0008"), "killed"),
        (_SOURCE + "raise KeyError", "killed"),
        (_SOURCE + "while True: pass", "endless"),
    ],
    ids=["none", "noticed", "fatal", "endless"],
)
def test_what_is_said_of_a_change(source: str, verdict: str) -> None:
    command = [sys.executable, "-c", _JUDGE, source, "tests/pure/relay/test_flow.py"]
    judged = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert judged.stdout.split() == [verdict]
