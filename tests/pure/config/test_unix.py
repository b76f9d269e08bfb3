"""Where unix sockets may stand in a configuration, and where they may not."""

from __future__ import annotations

import pytest

from kubelb.config.cp_hosts import read_cp_hosts
from kubelb.config.faults import ConfigFault
from kubelb.config.model.config import Admin, Config
from kubelb.config.model.listeners import Binding, Listener
from kubelb.config.model.pools import Pool, Server
from kubelb.config.validate import validate
from kubelb.config.values import Address, Duration

_A, _B = Address("unix:/a", 0), Address("unix:/b", 0)


def _config(*listen: Address, binding: Binding = Binding(), admin: Admin = Admin()) -> Config:  # noqa: B008
    servers = (Server(address=_A), Server(address=_B))
    listener = Listener(listen=listen, pool="a", socket=binding)
    return Config(listeners=(listener,), pools={"a": Pool(servers=servers)}, admin=admin)


def _faults(config: Config) -> list[str]:
    return [str(fault) for fault in validate(config, {})]


def test_both_sides() -> None:
    listen = Address("unix:/c", 0), Address("unix:/d", 0), Address("::1", 1)
    assert _faults(_config(*listen, binding=Binding(backlog=5, receive_buffer=9))) == []


def test_each_once() -> None:
    assert _faults(_config(_A, _A)) == [
        "listener[0].listen[1]: unix:/a is taken: unix:/a is listened on already; write each address once"
    ]


@pytest.mark.parametrize(
    "binding", [Binding(keepalive=True), Binding(keepalive_idle=Duration(5)), Binding(fast_open=1)]
)
def test_no_options_of_tcp(binding: Binding) -> None:
    (fault,) = _faults(_config(Address("::1", 1), _A, binding=binding))
    assert fault.startswith("listener[0].listen[1]: ")
    assert fault.endswith(" means nothing on a unix socket; give it a listener of its own")
    assert _faults(_config(Address("::1", 1), binding=binding)) == []


def test_not_the_admin_side() -> None:
    assert _faults(_config(_A, admin=Admin(listen=_B))) == [
        "admin.listen: unix:/b: the admin side over TCP has no unix socket; write an address and a port"
    ]


def test_no_host_of_cp_hosts() -> None:
    with pytest.raises(ConfigFault, match=r"unix:/a is no host"):
        read_cp_hosts("10.0.0.1,unix:/a")
