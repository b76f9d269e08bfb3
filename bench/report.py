"""The table, in Markdown that reads as well on a terminal; pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from bench.figures import Spread, number, ratios, spread
from bench.goals import Goal, goal_for
from bench.results import CaseResult, Metric, Run, Sample

_NONE = "–"

_NOTES = (
    "Load, balancers and origin share the CPUs. CPU and memory are of the balancer's whole process tree. Memory is "
    "the tree's PSS as it would be if nothing else ran (files mapped by the bench or the origin too count in full), "
    "without what the kernel holds for sockets.",
    "nginx runs RKE's file, but for worker_connections 4096 in place of 1024, too few for 1,000 sessions.",
)


class Cell:
    """One subject's figure beside the baseline's."""

    def __init__(self, case: CaseResult, metric: Metric, subject: str, baseline: str) -> None:
        mine, theirs = _values(case, subject, metric), _values(case, baseline, metric)
        by_round = ratios(mine, theirs)
        self.value: Spread | None = spread(mine) if mine else None
        self.ratio: Spread | None = spread(by_round) if by_round else None
        self.goal: Goal | None = goal_for(case.name, metric.name, subject)
        self._sound = not any(sample.errors for sample in case.samples.get(subject, []))

    def verdict(self) -> str:
        """Whether the goal is reached; a figure missing or with errors in it reaches none."""
        if self.goal is None:
            return ""
        ratio = self.ratio.median if self.ratio else None
        reached = self.value is not None and self._sound and self.goal.reached(ratio, self.value.median)
        return "yes" if reached else "**no**"

    def ratio_text(self) -> str:
        if self.ratio is None:
            return _NONE
        return f"{self.ratio.median:.2f} [{self.ratio.low:.2f}..{self.ratio.high:.2f}]"

    def short(self) -> str:
        """The ratio, and the goal with its verdict where there is one."""
        return f"{self.ratio_text()}, {self.goal}: {self.verdict()}" if self.goal else self.ratio_text()


def markdown(run: Run) -> str:
    """The whole report: table, what went wrong, how it was made."""
    first, *others = run.subjects
    header = ["case", run.baseline, _subject(first), f"ratio to {run.baseline}", "goal", "reached"]
    header += [_subject(name) for name in others]
    rows = [_row(run, case, metric) for case in run.cases for metric in case.metrics]
    made = (
        f"Median of {run.rounds} interleaved rounds of {run.seconds} s; the ratio is taken round by round, "
        f"[lowest..highest]. Made by `{run.command}` on {run.machine}."
    )
    return "\n\n".join([table(header, rows), *_troubles(run), made, *_NOTES]) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned by padding."""
    lines = [list(header), *map(list, rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(header))]
    padded = [
        "| "
        + " | ".join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    return "\n".join([padded[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *padded[1:]])


def _row(run: Run, case: CaseResult, metric: Metric) -> list[str]:
    main, *others = (Cell(case, metric, subject, run.baseline) for subject in run.subjects)
    theirs = _values(case, run.baseline, metric)
    return [
        f"{case.title}: {metric.name}",
        number(spread(theirs).median) if theirs else _NONE,
        number(main.value.median) if main.value else _NONE,
        main.ratio_text(),
        str(main.goal) if main.goal else "",
        main.verdict(),
        *(other.short() for other in others),
    ]


def _troubles(run: Run) -> list[str]:
    """What a reader must know before believing a figure."""
    lines = []
    for case in run.cases:
        for peer, why in case.failures.items():
            lines.append(f"**{case.name}, {peer}: not measured:** {why}")
        for peer, samples in case.samples.items():
            if errors := sum(sample.errors for sample in samples):
                lines.append(f"**{case.name}, {peer}: {errors} errors** in {len(samples)} rounds.")
    return lines


def _values(case: CaseResult, peer: str, metric: Metric) -> list[float]:
    samples: list[Sample] = case.samples.get(peer, [])
    return [sample.values[metric.name] for sample in samples]


def _subject(name: str) -> str:
    return "kubelb" if name == "default" else name


def _width(text: str) -> int:
    """Terminal columns; good enough for what the table contains."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
