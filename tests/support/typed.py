"""``kubelb`` as an operator types it, with no terminal near."""

from __future__ import annotations

import subprocess

from tests.support.log import DEADLINE
from tests.support.proxy import KUBELB


def typed(*arguments: str) -> tuple[int, str, str]:
    """The command's exit status, output and standard error."""
    done = subprocess.run(
        [str(KUBELB), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
