"""What all tests have in common."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase

from tests.support import debian
from tests.support.requirements import require_root

_EXAMPLES = Path(__file__).parent.parent / ".hypothesis" / "examples"
_TURNS = {"real": 0, "netns": 1, "differential": 2, "oracle": 3}
"""Of the folders here whose tests take long."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They begin first, so that no process is left alone with such tests at the end."""
    items.sort(key=lambda item: _TURNS.get(item.nodeid.split("/")[1], len(_TURNS)))


def _remembered() -> ExampleDatabase | None:
    """Where hypothesis keeps the examples that failed: nowhere in a checkout that somebody else owns."""
    existing = next(path for path in (_EXAMPLES, *_EXAMPLES.parents) if path.exists())
    return DirectoryBasedExampleDatabase(_EXAMPLES) if os.access(existing, os.W_OK) else None


# How long an example takes says more about the machine than about the code.
settings.register_profile("kubelb", deadline=None, database=_remembered())
settings.load_profile("kubelb")


@pytest.fixture
def root() -> None:
    """Only root may become somebody else, or make namespaces of its own."""
    require_root()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with debian.needing(debian.packages(item)):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    debian.require(debian.packages(item))
