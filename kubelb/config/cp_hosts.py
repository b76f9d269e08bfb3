"""``CP_HOSTS``, the list of control plane hosts RKE gives its nginx-proxy, into the model; pure.

It means the nginx.conf that rke-tools' ``templates/nginx.tmpl`` makes of it: port 6443 on every address and at every
host, round robin, ``proxy_timeout 10m``, ``proxy_connect_timeout 2s``. Beyond that a host may carry its own port.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from kubelb.config.faults import ConfigFault, Fault, Key, Place, fault_of
from kubelb.config.model.config import Config, Loaded
from kubelb.config.model.listeners import Listener
from kubelb.config.model.pools import PASSIVE, Pool, Server
from kubelb.config.values import Address, Duration, parse_address, same_host
from kubelb.reasons import ValueFault

VARIABLE: Final = "CP_HOSTS"
_POOL = "kube_apiserver"
_PORT = 6443


def read_cp_hosts(text: str) -> Loaded:
    """The proxy for the hosts in ``text``, commas between them; :class:`ConfigFault` with every wrong entry."""
    faults: list[Fault] = []
    addresses: list[Address] = []
    for number, entry in enumerate(text.split(","), start=1):
        try:
            addresses.append(_address(entry.strip(), number, addresses))
        except ValueFault as error:
            fault = fault_of(error)
            faults.append(Fault(path=VARIABLE, what=fault.what, instead=fault.instead))
    if faults:
        raise ConfigFault(*faults)
    listener = Listener(
        listen=(Address("0.0.0.0", _PORT),),
        pool=_POOL,
        connect_timeout=Duration(2),
        idle_timeout=Duration(600),
        half_close=False,
    )
    pool = Pool(
        servers=tuple(Server(address=address) for address in addresses), balance="round_robin", health=PASSIVE
    )
    places: dict[Key, Place] = {(): Place(path=VARIABLE)}
    return Loaded(Config(listeners=(listener,), pools={_POOL: pool}), places=places)


def _address(entry: str, number: int, before: list[Address]) -> Address:
    if not entry:
        raise ValueFault(f"entry {number} is empty; write hosts with commas between them")
    if any(character.isspace() or character == ";" for character in entry):
        raise ValueFault(f'"{entry}" has a blank or a semicolon in it; write hosts with commas between them')
    address = parse_address(f"[{entry}]" if _is_ipv6(entry) else entry, _PORT)
    if address.path is not None:
        raise ValueFault(f"{address} is no host; write hosts with commas between them")
    if any(same_host(address.host) == same_host(other.host) and address.port == other.port for other in before):
        raise ValueFault(f"{address} is there twice; write each host once")
    return address


def _is_ipv6(entry: str) -> bool:
    """RKE gives bare addresses; one of IPv6 cannot carry a port."""
    try:
        return isinstance(ipaddress.ip_address(entry), ipaddress.IPv6Address)
    except ValueError:
        return False
