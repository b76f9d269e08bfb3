"""Looking after servers: how they are probed, how often, and what is thought of them."""
