"""All balancers that are simulated."""

from __future__ import annotations

from typing import Final, NamedTuple

from bench.fleet.policies import haproxy, kubelb, nginx
from bench.fleet.policies.before import Before
from bench.fleet.policies.k3s import K3s
from bench.fleet.policies.policy import Policy
from kubelb.config.model.pools import PASSIVE, Health


class Peer(NamedTuple):
    name: str
    """As on the command line."""
    title: str
    """As in the table."""
    policy: Policy


PEERS: Final = (
    Peer("kubelb", "kubelb", kubelb.running(Health())),
    Peer("kubelb-nginx", "kubelb, nginx.conf alone", kubelb.running(PASSIVE)),
    Peer("kubelb-before", "kubelb before", Before),
    Peer("nginx-rke", "nginx, RKE", nginx.rke()),
    Peer("nginx-kubespray", "nginx, kubespray", nginx.kubespray()),
    Peer("haproxy-tuned", "HAProxy, tuned", haproxy.running(haproxy.TUNED)),
    Peer("haproxy-kubespray", "HAProxy, kubespray", haproxy.running(haproxy.KUBESPRAY)),
    Peer("k3s", "k3s agent", K3s),
)
