"""What a test needs of the machine and of who runs it: without that it is skipped by name, and fails on CI."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest


def missing(component: str) -> NoReturn:
    """Skip the test by the name of what it lacks; on CI nothing may be lacking, so fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{component} is missing")
    pytest.skip(f"{component} is missing")


def require_root() -> None:
    if os.geteuid() != 0:
        missing("root")


def require_ipv6() -> None:
    if not _has_ipv6():
        missing("IPv6")


def loopbacks() -> list[str]:
    """This machine's, of both families; of IPv4 alone where there is no other, but not on CI."""
    if os.environ.get("CI") == "true":
        require_ipv6()
    return ["127.0.0.1", "::1"] if _has_ipv6() else ["127.0.0.1"]


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@contextmanager
def open_files(wanted: int) -> Iterator[None]:
    """Within, this process may have so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        missing(f"a limit of {wanted} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
