"""The bench itself: nginx as subject and baseline, one second of real load."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from bench.cases.memory import Memory
from bench.cases.requests import CONNECTION_CPU, CONNECTION_RATE, Requests
from bench.cases.start import Start
from bench.harness import Harness, origin
from bench.machine import describe
from bench.peers.catalogue import VARIANTS
from bench.peers.nginx import Nginx
from bench.peers.peer import Peer
from bench.report import markdown
from bench.results import Run
from kubelb.config.toml.reader import read_toml
from tests.support import debian
from tests.support.nginx import require_nginx


@dataclass(frozen=True)
class Broken:
    """A balancer that says why it will not start."""

    name: str = "broken"

    def command(self, port: int, origin_port: int, directory: Path) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('no such option')"]


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    """One round of one second; afterwards no process and no file may be left."""
    require_nginx()
    debian.provided("wrk")
    tmp_path.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(psutil.Process().children(recursive=True))
    with origin() as port:
        yield Harness(port, rounds=1, seconds=1, note=lambda line: None)
    assert not set(psutil.Process().children(recursive=True)) - before
    assert not list(tmp_path.iterdir())


@debian.NGINX
@pytest.mark.debian("wrk")
def test_a_case_measures_each_peer_and_a_broken_one_does_not_end_it(harness: Harness) -> None:
    case = Requests("connections", "conn", 4, close=True, neighbour=True, metrics=(CONNECTION_RATE, CONNECTION_CPU))
    result = harness.measure(case, [Nginx(), Nginx("subject"), Broken()])

    assert result.failures.keys() == {"broken"}
    assert "broken did not start: no such option" in result.failures["broken"]
    assert result.samples.keys() == {"nginx", "subject"}
    for (sample,) in result.samples.values():
        assert sample.errors == 0
        assert sample.values.keys() == {"conn/s", "CPU µs/conn"}
        assert all(value > 0 for value in sample.values.values())
    text = markdown(Run(describe(), "here", 1, 1, "nginx", ("subject", "broken"), [result]))
    assert "unknown" not in text
    assert "broken: not measured:** broken did not start: no such option" in text


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_kubelb_takes_the_configuration_of_every_variant(variant: Peer, tmp_path: Path) -> None:
    command = variant.command(6443, 6444, tmp_path)
    config = read_toml(command[command.index("--config") + 1]).config
    assert [str(address) for address in config.listeners[0].listen] == ["127.0.0.1:6443"]
    assert [str(server.address) for server in config.pools["kube-apiserver"].servers] == ["127.0.0.1:6444"]
    changed = {"default": (False, "auto"), "pin": (True, "auto"), "per-connection": (False, "per-connection")}
    assert (config.pin, config.threads) == changed[variant.name]


@debian.NGINX
@pytest.mark.debian("wrk")
def test_sessions_take_memory_and_a_start_takes_time(harness: Harness) -> None:
    memory = harness.measure(Memory(sessions=200), [Nginx()])
    start = harness.measure(Start(), [Nginx()])

    assert not memory.failures | start.failures
    assert not any(sample.errors for result in (memory, start) for sample in result.samples["nginx"])
    assert memory.samples["nginx"][0].values["KB/idle session"] > 0
    assert start.samples["nginx"][0].values["s"] > 0
