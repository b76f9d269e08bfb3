"""The one error of the bench."""

from __future__ import annotations


class BenchFault(Exception):
    """A peer or a tool did not do its part; the text says which and how. The figures of that case are missing."""
