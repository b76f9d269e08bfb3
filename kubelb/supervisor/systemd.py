"""What the supervisor tells systemd of itself: that it is ready, reloads, stops, and is alive (sd_notify(3)).

Each notice is one datagram to the AF_UNIX socket that $NOTIFY_SOCKET names. For the supervisor's only thread. The
sending socket lives for one datagram, so no descriptor is kept and no child inherits one. Nothing here waits or
raises: a notice that systemd does not take is lost, and the log says so. Without the variable nothing is sent.
"""

from __future__ import annotations

import math
import re
import socket
import time
from collections import Counter
from collections.abc import Collection, MutableMapping

from kubelb import log
from kubelb.reasons import reason_of
from kubelb.snapshot import GOOD, Snapshot


def encode(*fields: tuple[str, str]) -> bytes:
    """Names and values as the protocol has them, a line each; a value can neither begin nor cut a line."""
    return "\n".join(f"{name}={_printable(value)}" for name, value in fields).encode()


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def describe(snapshot: Snapshot, workers: Collection[bool]) -> str:
    """The status line: what of the servers is used and what is not. ``workers``: whether each of them serves."""
    states = Counter(server.state for pool in snapshot.pools for server in pool.servers if not server.removed)
    usable = sum(states[state] for state in GOOD)
    others = "".join(f", {states[state]} {state}" for state in sorted(states.keys() - set(GOOD)))
    return f"{usable} of {states.total()} servers usable{others}; {sum(workers)} of {len(workers)} workers"


class Systemd:
    """``pause`` is seconds from one sign of life to the next; infinite: nobody wants any. ``due`` is when the next
    one is due, in seconds of the monotonic clock; infinite before this process is ready.

    Until then it says nothing of itself: after an upgrade systemd does not listen to it yet.
    ``variables`` are for the environment of a process that takes this one's place, over what is there: it is watched
    as this one is, and WATCHDOG_PID is not to tell it otherwise.
    """

    def __init__(self, environment: MutableMapping[str, str], pid: int) -> None:
        """Takes its variables out of ``environment``: they are meant for the process ``pid`` and not its children."""
        notify, period = environment.pop("NOTIFY_SOCKET", ""), environment.pop("WATCHDOG_USEC", "")
        self._address = _address(notify)
        wanted = environment.pop("WATCHDOG_PID", "") in ("", str(pid)) and self._address is not None
        self.pause = _seconds(period) / 2 if wanted else math.inf
        self.variables = {"NOTIFY_SOCKET": notify, "WATCHDOG_USEC": period if wanted else "", "WATCHDOG_PID": ""}
        self._ready = False
        self._status = ""
        self._refused = False
        self.due = math.inf

    def ready(self, status: str) -> None:
        """At the end of the start, and of each reload however that went."""
        self._ready = True
        if self.pause < math.inf:
            self.due = 0.0
        self._status = status
        self._send(("READY", "1"), ("STATUS", status))

    def reloading(self) -> None:
        self._send(("RELOADING", "1"), ("MONOTONIC_USEC", str(time.monotonic_ns() // 1000)))

    def main_pid(self, pid: int) -> None:
        """From now on ``pid`` is the service, and the only one that systemd listens to (NotifyAccess=main).

        It has to be a child of systemd by then, and no more one of this process: else systemd calls it not its own,
        does not wait for its end at a stop, and kills it at once (service.c, unit.c: ``main_pid_alien``).
        """
        self._send(("MAINPID", str(pid)))

    def stopping(self, status: str) -> None:
        self._status = status
        self._send(("STOPPING", "1"), ("STATUS", status))

    def status(self, text: str) -> None:
        """Sent if it is another one than before."""
        if self._ready and text != self._status:
            self._status = text
            self._send(("STATUS", text))

    def alive(self, now: float) -> None:
        """To be called in each turn of the loop that is watched."""
        if now >= self.due:
            self.due = now + self.pause
            self._send(("WATCHDOG", "1"))

    def _send(self, *fields: tuple[str, str]) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(encode(*fields), self._address)
        except OSError as error:
            if not self._refused:
                self._refused = True
                log.get().warning("systemd_not_told", reason=reason_of(error))
        else:
            self._refused = False


def _address(text: str) -> bytes | None:
    """A path, or a name in the abstract namespace, which "@" stands for; anything else is not for us."""
    raw = text.encode(errors="surrogateescape")
    return b"\0" + raw[1:] if raw.startswith(b"@") else raw if raw.startswith(b"/") else None


def _seconds(microseconds: str) -> float:
    """Infinite for what is no time."""
    return int(microseconds) / 1e6 if re.fullmatch("0*[1-9][0-9]{0,17}", microseconds) else math.inf
