"""``kubelb upgrade``: what is installed takes the place of what runs. Runs in the operator's command."""

from __future__ import annotations

import sys
from pathlib import Path

from kubelb.cli import adminclient
from kubelb.config.faults import printable


def upgrade(runtime_dir: Path) -> int:
    """The exit status; why it failed comes as a line each on standard error."""
    try:
        pid = adminclient.upgrade(runtime_dir)
    except adminclient.AdminFault as fault:
        for line in str(fault).splitlines():
            print(printable(line), file=sys.stderr)
        return 1
    print(f"kubelb runs as pid {pid} now")
    return 0
