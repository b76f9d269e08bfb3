"""What every comparison needs: nginx itself, and the servers that both proxies have."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.differential import sides
from tests.differential.configuration import Batch, places
from tests.differential.observe import Observation
from tests.differential.sides import observed
from tests.differential.stage import Stage
from tests.support import debian
from tests.support.nginx import require_nginx

Compare = Callable[[Batch], list[tuple[Observation, Observation]]]
"""Plays a batch before both: what was seen of nginx and of kubelb, by case."""


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(debian.NGINX)


@pytest.fixture(scope="session", autouse=True)
def nginx() -> str:
    return require_nginx()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


@pytest.fixture(scope="module")
def compare(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Compare:
    directory = tmp_path_factory.mktemp("batches")
    numbers = count()

    def play(batch: Batch) -> list[tuple[Observation, Observation]]:
        number = next(numbers)
        # A PROXY header that names a long path is cut off by nginx, so it is to be short.
        with tempfile.TemporaryDirectory() as sockets, places(batch, Path(sockets)) as where:
            theirs = observed(sides.nginx, directory / f"nginx{number}", batch, where, stage)
            ours = observed(sides.kubelb, directory / f"kubelb{number}", batch, where, stage)
        return list(zip(theirs, ours, strict=True))

    return play
