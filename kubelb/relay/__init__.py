"""Moves the bytes of sessions; knows nothing of pools."""
