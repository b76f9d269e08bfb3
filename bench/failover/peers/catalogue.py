"""All balancers."""

from __future__ import annotations

from typing import Final

from bench.failover.peers import envoy, haproxy, kubelb, nginx
from bench.failover.peers.peer import Peer

KUBELB: Final = Peer("kubelb", "kubelb", kubelb.probing)
KUBELB_NGINX: Final = Peer("kubelb-nginx", "kubelb, nginx.conf alone", kubelb.with_nginx_conf)
PEERS: tuple[Peer, ...] = (
    KUBELB,
    KUBELB_NGINX,
    Peer("nginx-rke", "nginx, RKE", nginx.running(nginx.RKE)),
    Peer("nginx-kubespray", "nginx, kubespray", nginx.running(nginx.KUBESPRAY)),
    Peer(
        "haproxy-kubespray",
        "HAProxy, kubespray",
        haproxy.running(haproxy.KUBESPRAY, "check check-ssl verify none"),
        settle_seconds=17.0,
    ),
    Peer("haproxy-tuned", "HAProxy, tuned", haproxy.running(haproxy.TUNED)),
    Peer("envoy-k0s", "Envoy, k0s", envoy.k0s, settle_seconds=6.0),
    Peer("envoy-tuned", "Envoy, tuned", envoy.tuned),
)
"""The first two are measured against the goals."""
