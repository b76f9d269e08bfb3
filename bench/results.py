"""What a run of the bench yields, as it is written to JSON and read by the report; pure."""

from __future__ import annotations

import msgspec


class Metric(msgspec.Struct, frozen=True):
    """One figure of a case."""

    name: str
    """With its unit, as shown: ``req/s``."""


class Sample(msgspec.Struct, frozen=True):
    """What one peer did in one round."""

    values: dict[str, float]
    """By metric name."""
    errors: int = 0
    """Requests or connections that failed; figures with errors reach no goal."""


class CaseResult(msgspec.Struct, frozen=True):
    """All rounds of one case. Round ``n`` of all peers ran in the same minute, so ratios are taken round by round."""

    name: str
    title: str
    metrics: tuple[Metric, ...]
    samples: dict[str, list[Sample]]
    """By peer, one a round."""
    failures: dict[str, str] = {}
    """By peer: why it has no figures."""


class Machine(msgspec.Struct, frozen=True):
    """Where the figures come from."""

    cpus: int
    """That the bench may use."""
    cpu_model: str
    kernel: str
    python: str
    nginx: str
    wrk: str
    kubelb: str

    def __str__(self) -> str:
        return (
            f"{self.cpus} CPUs ({self.cpu_model}), Linux {self.kernel}, Python {self.python}, "
            f"nginx {self.nginx}, wrk {self.wrk}, kubelb {self.kubelb}"
        )


class Run(msgspec.Struct, frozen=True):
    """A whole run."""

    machine: Machine
    command: str
    rounds: int
    seconds: int
    """Of load, for each peer in each round."""
    baseline: str
    subjects: tuple[str, ...]
    """The peers compared with the baseline; the first has columns of its own in the table."""
    cases: list[CaseResult]
