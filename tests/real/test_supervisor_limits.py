"""A supervisor that can have no descriptor more goes on, and catches up once it can."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.control.commands import Drain
from kubelb.deadlines import Deadlines
from kubelb.own_limits import own_reason
from tests.support.descriptors import no_more_descriptors
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, asked, keep, leave
from tests.support.program import STANDING, a_program, impatient
from tests.support.proxy import EchoServers, Proxy, a_config, echoes, reserved, running

pytestmark = pytest.mark.usefixtures("no_leaks")

SHORT = own_reason(errno.EMFILE)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """One whose snapshot is too large to travel by itself."""
    with EchoServers(["127.0.0.2", "127.0.0.3"]) as servers, reserved() as listen:
        config = a_config(listen, servers.addresses, "round_robin")
        access = tuple(f"deny 10.{i}.{j}.0/24" for i in range(80) for j in range(60))
        listeners = (msgspec.structs.replace(config.listeners[0], access=access),)
        config = msgspec.structs.replace(config, listeners=listeners)
        with running(tmp_path, config=config) as proxy:
            yield proxy


def reached(proxy: Proxy) -> set[str]:
    return {asked(proxy.address) for _ in range(8)}


def test_a_snapshot_that_cannot_be_sent_is_sent_later(proxy: Proxy) -> None:
    one, other = sorted(reached(proxy))
    with no_more_descriptors(proxy.supervisor):
        adminclient.command(proxy.runtime_dir, Drain(one))
        told, *_ = proxy.log.wait_for("message_not_sent")
        assert (told["message"], told["reason"]) == ("SnapshotChanged", SHORT)
        assert reached(proxy) == {one, other}
    eventually(lambda: reached(proxy) == {other}, "workers go by the newest snapshot")
    assert not proxy.log.events("child_died")
    assert not proxy.log.events("child_stuck")


def test_a_reload_is_refused_with_the_reason(proxy: Proxy) -> None:
    with no_more_descriptors(proxy.supervisor):
        with pytest.raises(AdminFault, match=SHORT):
            adminclient.reload(proxy.runtime_dir)
        assert len(reached(proxy)) == 2
    assert adminclient.reload(proxy.runtime_dir) == ()


def test_a_graceful_stop_does_not_wait_for_a_snapshot(proxy: Proxy) -> None:
    one, _ = sorted(reached(proxy))
    with no_more_descriptors(proxy.supervisor):
        adminclient.command(proxy.runtime_dir, Drain(one))
        proxy.log.wait_for("message_not_sent")
        assert proxy.end(signal.SIGQUIT) == 0


def test_sessions_are_handed_over_once_there_is_something_to_do_it_by(
    tmp_path: Path, servers: IdentityServers
) -> None:
    with a_program(tmp_path, servers.addresses) as (proxy, program), ThreadPoolExecutor(1) as pool:
        clients = [keep(proxy.address)[0] for _ in range(4)]
        program.write_text(STANDING)
        upgrade = pool.submit(proxy.upgrade)
        new = proxy.standing()
        with no_more_descriptors(proxy.supervisor):
            new.resume()
            proxy.log.wait_for("started", 2)
        upgrade.result()
        for client in clients:
            assert echoes(client)
            leave(client)
        assert not proxy.log.events("sessions_not_handed_over")


def test_sessions_of_a_worker_that_had_no_descriptor_for_it_are_handed_over_later(
    tmp_path: Path, servers: IdentityServers
) -> None:
    with reserved() as listen, ThreadPoolExecutor(1) as pool:
        config = a_config(listen, servers.addresses, workers=1)
        with impatient(tmp_path, config, Deadlines(hand_over=1.0)) as proxy:
            client, _ = keep(listen)
            with no_more_descriptors(proxy.workers()[0]):
                upgrade = pool.submit(proxy.upgrade)
                proxy.log.wait_for("sessions_not_handed_over")
            upgrade.result()
            assert echoes(client)
            leave(client)
