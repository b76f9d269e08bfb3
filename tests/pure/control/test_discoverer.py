from __future__ import annotations

import pytest

from kubelb.config.model.pools import Discovery
from kubelb.config.values import Duration
from kubelb.control.discoverer import pause


@pytest.mark.parametrize(
    ("interval", "ttl", "seconds"),
    [(None, 60, 60), (None, 0, 1), (None, 1 << 30, 86400), (None, None, 30), (0.5, 60, 0.5), (7, None, 7)],
)
def test_when_a_name_is_looked_up_again(interval: float | None, ttl: int | None, seconds: float) -> None:
    discovery = Discovery(source="dns", interval=None if interval is None else Duration(interval))
    assert pause(discovery, ttl) == seconds
