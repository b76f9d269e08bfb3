"""Asks a running kubelb through its admin.sock. Runs in the operator's command; each question is a connection."""

from __future__ import annotations

import contextlib
import http.client
import socket
from http import HTTPStatus
from pathlib import Path

import msgspec

from kubelb.config.faults import printable
from kubelb.control.commands import Command, Drain, Reply
from kubelb.control.status import Status

NAME = "admin.sock"
"""Of the socket in the runtime directory."""
_EXPLAINED = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)
"""With these the answer says in one line what is wrong with a command."""


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
    body = status_json(runtime_dir, timeout)
    try:
        return msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError as error:
        raise AdminFault(f"{runtime_dir / NAME}: the answer is not a status: {error}") from error


def status_json(runtime_dir: Path, timeout: float = 2.0) -> bytes:
    """The same as it was answered."""
    path = runtime_dir / NAME
    code, reason, body = _ask(path, "GET", "/status", timeout)
    if code != HTTPStatus.OK:
        raise AdminFault(f"{path}: /status was answered with {code} {reason}")
    return body


def command(runtime_dir: Path, command: Command, timeout: float = 5.0) -> Reply:
    """Have it done; the reply comes once it is. Raises :class:`AdminFault`, also where it is for nobody."""
    path = runtime_dir / NAME
    target = "/drain" if isinstance(command, Drain) else "/undrain"
    code, reason, body = _ask(path, "POST", target, timeout, msgspec.json.encode(command))
    if code in _EXPLAINED:
        raise AdminFault(printable(body.decode(errors="replace").strip()))
    if code != HTTPStatus.OK:
        raise AdminFault(f"{path}: {target} was answered with {code} {reason}")
    try:
        return msgspec.json.decode(body, type=Reply)
    except msgspec.DecodeError as error:
        raise AdminFault(f"{path}: the answer is no reply to a command: {error}") from error


def reload(runtime_dir: Path, timeout: float = 60.0) -> tuple[str, ...]:
    """Have the configuration read anew; the warnings. Raises :class:`AdminFault`, with a line for each fault."""
    path = runtime_dir / NAME
    code, reason, body = _ask(path, "POST", "/reload", timeout)
    lines = tuple(line for line in body.decode(errors="replace").splitlines() if line)
    if code == HTTPStatus.UNPROCESSABLE_ENTITY:
        raise AdminFault("\n".join(lines))
    if code != HTTPStatus.OK:
        raise AdminFault(f"{path}: /reload was answered with {code} {reason}")
    return lines


def _ask(path: Path, method: str, target: str, timeout: float, body: bytes | None = None) -> tuple[int, str, bytes]:
    """Status, phrase and body of the answer."""
    with contextlib.closing(_Connection(path, timeout)) as connection:
        try:
            connection.request(method, target, body)
            response = connection.getresponse()
            return response.status, response.reason, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise AdminFault(f"{path}: {_reason(error)}") from error


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
