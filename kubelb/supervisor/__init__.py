"""The single-threaded parent: sockets, children, the newest snapshot."""
