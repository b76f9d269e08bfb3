"""A supervisor that may watch no descriptor more (fs.epoll.max_user_watches): it lives, and tries again. So it does
with a child that the system has nothing for, which says so in a line."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.own_limits import own_reason
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave, name_of
from tests.support.log import DEADLINE
from tests.support.program import OURS, a_program
from tests.support.proxy import Proxy, echoes, gone, reserved

pytestmark = pytest.mark.usefixtures("no_leaks")

_CODE = """\
import errno, os, psutil, selectors
from kubelb.wire.channel import Channel

register = selectors.DefaultSelector.register


def refused(selector, what, *rest):
    if isinstance(what, Channel) and os.path.exists({armed!r}):
        newest = max(psutil.Process().children(), key=lambda child: (child.create_time(), child.pid))
        with open({unheard!r}, "w") as file:
            file.write(str(newest.pid))
        os.unlink({armed!r})
        raise OSError(errno.ENOSPC, "no watch is left")
    return register(selector, what, *rest)


selectors.DefaultSelector.register = refused
"""
_NO_EPOLL = """\
import errno, os, select

epoll = select.epoll


class Refused:
    def __new__(cls, *arguments):
        try:
            os.unlink({armed!r})
        except FileNotFoundError:
            return epoll(*arguments)
        raise OSError(errno.EMFILE, "no descriptor is left")


select.epoll = Refused
"""
_NO_MEMORY = """\
import errno, os


def refused(*arguments):
    raise OSError(errno.ENOMEM, "no memory is left")


os.memfd_create = refused
"""


@pytest.fixture
def armed(tmp_path: Path) -> Path:
    """A file that, while it is there, has the supervisor refused one watch of a child's channel."""
    return tmp_path / "armed"


@pytest.fixture
def unheard(tmp_path: Path) -> Path:
    """In it is the pid of that child, afterwards."""
    return tmp_path / "unheard"


@pytest.fixture
def proxy(tmp_path: Path, servers: IdentityServers, armed: Path, unheard: Path) -> Iterator[Proxy]:
    code = _CODE.format(armed=str(armed), unheard=str(unheard)) + OURS
    with a_program(tmp_path, servers.addresses, code) as (proxy, _):
        supervisor = proxy.pid
        yield proxy
        assert not armed.exists()
        assert proxy.pid == supervisor


def assert_ended(unheard: Path) -> None:
    pid = int(unheard.read_text())
    eventually(lambda: not psutil.pid_exists(pid), "the child that could not be heard is gone")


def whole(proxy: Proxy) -> Callable[[], bool]:
    return lambda: len(proxy.workers()) == 2 and proxy.answer() is not None


def test_a_child_that_could_not_be_heard_is_started_again(proxy: Proxy, armed: Path, unheard: Path) -> None:
    dead, living = proxy.workers()
    armed.touch()
    dead.kill()
    proxy.log.wait_for("child_not_started")
    assert_ended(unheard)
    eventually(whole(proxy), "another worker is in its place")
    assert not gone(living)
    assert ask(proxy.address)


def test_a_worker_that_the_system_has_nothing_for_says_so_in_a_line_and_is_started_again(
    tmp_path: Path, servers: IdentityServers
) -> None:
    armed = tmp_path / "armed"
    with a_program(tmp_path, servers.addresses, _NO_EPOLL.format(armed=str(armed)) + OURS) as (proxy, _):
        armed.touch()
        proxy.workers()[0].kill()
        (said,) = proxy.log.wait_for("own_limit")
        assert said["reason"] == own_reason(errno.EMFILE)
        eventually(whole(proxy), "another worker is in its place")


def test_a_start_that_the_system_has_nothing_for_is_refused_in_a_line(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_NO_MEMORY + OURS)
    with reserved() as listen:
        command = [sys.executable, str(program), "run", "--runtime-dir", str(tmp_path / "run")]
        command += ["--listen", name_of(listen), "--server", "127.0.0.1:9"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    (line,) = done.stderr.splitlines()
    assert own_reason(errno.ENOMEM) in line
    assert done.returncode == 1


def test_a_reload_whose_reader_could_not_be_heard_is_refused(proxy: Proxy, armed: Path, unheard: Path) -> None:
    with keep(proxy.address)[0] as client:
        armed.touch()
        with pytest.raises(AdminFault, match="cannot be read"):
            adminclient.reload(proxy.runtime_dir)
        assert_ended(unheard)
        assert adminclient.reload(proxy.runtime_dir) == ()
        assert echoes(client)
        leave(client)


def test_logs_are_opened_anew_by_the_next_signal(proxy: Proxy, armed: Path, unheard: Path) -> None:
    armed.touch()
    os.kill(proxy.pid, signal.SIGUSR1)
    eventually(lambda: unheard.exists() and not armed.exists(), "what opens them could not be heard")
    assert_ended(unheard)
    os.kill(proxy.pid, signal.SIGUSR1)
    assert ask(proxy.address)


def test_an_upgrade_whose_supervisor_could_not_be_heard_is_given_up(proxy: Proxy, armed: Path) -> None:
    with keep(proxy.address)[0] as client:
        armed.touch()
        with pytest.raises(AdminFault, match="cannot be started"):
            proxy.upgrade()
        eventually(whole(proxy), "all is as before")
        assert echoes(client)
        leave(client)
