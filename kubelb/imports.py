"""Keeps away what other packages import: a kubelb is on every node, and what it never does needs no memory there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands for a module until somebody uses it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


@contextmanager
def missing(name: str) -> Iterator[None]:
    """Within, it is as if there were no such module. Before other threads."""
    with _in_place_of(name, None):
        yield


@contextmanager
def later(name: str) -> Iterator[None]:
    """Who imports the module within has it loaded once it is used. Before other threads."""
    with _in_place_of(name, _Later(name)):
        yield


@contextmanager
def _in_place_of(name: str, module: ModuleType | None) -> Iterator[None]:
    loaded = sys.modules.get(name)
    if loaded is None:
        sys.modules[name] = module  # type: ignore[assignment]
    try:
        yield
    finally:
        if loaded is None:
            del sys.modules[name]
