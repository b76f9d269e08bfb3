"""A node, a switch and servers, each in a network namespace of its own, joined by veth pairs.

Runs in the bench's main thread, as root. A namespace is held by a ``cat`` that reads a pipe of the bench's: however
the bench ends, the pipe ends with it, then the ``cat``, and the kernel takes the namespace and its links down once
nobody runs in it. The bench itself enters none of them. Machines know each other's hardware addresses for good, so
a server that is powered off is silence and nothing else, as behind a router.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.faults import BenchFault

_NODE = 10
"""Last byte of the node's address; the servers' follow."""


@dataclass(frozen=True)
class Namespace:
    """One network namespace, by the process that holds it."""

    holder: int

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command that runs ``command`` in it, as the same process."""
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net", "--", *command]

    def ip(self, lines: Sequence[str]) -> None:
        """Run lines of ``ip`` in it. Raises :class:`BenchFault` when one is refused."""
        command = self.inside(["ip", "-batch", "-"])
        done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchFault(f"ip: {done.stderr.strip()}")


@dataclass(frozen=True)
class Network:
    """The switch's ports are numbered as the machines are: 0 is the node, the servers follow."""

    switch: Namespace
    node: Namespace
    servers: tuple[Namespace, ...]

    def address(self, server: int) -> str:
        return _address(server + 1)

    def power_off(self, servers: Sequence[int]) -> None:
        """From now on nothing gets to these servers or comes from them, and nobody is told."""
        self.switch.ip([f"link set port{server + 1} down" for server in servers])

    def power_on(self) -> None:
        """All links are as at the beginning."""
        self.switch.ip([f"link set port{server + 1} up" for server in range(len(self.servers))])


@contextmanager
def network(servers: int) -> Iterator[Network]:
    """The whole of it, until the block ends. Raises :class:`BenchFault` where it cannot be made."""
    with ExitStack() as stack:
        switch, *machines = (stack.enter_context(_namespace()) for _ in range(servers + 2))
        switch.ip(["link add bridge type bridge", "link set bridge up"])
        for number, machine in enumerate(machines):
            switch.ip(
                [
                    f"link add port{number} type veth "
                    f"peer name eth0 address {_hardware(number)} netns {machine.holder}",
                    f"link set port{number} master bridge up",
                ]
            )
            others = [other for other in range(len(machines)) if other != number]
            machine.ip(
                [
                    "link set lo up",
                    f"address add {_address(number)}/24 dev eth0",
                    "link set eth0 up",
                    *(f"neighbour add {_address(n)} lladdr {_hardware(n)} dev eth0 nud permanent" for n in others),
                ]
            )
        yield Network(switch, machines[0], tuple(machines[1:]))


@contextmanager
def _namespace() -> Iterator[Namespace]:
    """An empty one, until the block ends."""
    command = ["unshare", "--net", "--", "sh", "-c", "echo; exec cat"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stderr
        if not holder.stdout.readline():
            raise BenchFault(f"no network namespace: {holder.stderr.read().decode().strip()}")
        try:
            yield Namespace(holder.pid)
        finally:
            holder.stdin.close()


def _address(number: int) -> str:
    return f"10.0.0.{_NODE + number}"


def _hardware(number: int) -> str:
    return f"02:00:00:00:00:{_NODE + number:02x}"
