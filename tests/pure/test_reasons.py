"""Errors are told of by their numbers and kinds, whatever the system or a library says of them."""

from __future__ import annotations

import errno
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.reasons import failed, reason, reason_of, reason_of_path

_EAI = {name: number for name, number in vars(socket).items() if name.startswith("EAI_")}
_KINDS = [
    BlockingIOError,
    BrokenPipeError,
    ChildProcessError,
    ConnectionAbortedError,
    ConnectionRefusedError,
    ConnectionResetError,
    FileExistsError,
    FileNotFoundError,
    InterruptedError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ProcessLookupError,
    TimeoutError,
]


@given(st.sampled_from([*errno.errorcode, *_EAI.values(), 0, 9999]), st.text(min_size=1))
def test_what_the_system_says_does_not_matter(number: int, text: str) -> None:
    error = socket.gaierror(number, text) if number < 0 else OSError(number, text, "a file")
    assert reason_of(error) == reason(number) == reason_of(OSError(number, ""))
    assert failed("open()", error) == failed("open()", OSError(number, ""))


def test_every_number_has_a_reason() -> None:
    assert not [number for number in errno.errorcode if not reason(number)]
    # The library resolves EAI_SYSTEM into the number behind it.
    assert not [name for name, number in _EAI.items() if name != "EAI_SYSTEM" and reason(number).startswith("error")]
    assert reason(errno.EKEYREVOKED) == f"EKEYREVOKED ({errno.EKEYREVOKED})"
    assert reason(9999) == "error 9999"


@pytest.mark.parametrize("kind", _KINDS)
def test_what_python_raises_without_a_number(kind: type[OSError]) -> None:
    assert reason_of(kind("in Python's words")) == reason_of(kind())
    assert reason_of(kind()) in map(reason, errno.errorcode)


def test_nothing_is_known() -> None:
    assert reason_of(OSError("AF_UNIX path too long")) == "no reason is known"


def test_the_usual_ones() -> None:
    assert (
        reason_of(ConnectionRefusedError(errno.ECONNREFUSED, "Verbindungsaufbau abgelehnt")) == "connection refused"
    )
    assert failed('open() "/x"', FileNotFoundError(errno.ENOENT, "Datei nicht gefunden")) == (
        'open() "/x" failed (2: No such file or directory)'
    )
    assert failed("kill(1, 9)", OverflowError("too large to convert")) == "kill(1, 9) failed"


@pytest.mark.parametrize("path", ["a\0b", "\udfff\ud800"])
def test_what_cannot_be_a_path(path: str) -> None:
    try:
        open(path, "rb").close()  # noqa: PTH123 (as it is)
    except ValueError as error:
        assert reason_of_path(error).startswith("the path has ")  # noqa: PT017 (it matters whose words these are)
    else:
        raise AssertionError
