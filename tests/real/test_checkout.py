"""The checkout is another user's, as on a machine where one builds and another looks: its tests pass all the same."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.log import DEADLINE
from tests.support.mounts import apart

ROOT = Path(__file__).parent.parent.parent


def test_nothing_has_to_be_written_to_it() -> None:
    """Neither hypothesis' examples nor pytest's cache; a warning about that would be a failure."""
    root = shlex.quote(str(ROOT))
    command = [*apart(f"mount --bind -o ro {root} {root}"), sys.executable, "-m", "pytest", "-q"]
    run = subprocess.run(
        [*command, "tests/pure/test_inet.py"], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
