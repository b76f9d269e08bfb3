"""``kubelb reload``: the running proxy goes by its configuration as it now is. Runs in the operator's command."""

from __future__ import annotations

import sys
from pathlib import Path

from kubelb.cli import adminclient
from kubelb.config.faults import printable


def reload(runtime_dir: Path) -> int:
    """The exit status; faults come as one line each on standard error, as ``check`` has them."""
    try:
        warnings = adminclient.reload(runtime_dir)
    except adminclient.AdminFault as fault:
        for line in str(fault).splitlines():
            print(printable(line), file=sys.stderr)
        return 1
    for warning in warnings:
        print(printable(f"warning: {warning}"), file=sys.stderr)
    return 0
