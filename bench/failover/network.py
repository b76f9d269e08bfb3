"""A node, a switch and servers, each in a network namespace of its own, joined by veth pairs.

Runs in the bench's main thread, as root. A namespace is held by a ``cat`` that reads a pipe of the bench's: however
the bench ends, the pipe ends with it, then the ``cat``, and the kernel takes the namespace and its links down once
nobody runs in it. The bench itself enters none of them. Machines know each other's hardware addresses for good, so
a server that is powered off is silence and nothing else, as behind a router.

Packets are lost by the kernel: a classic BPF filter draws a number for each, and those it picks are redirected to a
link that leads nowhere. netem, which does the same, is missing from many kernels.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.faults import BenchFault

_NODE = 10
"""Last byte of the node's address; the servers' follow."""
_NOWHERE = "nowhere"
"""A link of the switch's that ends in itself, where nobody listens."""
_LOAD_WORD, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x35, 0x06
"""BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JGE | BPF_K, BPF_RET | BPF_K."""
_RANDOM = 2**32 - 0x1000 + 56
"""SKF_AD_OFF + SKF_AD_RANDOM: where a random number is loaded from."""


@dataclass(frozen=True)
class Namespace:
    """One network namespace, by the process that holds it."""

    holder: int

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command that runs ``command`` in it, as the same process."""
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net", "--", *command]

    def ip(self, lines: Sequence[str]) -> None:
        """Run lines of ``ip`` in it. Raises :class:`BenchFault` when one is refused."""
        self._run("ip", lines)

    def tc(self, lines: Sequence[str]) -> None:
        """The same of ``tc``."""
        self._run("tc", lines)

    def _run(self, program: str, lines: Sequence[str]) -> None:
        command = self.inside([program, "-batch", "-"])
        done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchFault(f"{program}: {done.stderr.strip()}")


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

    def unplug_node(self) -> None:
        """Takes the node's link down: from now on it reaches nobody."""
        self.switch.ip(["link set port0 down"])

    def lose_packets(self, percent: float, server: int) -> None:
        """Has so many of the packets that go to the server be lost from now on, each by chance."""
        port = f"port{server + 1}"
        self.switch.tc(
            [
                f"qdisc add dev {port} clsact",
                f"filter add dev {port} egress bpf bytecode '{_picks(percent / 100)}' flowid 1:1 "
                f"action mirred egress redirect dev {_NOWHERE}",
            ]
        )

    def lose_none(self, server: int) -> None:
        """After :meth:`lose_packets`."""
        self.switch.tc([f"qdisc delete dev port{server + 1} clsact"])

    def plug_in(self) -> None:
        """All links are up, as at the beginning."""
        self.switch.ip([f"link set port{number} up" for number in range(len(self.servers) + 1)])


def _picks(part: float) -> str:
    """A program that picks such a part of all packets, as ``tc`` takes it: each instruction is its code, the two
    jumps and the operand (linux/filter.h)."""
    least = 2**32 - round(part * 2**32)
    instructions = [
        f"{_LOAD_WORD} 0 0 {_RANDOM}",
        f"{_JUMP_IF_AT_LEAST} 0 1 {least}",
        f"{_RETURN} 0 0 {2**32 - 1}",
        f"{_RETURN} 0 0 0",
    ]
    return ",".join([str(len(instructions)), *instructions])


@contextmanager
def network(servers: int) -> Iterator[Network]:
    """The whole of it, until the block ends. Raises :class:`BenchFault` where it cannot be made."""
    with ExitStack() as stack:
        switch, *machines = (stack.enter_context(_namespace()) for _ in range(servers + 2))
        switch.ip(
            [
                "link add bridge type bridge",
                "link set bridge up",
                f"link add {_NOWHERE} type veth peer name end",
                f"link set {_NOWHERE} up",
                "link set end up",
            ]
        )
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
