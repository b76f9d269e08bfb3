"""kubelb: the node-local load balancer that carries a node's TLS connections to the living kube-apiservers."""

__version__ = "0.1.0"
