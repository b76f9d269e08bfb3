"""Asks a running kubelb through its admin.sock. Runs in the operator's command; each question is a connection."""

from __future__ import annotations

import contextlib
import http.client
import socket
from pathlib import Path

import msgspec

from kubelb.control.status import Status

NAME = "admin.sock"
"""Of the socket in the runtime directory."""


class AdminFault(Exception):
    """No answer, or none that can be used. The text is one line for the operator."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def status(runtime_dir: Path, timeout: float = 2.0) -> Status:
    """The proxy as it is now. ``timeout`` is in seconds. Raises :class:`AdminFault`."""
    path = runtime_dir / NAME
    try:
        return msgspec.json.decode(_get(path, "/status", timeout), type=Status)
    except msgspec.DecodeError as error:
        raise AdminFault(f"{path}: the answer is not a status: {error}") from error


def _get(path: Path, target: str, timeout: float) -> bytes:
    with contextlib.closing(_Connection(path, timeout)) as connection:
        try:
            connection.request("GET", target)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise AdminFault(f"{path}: {_reason(error)}") from error
    if response.status != http.HTTPStatus.OK:
        raise AdminFault(f"{path}: {target} was answered with {response.status} {response.reason}")
    return body


def _reason(error: OSError | http.client.HTTPException) -> str:
    match error:
        case FileNotFoundError():
            return "no such socket; is kubelb running, with this runtime directory?"
        case ConnectionRefusedError():
            return "nobody listens; kubelb is not running any more"
        case PermissionError():
            return "permission denied; ask as the user kubelb runs as"
        case TimeoutError():
            return "no answer in time"
        case _:
            return str(error) or type(error).__name__
