"""A network of the test's own: a node and some servers, each in a network namespace, and a switch between them.

::

    node 10.0.0.2 ── switch ┬─ server 0, 10.0.1.2
                            ├─ server 1, 10.0.2.2
                            └─ …

The switch routes, so its policy rules decide what becomes of packets: they can be made to vanish, in one direction or
both, without a word to anybody, as with a machine that lost its power. Neighbours never expire, as the switch always
answers for itself: nobody learns from the network that a server is gone.

Namespaces have no names. They live as long as the descriptor of them or something that runs in them, so nothing is
left of a test, however it ends. What a thread starts or opens while it is :meth:`~Namespace.entered` (processes,
threads, sockets) belongs to the namespace for good.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support import debian
from tests.support.requirements import missing

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_TUN = Path("/dev/net/tun")
_SWITCH_SYSCTLS = {"ip_forward": "1", "conf/all/rp_filter": "0", "conf/default/rp_filter": "0"}

_libc = ctypes.CDLL(None, use_errno=True)


def require_namespaces() -> None:
    """Without the right to make namespaces, which root has, or without ``ip`` the test does not run."""
    debian.provided("ip")
    try:
        Namespace().close()
    except PermissionError:
        missing("the right to make network namespaces, which root has,")


class Namespace:
    """A network namespace with its loopback up; the object owns a descriptor of it."""

    def __init__(self) -> None:
        home = _current()
        try:
            _check(_libc.unshare(_CLONE_NEWNET))
            self._fd = _current()
            _check(_libc.setns(home, _CLONE_NEWNET))
        finally:
            os.close(home)
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        """What other programs know it by."""
        self.ip("link set lo up")

    def close(self) -> None:
        os.close(self._fd)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in the namespace."""
        home = _current()
        _check(_libc.setns(self._fd, _CLONE_NEWNET))
        try:
            yield
        finally:
            _check(_libc.setns(home, _CLONE_NEWNET))
            os.close(home)

    def ip(self, *commands: str) -> None:
        """Each as one would type it after ``ip``."""
        with self.entered():
            subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)


def _current() -> int:
    """A descriptor of the calling thread's namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Network:
    """A context manager. Servers are told by their number, from 0; what is done to one ends with the ``with``."""

    def __init__(self, servers: int = 3) -> None:
        self._stack = ExitStack()
        with ExitStack() as undo:
            self.node, self._switch, *rest = [self._namespace(undo) for _ in range(servers + 2)]
            self.servers: Sequence[Namespace] = rest
            self.hosts = [f"10.0.{number + 1}.2" for number in range(servers)]
            """The servers' addresses."""
            with self._switch.entered():
                for name, value in _SWITCH_SYSCTLS.items():
                    Path("/proc/sys/net/ipv4", name).write_text(value)
            for number, end in enumerate((self.node, *self.servers)):
                self._connect(end, number)
            self._stack = undo.pop_all()

    def _namespace(self, stack: ExitStack) -> Namespace:
        namespace = Namespace()
        stack.callback(namespace.close)
        return namespace

    def _connect(self, end: Namespace, number: int) -> None:
        self._switch.ip(
            f"link add port{number} type veth peer name uplink netns {end.path}",
            f"address add 10.0.{number}.1/24 dev port{number}",
            f"link set port{number} up",
        )
        end.ip(
            f"address add 10.0.{number}.2/24 dev uplink",
            "link set uplink up",
            f"route add default via 10.0.{number}.1",
        )

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def powered_off(self, *servers: int) -> Iterator[None]:
        """All packets to and from these servers vanish."""
        with self._rules(*(rule for server in servers for rule in (_to(server), _from(server)))):
            yield

    @contextmanager
    def one_way_loss(self, server: int) -> Iterator[None]:
        """It hears everybody and nobody hears it."""
        with self._rules(_from(server)):
            yield

    @contextmanager
    def slow(self, server: int, seconds: float) -> Iterator[None]:
        """All packets to it take that much longer."""
        if not _TUN.exists():
            missing(str(_TUN))
        device = f"delay{server}"
        with ExitStack() as stack:
            with self._switch.entered():
                stack.enter_context(_DelayLine(device, seconds))
            self._switch.ip(f"link set {device} up", f"route add default dev {device} table {100 + server}")
            stack.enter_context(self._rules(f"iif port0 to 10.0.{server + 1}.2 table {100 + server}"))
            yield

    @contextmanager
    def _rules(self, *rules: str) -> Iterator[None]:
        """In force within; before the routes are looked at."""
        self._switch.ip(*(f"rule add {rule}" for rule in rules))
        try:
            yield
        finally:
            self._switch.ip(*(f"rule delete {rule}" for rule in rules))


def _to(server: int) -> str:
    return f"to 10.0.{server + 1}.0/24 blackhole"


def _from(server: int) -> str:
    return f"iif port{server + 1} blackhole"


class _DelayLine:
    """A context manager: a TUN device, in the namespace of its maker, that gives each packet back after a while.

    It works wherever the kernel has TUN; netem is missing from many. Its thread owns the device's descriptor.
    """

    def __init__(self, device: str, seconds: float) -> None:
        self._seconds = seconds
        self._tun = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(self._tun, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
        self._stopped, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, name=device)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        os.close(self._stop)
        self._thread.join()
        os.close(self._stopped)

    def _run(self) -> None:
        waiting: deque[tuple[float, bytes]] = deque()
        poll = select.poll()
        poll.register(self._tun, select.POLLIN)
        poll.register(self._stopped, select.POLLHUP)
        while True:
            timeout = max(0.0, waiting[0][0] - time.monotonic()) * 1000 if waiting else None
            ready = dict(poll.poll(timeout))
            if self._stopped in ready:
                return os.close(self._tun)
            if self._tun in ready:
                waiting.append((time.monotonic() + self._seconds, os.read(self._tun, 65536)))
            while waiting and waiting[0][0] <= time.monotonic():
                os.write(self._tun, waiting.popleft()[1])
