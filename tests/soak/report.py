"""What is said of a soak at its end."""

from __future__ import annotations

from tests.soak.campaign import Outcome
from tests.soak.holdings import trend
from tests.soak.journal import Journal, counts
from tests.support.load.records import Wait

_SLOW = 5
"""Waits that are shown."""
_SHOWN = 40
"""Findings, at most: what breaks one client breaks a thousand."""


def report(outcome: Outcome) -> str:
    """Lines for the operator; findings last."""
    result, journal = outcome.result, outcome.journal
    held = trend(outcome.samples)
    failures = counts(f"{failure.client}, {failure.how}" for failure in result.failures)
    return "\n".join(
        [
            f"\nserved: {result.connections} new connections, {result.requests} requests,"
            f" {result.transfers} transfers ({result.bytes_up >> 20} MiB up, {result.bytes_down >> 20} MiB down),"
            f" and {result.idle} idle sessions at the end",
            f"done: {counts(deed.name for deed in journal.deeds)}",
            f"failures of clients: {failures or 'none'}",
            *(f"slowest: {_wait(wait, journal)}" for wait in result.slowest[:_SLOW]),
            f"held at rest, first third: {held.first}",
            f"held at rest, last third:  {held.last}; at most {held.limits()}",
            *(f"FOUND: {finding}" for finding in journal.findings[:_SHOWN]),
            *([f"FOUND: {hidden} more"] if (hidden := len(journal.findings) - _SHOWN) > 0 else []),
            "not passed"
            if journal.findings
            else "passed: each failure is explained by a kill or a shortage, and nothing grows",
        ]
    )


def _wait(wait: Wait, journal: Journal) -> str:
    meanwhile = journal.during(wait.since, wait.since + wait.seconds)
    return f"{wait.client}, {wait.seconds:.3f} s, {wait.since - journal.begun:.1f} s from the beginning: {meanwhile}"
