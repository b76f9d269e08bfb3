"""What is known of a server, in words for an operator; pure."""

from __future__ import annotations

from collections.abc import Iterator

from kubelb.snapshot import Condition

_DOORS = {"open": "accepts", "refused": "refuses", "unanswered": "does not answer to connect"}
_TOLD = ("late", "silent", "broken", "closed", "gone", "forbidden")
"""The findings that are said; the others show in what stands before."""


def described(known: Condition, now: float) -> str:
    """Such as ``acknowledges, accepts, answers in 0.8 s: late``; empty where nothing is known yet.

    ``now`` is in seconds of the monotonic clock.
    """
    text = ", ".join(_seen(known, now))
    if known.finding in _TOLD:
        return f"{text}: {known.finding}" if text else known.finding
    return text


def _seen(known: Condition, now: float) -> Iterator[str]:
    if known.unacked_since is not None:
        yield f"acknowledges nothing for {now - known.unacked_since:.1f} s"
    elif known.alive_at >= known.since:
        yield "acknowledges"
    if known.door:
        yield _DOORS[known.door]
    if known.finding == "silent" and known.harm_from is not None:
        yield f"has not answered for {now - max(known.harm_from, known.heard_at):.1f} s"
    elif known.answered_in is not None and known.finding not in ("gone", "closed", "broken"):
        yield f"answers in {_seconds(known.answered_in)}"
    if known.finding == "not told":
        yield "readiness not visible"
    if known.finding == "not ready":
        yield "not ready"


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 0.1 else f"{seconds:.1f} s"
