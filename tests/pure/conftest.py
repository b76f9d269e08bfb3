"""What is pure needs no network: here nothing can open a socket."""

from __future__ import annotations

import socket
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("a pure test opens a socket")

    monkeypatch.setattr(socket, "socket", refuse)
