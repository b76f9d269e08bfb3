"""Whatever clients and servers do, before kubelb it comes out as before nginx."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings

from tests.differential.configuration import Batch
from tests.differential.conftest import Compare
from tests.differential.generate import batches
from tests.differential.observe import expected

_EXAMPLES = int(os.environ.get("DIFFERENTIAL_EXAMPLES", "40"))
"""Batches; many are a campaign."""
_TIMEOUT = 600 + 2 * _EXAMPLES  # A failing batch is played until it is small.
_CALM = [HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.timeout(_TIMEOUT)
@settings(max_examples=_EXAMPLES, suppress_health_check=_CALM)
@given(batch=batches(12))
def test_any_batch(batch: Batch, compare: Compare) -> None:
    _check(batch, compare)


@pytest.mark.timeout(_TIMEOUT)
@settings(max_examples=_EXAMPLES // 4, suppress_health_check=_CALM)
@given(batch=batches(12, workers=2))
def test_any_batch_before_two_workers(batch: Batch, compare: Compare) -> None:
    _check(batch, compare)


def _check(batch: Batch, compare: Compare) -> None:
    for case, (theirs, ours) in zip(batch.cases, compare(batch), strict=True):
        assert ours == expected(theirs), case
