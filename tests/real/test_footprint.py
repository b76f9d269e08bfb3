"""What the processes of a proxy have loaded: what none of them uses costs a node memory for nothing."""

from __future__ import annotations

import _ssl
from pathlib import Path

import msgspec
import psutil

from kubelb.config.model.config import Config
from kubelb.config.model.pools import Health, ProbeKind
from kubelb.snapshot import SocketAddress
from tests.support.proxy import Proxy, a_config, reserved, running


def _probed(probe: ProbeKind, listen: SocketAddress, server: SocketAddress) -> Config:
    config = a_config(listen, [server])
    pools = {name: msgspec.structs.replace(pool, health=Health(probe=probe)) for name, pool in config.pools.items()}
    return msgspec.structs.replace(config, pools=pools)


def _with_openssl(proxy: Proxy) -> list[psutil.Process]:
    """Those that have Python's module for it mapped, or the library itself."""
    return [
        process
        for process in (proxy.supervisor, *proxy.children())
        if any(library in Path(f"/proc/{process.pid}/maps").read_text() for library in (_ssl.__file__, "libcrypto"))
    ]


def test_a_proxy_without_tls_has_no_openssl(tmp_path: Path) -> None:
    """Not even once a probe has failed."""
    with (
        reserved() as nobody,
        reserved() as listen,
        running(tmp_path, config=_probed("tcp", listen, nobody)) as proxy,
    ):
        proxy.log.wait_for("server_suspect")
        assert len(proxy.children()) == 3
        assert not _with_openssl(proxy)


def test_what_probes_need_is_loaded_before_the_fork(tmp_path: Path) -> None:
    with (
        reserved() as nobody,
        reserved() as listen,
        running(tmp_path, config=_probed("tls", listen, nobody)) as proxy,
    ):
        assert proxy.supervisor in _with_openssl(proxy)
