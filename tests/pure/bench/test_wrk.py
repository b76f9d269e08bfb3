from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.faults import BenchFault
from bench.wrk import Load, Outcome, parse

PRINTED = """\
Running 1s test @ http://127.0.0.1:19001/
  1 threads and 1 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   189.91us    0.87ms  12.19ms   95.13%
    Req/Sec    42.78k     8.78k   55.19k    63.64%
  46730 requests in 1.10s, 7.13MB read
Requests/sec:  42441.42
Transfer/sec:      6.48MB
{"requests":46730,"duration":1101047,"bytes":7476800,"p50":21.155,"p99":3970.800,"errors":2}
"""


def test_what_wrk_prints_is_read() -> None:
    found = parse(PRINTED)
    assert found == Outcome(46730, 1101047, 7476800, 21.155, 3970.8, 2)
    assert round(found.rate, 2) == 42441.42


def test_no_time_is_no_rate() -> None:
    assert Outcome(0, 0, 0, 0.0, 0.0, 0).rate == 0


COUNTS = st.integers(min_value=0, max_value=2**53)
MICROSECONDS = st.floats(min_value=0, max_value=1e9)
OUTCOMES = st.builds(
    Outcome, requests=COUNTS, duration=COUNTS, bytes=COUNTS, p50=MICROSECONDS, p99=MICROSECONDS, errors=COUNTS
)


@given(OUTCOMES, st.text(), st.text())
def test_it_is_read_whatever_stands_around(outcome: Outcome, before: str, after: str) -> None:
    around = ["\n".join(line for line in text.splitlines() if not line.startswith("{")) for text in (before, after)]
    assert parse("\n".join([around[0], msgspec.json.encode(outcome).decode(), around[1]])) == outcome


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unable to connect to 127.0.0.1:1 Connection refused",
        PRINTED.splitlines()[-1][:40],
        PRINTED + PRINTED,
        '{"requests":1}',
        PRINTED.replace("3970.800", "nan"),
        PRINTED.replace('"errors":2', '"errors":2,"more":1'),
    ],
)
def test_half_a_result_is_none(text: str) -> None:
    with pytest.raises(BenchFault, match="wrk gave no"):
        parse(text)


@given(st.text())
def test_nothing_else_is_raised(text: str) -> None:
    for given_text in (text, "{" + text):
        with contextlib.suppress(BenchFault):
            parse(given_text)


def test_the_load_becomes_wrks_options() -> None:
    command = Load("http://127.0.0.1:1/small", 64, 3, close=True).command()
    assert command[-1] == "http://127.0.0.1:1/small"
    pairs = dict(zip(command[1:-1:2], command[2:-1:2], strict=True))
    assert (pairs["--connections"], pairs["--duration"], pairs["--header"]) == ("64", "3s", "Connection: close")
    assert "--header" not in Load("http://127.0.0.1:1/small", 64, 3).command()
