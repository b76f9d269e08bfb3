"""The cases there are, in the table's order: add a file for a new kind, and a line here."""

from __future__ import annotations

from bench.cases.bulk import Bulk
from bench.cases.case import Case
from bench.cases.memory import Memory
from bench.cases.requests import CONNECTION_CPU, CONNECTION_RATE, CPU, RATE, Requests
from bench.cases.start import Start

CASES: tuple[Case, ...] = (
    Requests("keepalive-1", "1 connection, small replies", 1),
    Requests("keepalive-1-neighbour", "1 connection, a busy neighbour on one CPU", 1, neighbour=True),
    Requests("keepalive-16", "16 connections, small replies", 16),
    Requests("keepalive-128", "128 connections, small replies", 128),
    Requests("reply-16k", "16 connections, 16 KiB replies", 16, path="/16k", metrics=(RATE, CPU)),
    Requests("reply-64k", "16 connections, 64 KiB replies", 16, path="/64k", metrics=(RATE, CPU)),
    Bulk(),
    Requests(
        "connections",
        "a new connection a request, 64 at a time",
        64,
        close=True,
        metrics=(CONNECTION_RATE, CONNECTION_CPU),
    ),
    Memory(),
    Start(),
)
