"""Asks a running kubelb through its admin.sock. Runs in the operator's command; each question is a connection."""

from __future__ import annotations

import contextlib
import http.client
import socket
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import msgspec

from kubelb.config.faults import printable
from kubelb.config.misfits import UNDECODABLE, misfit_of
from kubelb.control.commands import Command, Drain, Reply, Stop
from kubelb.control.sessions import EVERYBODYS, Inquiry, Sessions, query
from kubelb.control.status import Status
from kubelb.reasons import reason_of
from kubelb.unix_path import within_reach

T = TypeVar("T")

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
        with within_reach(self._path) as name:
            self.sock.connect(name)


def status(runtime_dir: Path, timeout: float = 2.0) -> Status:
    """The proxy as it is now. ``timeout`` is in seconds. Raises :class:`AdminFault`."""
    body = status_json(runtime_dir, timeout)
    return _decoded(runtime_dir / NAME, body, Status, "not a status")


def status_json(runtime_dir: Path, timeout: float = 2.0) -> bytes:
    """The same as it was answered."""
    path = runtime_dir / NAME
    code, reason, body = _ask(path, "GET", "/status", timeout)
    if code != HTTPStatus.OK:
        raise AdminFault(f"{path}: /status was answered with {code} {reason}")
    return body


def sessions(runtime_dir: Path, inquiry: Inquiry = EVERYBODYS, timeout: float = 10.0) -> Sessions:
    """The sessions there are now. Raises :class:`AdminFault`, also where the server is nobody's."""
    return sessions_with_json(runtime_dir, inquiry, timeout)[0]


def sessions_with_json(
    runtime_dir: Path, inquiry: Inquiry = EVERYBODYS, timeout: float = 10.0
) -> tuple[Sessions, bytes]:
    """The same, and as it was answered."""
    path = runtime_dir / NAME
    code, reason, body = _ask(path, "GET", f"/sessions?{query(inquiry)}", timeout)
    if code in _EXPLAINED:
        raise AdminFault(printable(body.decode(errors="replace").strip()))
    if code != HTTPStatus.OK:
        raise AdminFault(f"{path}: /sessions was answered with {code} {reason}")
    return _decoded(path, body, Sessions, "no list of sessions"), body


def command(runtime_dir: Path, command: Command, timeout: float = 15.0) -> Reply:
    """Have it done; the reply comes once it is. Raises :class:`AdminFault`, also where it is for nobody."""
    path = runtime_dir / NAME
    target = "/drain" if isinstance(command, Drain) else "/undrain"
    code, reason, body = _ask(path, "POST", target, timeout, msgspec.json.encode(command))
    if code in _EXPLAINED:
        raise AdminFault(printable(body.decode(errors="replace").strip()))
    if code != HTTPStatus.OK:
        raise AdminFault(f"{path}: {target} was answered with {code} {reason}")
    return _decoded(path, body, Reply, "no reply to a command")


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


def upgrade(runtime_dir: Path, timeout: float = 310.0) -> int:
    """Have the installed kubelb take its place; the new supervisor's pid, once it has all sessions.

    Raises :class:`AdminFault`, with a line for each reason why it has not.
    """
    path = runtime_dir / NAME
    code, reason, body = _ask(path, "POST", "/upgrade", timeout)
    text = body.decode(errors="replace").strip()
    if code == HTTPStatus.UNPROCESSABLE_ENTITY:
        raise AdminFault(text)
    if code != HTTPStatus.OK or not text.isdecimal():
        raise AdminFault(f"{path}: /upgrade was answered with {code} {reason}")
    return int(text)


def stop(runtime_dir: Path, gracefully: bool, timeout: float = 5.0) -> None:
    """Have it end; it does so after the answer, or even before. Raises :class:`AdminFault`."""
    path = runtime_dir / NAME
    try:
        code, reason, _ = _ask(path, "POST", "/stop", timeout, msgspec.json.encode(Stop(gracefully)))
    except AdminFault as fault:
        if isinstance(fault.__cause__, ConnectionResetError | http.client.IncompleteRead):
            return
        raise
    if code != HTTPStatus.ACCEPTED:
        raise AdminFault(f"{path}: /stop was answered with {code} {reason}")


def _decoded(path: Path, body: bytes, kind: type[T], what: str) -> T:
    """``what`` an answer is not that cannot be decoded: that of another kubelb, or of somebody else."""
    try:
        return msgspec.json.decode(body, type=kind)
    except UNDECODABLE:
        fault = misfit_of(body, msgspec.json.decode, kind, "JSON")
        raise AdminFault(printable(f"{path}: the answer is {what}: {fault}")) from None


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
        case OSError():
            return reason_of(error)
        case http.client.IncompleteRead():
            return "the answer is cut off"
        case _:
            return "the answer is not HTTP"
