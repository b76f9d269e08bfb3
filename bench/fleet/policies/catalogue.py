"""All balancers that are simulated."""

from __future__ import annotations

from typing import Final, NamedTuple

from bench.fleet.policies import haproxy, nginx
from bench.fleet.policies.before import Before
from bench.fleet.policies.k3s import K3s
from bench.fleet.policies.kubelb import Kubelb
from bench.fleet.policies.policy import Policy


class Peer(NamedTuple):
    name: str
    """As on the command line."""
    title: str
    """As in the table."""
    policy: Policy


PEERS: Final = (
    Peer("kubelb", "kubelb", Kubelb),
    Peer("kubelb-before", "kubelb before", Before),
    Peer("nginx-rke", "nginx, RKE", nginx.rke()),
    Peer("nginx-kubespray", "nginx, kubespray", nginx.kubespray()),
    Peer("haproxy-tuned", "HAProxy, tuned", haproxy.running(haproxy.TUNED)),
    Peer("haproxy-kubespray", "HAProxy, kubespray", haproxy.running(haproxy.KUBESPRAY)),
    Peer("k3s", "k3s agent", K3s),
)
