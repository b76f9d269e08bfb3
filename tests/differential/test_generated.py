"""Whatever clients and servers do, before kubelb it comes out as before nginx."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.differential.conftest import Compare
from tests.differential.generate import batches
from tests.differential.observe import expected
from tests.differential.sides import Batch


@pytest.mark.timeout(600)  # A failing batch is played until it is small.
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(batch=batches(12))
def test_any_batch(batch: Batch, compare: Compare) -> None:
    for case, (theirs, ours) in zip(batch.cases, compare(batch), strict=True):
        assert ours == expected(theirs), case
