from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def nothing_is_left(no_leaks: None) -> None:
    """No descriptor, thread or child survives a test of the relay."""
