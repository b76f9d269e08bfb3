"""What this process was started as: what to start for an upgrade.

Taken down at the very start, before anything changes it. The program is found by the same words again, so what has
been installed in its place since is what starts; the working directory likewise, by the name it had ($PWD).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Image(NamedTuple):
    program: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str

    @classmethod
    def of_this_process(cls) -> Image:
        return cls(sys.executable, tuple(sys.orig_argv), dict(os.environ), _directory())


def _directory() -> str:
    named = Path(os.environ.get("PWD", ""))
    try:
        if named.is_absolute() and named.samefile("."):
            return str(named)
    except OSError:
        pass
    return str(Path.cwd())
