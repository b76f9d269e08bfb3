"""The balancers compared, each before the same three servers in the node's namespace."""
