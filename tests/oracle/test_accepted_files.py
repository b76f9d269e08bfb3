"""Real nginx takes and refuses the files of the corpus as it is written there, and finds the same line at fault."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.corpus import INVALID, VALID, expected_faults, nginx_accepts, takes_newer_nginx
from tests.support.nginx import STREAM_MODULE


def _test(nginx: str, conf: Path, prefix: Path) -> subprocess.CompletedProcess[str]:
    """``nginx -t``, which binds for a moment what the file listens on and takes a port in use for good."""
    (prefix / "logs").mkdir()
    own_pid = re.search(rb"^pid ", conf.read_bytes(), re.MULTILINE)
    globals_ = f"load_module {STREAM_MODULE};" + ("" if own_pid else f" pid {prefix}/nginx.pid;")
    command = [nginx, "-t", "-p", str(prefix), "-c", str(conf), "-g", globals_]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("conf", VALID, ids=lambda path: path.stem)
def test_valid(conf: Path, nginx: str, tmp_path: Path) -> None:
    tested = _test(nginx, conf, tmp_path)
    assert (tested.returncode != 0) == takes_newer_nginx(conf), tested.stderr


@pytest.mark.parametrize("conf", INVALID, ids=lambda path: path.stem)
def test_invalid(conf: Path, nginx: str, tmp_path: Path) -> None:
    tested = _test(nginx, conf, tmp_path)
    assert (tested.returncode == 0) == nginx_accepts(conf), tested.stderr
    if place := re.search(rf" in {re.escape(str(conf.parent))}/(\S+:\d+)$", tested.stderr, re.MULTILINE):
        assert expected_faults(conf)[0].startswith(f"{place[1]}: ")
