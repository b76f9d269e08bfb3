"""Mounts that one command sees and nobody else."""

from __future__ import annotations

import subprocess

from tests.support.requirements import missing


def apart(mounts: str) -> list[str]:
    """What goes before a command that is to run after ``mounts``, a line for the shell, in a mount namespace."""
    command = ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        missing("permission for mounts of one's own")
    return command
