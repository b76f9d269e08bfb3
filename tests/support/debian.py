"""Debian packages that tests need: installed when the first such test is run, outside of its time.

A test says what it needs by the mark ``debian("nginx", ...)``, and asks here for the programs. Only root installs.
Without a package the test is skipped by its name, and fails on CI, where nothing may be lacking.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import pytest

from tests.support.exclusive import only_one
from tests.support.requirements import missing

NGINX_UNIT = "/lib/systemd/system/nginx.service"
STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"
PROVIDED = {
    "chromium": ("chromium",),
    "chromium-driver": ("chromedriver",),
    "haproxy": ("haproxy",),
    "iproute2": ("ip", "ss", "tc"),
    "libnginx-mod-stream": (STREAM_MODULE,),
    "nginx": ("nginx", NGINX_UNIT),
    "strace": ("strace",),
    "systemd": ("systemd-analyze", "systemd-socket-activate"),
    "wrk": ("wrk",),
}
"""The programs and files of each package that tests use."""
NGINX = pytest.mark.debian("nginx", "libnginx-mod-stream")
IPROUTE2 = pytest.mark.debian("iproute2")
SYSTEMD = pytest.mark.debian("systemd")
INSTALL = Path(__file__).parents[2] / "packaging" / "install-packages"
_SAID: ContextVar[frozenset[str] | None] = ContextVar("_SAID", default=None)
"""What the test that runs has said it needs; nothing has been said where no test runs."""


def provided(name: str) -> str:
    """The path of a program, or of a file, of a package that the test has said it needs."""
    package = next(package for package, names in PROVIDED.items() if name in names)
    said = _SAID.get()
    assert said is None or package in said, f"the test needs {package} and has no mark that says so"
    return _find(name) or missing(package)


def packages(item: pytest.Item) -> frozenset[str]:
    """What the test says it needs."""
    return frozenset(package for mark in item.iter_markers("debian") for package in mark.args)


@contextmanager
def needing(needed: frozenset[str]) -> Iterator[None]:
    """What a test needs is installed if that can be done; within, the test may ask for it."""
    absent = frozenset(_absent(needed))
    if absent and os.geteuid() == 0:
        _install(absent)
    token = _SAID.set(needed)
    try:
        yield
    finally:
        _SAID.reset(token)


def require(needed: Iterable[str]) -> None:
    """Unless all of it is there the test does not run."""
    for package in _absent(needed):
        missing(package)


@cache
def _install(absent: frozenset[str]) -> None:
    """The script says what and how large; the processes that run tests do it one after the other, and never twice."""
    with only_one("packages"):
        if still := list(_absent(absent)):
            subprocess.run([INSTALL, *still], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)


def _absent(needed: Iterable[str]) -> Iterator[str]:
    return (package for package in sorted(needed) if not all(map(_find, PROVIDED[package])))


def _find(name: str) -> str | None:
    """Debian keeps servers in /usr/sbin, which is not on everyone's PATH."""
    if name.startswith("/"):
        return name if Path(name).exists() else None
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
