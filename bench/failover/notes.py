"""How the figures are made, as the report says it; pure."""

from __future__ import annotations

NOTES = (
    "A node, a switch and three apiservers, each in a network namespace of its own; TLS clients on the node. "
    "Unless said otherwise 30 keep-alive clients make a request 100 ms after the last reply, and a new "
    "connection comes every 50 ms, or every 100 ms beside 30 sessions that ask once and stay. New connections "
    "are timed from connect to reply and count if they were begun once the harm was done. Requests wait for "
    "ever, new connections 35 s, or 5 s once the measurement has ended; ≥ marks what was still going on then. "
    "A session is cut that had been served and ends without its client or a reply having said so: as no "
    "server ends one but those that are killed, the balancer did.",
    "Killed is SIGKILL; powered off is packets vanishing unanswered; a graceful shutdown is 10 s of 500 on "
    "/readyz while all else is served, then an end that closes each connection with its last reply. All "
    "killed: for 3 s. The 60 sessions redial when cut; one server is killed for 3 s. When all are slow, "
    "/readyz is too, and 60 clients make a request a second. Where accept fails the kernel completes "
    "connections that nobody takes; where SYNs are dropped the queue is full. A server that hangs does TLS "
    "handshakes and answers nothing. Without etcd all /readyz answer 500, every other one after 2 s, and one "
    "server after the other is ready again 3 s later. A server that shuts down is not ready for the delay, "
    "listens no more, closes connections with their next reply and finishes transfers: 18 clients make one of "
    "12 s after the other. One that starts answers 403 to everything for 2 s, then 500 to /readyz for 3 s.",
    'kubelb runs with its defaults (and, for the 60 sessions, `rebalance = { every = "1s", threshold = 0.1, '
    "at_most = 1 }`), or as nginx with RKE's file; nginx, HAProxy and Envoy run with the files that RKE, "
    "kubespray and k0s write. The tuned HAProxy and Envoy probe /readyz each 1 s (fall 2, rise 1), dial for "
    "250 ms up to three times, take other servers then, leave a server out that fails dials (outlier "
    "detection in Envoy), and cut the sessions of one that is down.",
)
