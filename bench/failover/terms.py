"""What servers, clients and figures agree upon; pure."""

from __future__ import annotations

from typing import Final

NAMES: Final = ("a", "b", "c")
"""Of the servers; elsewhere they are told by their number, from 0."""
DEAD: Final = 0
"""The server the harm is done to, unless to all."""
PORT: Final = 6443
"""Of the servers and of the balancer."""
DRAIN_SECONDS: Final = 10.0
"""So long a server in graceful shutdown serves as before, but for its readiness."""
HANG_SECONDS: Final = 35.0
"""So long a client waits for a connection or its first reply."""
TRANSFER_PATH: Final = "/list"
"""What a client asks for to have a transfer."""
TRANSFER_SECONDS: Final = 12.0
"""So long a transfer takes."""
