"""The stand-in apiservers and the client process: started, told and ended by the bench's main thread, which owns
their pipes.
"""

from __future__ import annotations

import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from bench.failover.manner import WELL, Manner
from bench.failover.network import Namespace, Network
from bench.failover.records import Harm, Load, Record
from bench.failover.terms import NAMES, PORT
from bench.faults import BenchFault
from kubelb.config.misfits import misfit_of
from kubelb.standin.certificates import Certificates

READY_SECONDS = 20.0


class Machines:
    """The servers, and what may befall them. Servers are told by number, from 0."""

    def __init__(self, network: Network, certificates: Certificates, directory: Path) -> None:
        """Their output goes to ``directory``."""
        self._network = network
        self._certificates = certificates
        self._log = directory / "servers.log"
        self._running: dict[int, subprocess.Popen[str]] = {}
        self._losing: list[int] = []

    @property
    def addresses(self) -> list[str]:
        return [f"{self._network.address(number)}:{PORT}" for number in range(len(NAMES))]

    def start(self, *numbers: int, manner: Manner = WELL) -> float:
        """When all of them listen; raises :class:`BenchFault` if one does not."""
        for number in numbers:
            self._running[number] = self._spawn(number)
        return self.tell(manner, *numbers).done

    def tell(self, manner: Manner, *numbers: int) -> Harm:
        """Done once all of them behave so."""
        begun = time.monotonic()
        for number in numbers:
            self._order(number, manner)
        return Harm(begun, max(self._in_force(number) for number in numbers))

    def kill(self, *numbers: int) -> Harm:
        """With SIGKILL; done once they are gone, their sockets with them."""
        begun = time.monotonic()
        killed = [self._running.pop(number) for number in numbers]
        for process in killed:
            process.kill()
        for process in killed:
            _end(process)
        return Harm(begun, time.monotonic())

    def power_off(self, *numbers: int) -> Harm:
        begun = time.monotonic()
        self._network.power_off(numbers)
        return Harm(begun, time.monotonic())

    def unplug_node(self) -> Harm:
        begun = time.monotonic()
        self._network.unplug_node()
        return Harm(begun, time.monotonic())

    def plug_in(self) -> None:
        """All links are up again."""
        self._network.plug_in()

    def lose_packets(self, percent: float, number: int) -> Harm:
        """So many of those that go to it."""
        begun = time.monotonic()
        self._network.lose_packets(percent, number)
        self._losing.append(number)
        return Harm(begun, time.monotonic())

    def stop(self) -> None:
        """All of it as at the beginning."""
        self.kill(*self._running)
        self._network.plug_in()
        while self._losing:
            self._network.lose_none(self._losing.pop())

    def _spawn(self, number: int) -> subprocess.Popen[str]:
        host, pem = self._network.address(number), str(self._certificates.server)
        command = [sys.executable, "-m", "bench.failover.apiserver", NAMES[number], host, str(PORT), pem]
        with self._log.open("a") as log:
            return _spawn(self._network.servers[number], command, log)

    def _order(self, number: int, manner: Manner) -> None:
        orders = self._running[number].stdin
        assert orders
        with suppress(BrokenPipeError):  # what it says, or does not, tells more
            orders.write(msgspec.json.encode(manner).decode() + "\n")
            orders.flush()

    def _in_force(self, number: int) -> float:
        output = self._running[number].stdout
        assert output
        line = output.readline()
        if not line:
            raise BenchFault(f"server {NAMES[number]} has ended: {self._log.read_text()[-1000:]}")
        return float(line.split()[0])


class Clients:
    """The client process, loading the balancer."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def stop(self) -> Record:
        """Ends it. Raises :class:`BenchFault` if it did not do its part."""
        output, _ = self._process.communicate()
        try:
            return msgspec.json.decode(output, type=Record)
        except msgspec.DecodeError as error:
            fault = misfit_of(output.encode(), msgspec.json.decode, Record, "JSON")
            raise BenchFault(f"the clients ended early: {fault}: {self._log.read_text()[-1000:]}") from error


@contextmanager
def machines(network: Network, certificates: Certificates, directory: Path) -> Iterator[Machines]:
    """The servers, serving, until the block ends."""
    made = Machines(network, certificates, directory)
    with ExitStack() as stack:
        stack.callback(made.stop)
        made.start(*range(len(NAMES)))
        yield made


@contextmanager
def clients(node: Namespace, load: Load, authority: Path, directory: Path) -> Iterator[Clients]:
    """The clients, all of them served once; :class:`BenchFault` if that takes more than :data:`READY_SECONDS`."""
    log = directory / "clients.log"
    with log.open("a") as output:
        process = _spawn(node, [sys.executable, "-m", "bench.failover.clients", str(authority)], output)
    try:
        assert process.stdin
        process.stdin.write(msgspec.json.encode(load).decode() + "\n")
        process.stdin.flush()
        if not _line_within(process, READY_SECONDS):
            raise BenchFault(f"clients were not served within {READY_SECONDS:g} s")
        yield Clients(process, log)
    finally:
        process.kill()
        _end(process)


def _spawn(namespace: Namespace, command: list[str], log: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        namespace.inside(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )


def _line_within(process: subprocess.Popen[str], seconds: float) -> bool:
    assert process.stdout
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return bool(selector.select(seconds)) and bool(process.stdout.readline())


def _end(process: subprocess.Popen[str]) -> None:
    """Its exit status and its pipes are taken."""
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe and not pipe.closed:
            pipe.close()
