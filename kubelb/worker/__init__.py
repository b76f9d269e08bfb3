"""The data plane: accepts, picks, dials and relays."""
