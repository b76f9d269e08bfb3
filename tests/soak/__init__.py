"""``python -m tests.soak``: the real proxy under load, while everything that may happen to it does, for minutes."""
