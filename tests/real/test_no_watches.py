"""A supervisor that may watch no descriptor more (fs.epoll.max_user_watches): it lives, and tries again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave
from tests.support.program import OURS, a_program
from tests.support.proxy import Proxy, echoes, gone

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
        pid = int(unheard.read_text())
        eventually(lambda: not psutil.pid_exists(pid), "the child that could not be heard is gone")
        assert proxy.pid == supervisor


def whole(proxy: Proxy) -> Callable[[], bool]:
    return lambda: len(proxy.workers()) == 2 and proxy.answer() is not None


def test_a_child_that_could_not_be_heard_is_started_again(proxy: Proxy, armed: Path) -> None:
    dead, living = proxy.workers()
    armed.touch()
    dead.kill()
    proxy.log.wait_for("child_not_started")
    eventually(whole(proxy), "another worker is in its place")
    assert not gone(living)
    assert ask(proxy.address)


def test_a_reload_whose_reader_could_not_be_heard_is_refused(proxy: Proxy, armed: Path) -> None:
    with keep(proxy.address)[0] as client:
        armed.touch()
        with pytest.raises(AdminFault, match="cannot be read"):
            adminclient.reload(proxy.runtime_dir)
        assert adminclient.reload(proxy.runtime_dir) == ()
        assert echoes(client)
        leave(client)
