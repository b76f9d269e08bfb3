"""Where the members of a pool come from."""
