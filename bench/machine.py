"""What the figures were taken on, and with; and whether the tools are there."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
from pathlib import Path

import kubelb
from bench import nginx
from bench.results import Machine


def missing_tools() -> list[str]:
    """Programs the bench cannot do without and does not find, as Debian's package names."""
    found = {"nginx": nginx.binary(), "wrk": shutil.which("wrk")}
    return [name for name, path in found.items() if path is None]


def describe() -> Machine:
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        cpu_model=_first(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text()),
        kernel=platform.release(),
        python=platform.python_version(),
        nginx=_first(r"nginx/(\S+)", _output([nginx.binary() or "nginx", "-v"])),
        wrk=_first(r"^wrk (?:debian/)?(\S+)", _output(["wrk", "-v"])),
        kubelb=kubelb.__version__,
    )


def raise_file_limit() -> None:
    """The soft limit to the hard one; the programs under test inherit it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1].strip() if match else "unknown"


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout + done.stderr
