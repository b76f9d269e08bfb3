"""The load: wrk, run as a subprocess of the bench, and what it says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec

from bench.faults import BenchFault
from kubelb.config.misfits import misfit_of

_SCRIPT = Path(__file__).with_name("wrk.lua")


class Load(msgspec.Struct, frozen=True):
    """What wrk is told to do for ``seconds`` (whole ones; wrk knows no others)."""

    url: str
    connections: int
    seconds: int
    close: bool = False
    """A new connection for each request."""

    def command(self) -> list[str]:
        """With one thread, which is never what limits a balancer and leaves it the CPUs."""
        close = ["--header", "Connection: close"] if self.close else []
        options = ["--threads", "1", "--connections", str(self.connections), "--timeout", "10s"]
        return ["wrk", *options, "--duration", f"{self.seconds}s", *close, "--script", str(_SCRIPT), self.url]


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``wrk.lua`` prints."""

    requests: int
    """Answered."""
    duration: int
    """Microseconds."""
    bytes: int
    """Received, headers counted."""
    p50: float
    """Microseconds, as :attr:`p99`."""
    p99: float
    errors: int
    """Failed connects, reads and writes, replies other than 2xx and 3xx, replies later than 10 s."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests * 1e6 / self.duration if self.duration else 0.0


def parse(text: str) -> Outcome:
    """The one line of JSON in what wrk prints. Raises :class:`BenchFault` if it is not there or makes no sense."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if len(lines) != 1:
        raise BenchFault(f"wrk gave no result: {text.strip()[-300:] or 'it printed nothing'}")
    try:
        return msgspec.json.decode(lines[0], type=Outcome)
    except msgspec.DecodeError as error:
        fault = misfit_of(lines[0].encode(), msgspec.json.decode, Outcome, "JSON")
        raise BenchFault(f"wrk gave no usable result: {fault}: {lines[0][:300]}") from error


def run(load: Load) -> Outcome:
    """Put the load on and wait for its end. Raises :class:`BenchFault` if wrk fails or hangs."""
    try:
        done = subprocess.run(load.command(), capture_output=True, text=True, timeout=load.seconds + 30, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchFault(f"wrk did not end within {error.timeout:.0f} s") from error
    if done.returncode:
        raise BenchFault(f"wrk failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return parse(done.stdout)
