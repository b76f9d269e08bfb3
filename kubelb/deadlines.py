"""How long the processes of one kubelb wait for one another; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Deadlines:
    """Seconds. The supervisor is given them, and gives control those that are control's."""

    follow: float = 5.0
    """Workers that have not applied a changed snapshot by then are named to whoever asked for the change. It takes
    milliseconds, unless they are stopped or the machine has no time for them."""
    read: float = 45.0
    """A configuration that has not been read by then is given up: its files or the name servers do not answer."""
    take_over: float = 60.0
    """A new supervisor that does not serve by then is given up."""
    bind: float = 0.5
    """Between two attempts to listen on an address that is in use; there are five."""
    hand_over: float = 10.0
    """Old workers that have not handed over all their sessions by then are named in the log, and asked again."""
    control_hangs: float = 8.0
    """Control that has not done its work for so long is replaced; nobody notices."""
    worker_hangs: float = 25.0
    """A worker that has not done its work for so long is replaced, and its sessions are lost; so is any child that
    does not get ready."""
    stop: float = 5.0
    """A child that has not ended so long after a fast stop is killed; so long after that nobody waits for it."""
    last_lines: float = 1.0
    """The last lines of the log may take so long to be written at the supervisor's end."""


USUAL: Final = Deadlines()
BEAT: Final = 2.0
"""Seconds between two times that a thread says that it does its work."""
