"""A C library that speaks another language: kubelb as a program in whose process libc has a catalogue of messages in
which each text is another (gettext(3))."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

from tests.support.log import DEADLINE
from tests.support.requirements import missing

GIBBERISH = "Kauderwelsch"
_NOT_SPOKEN = 77
_PROGRAM = """\
import ctypes, locale, os, sys
os.environ |= {{"LC_ALL": "C.UTF-8", "LANGUAGE": "xx"}}
locale.setlocale(locale.LC_ALL, "")
ctypes.CDLL(None).bindtextdomain(b"libc", {directory!r})
if not os.strerror(2).startswith({gibberish!r}):
    sys.exit({not_spoken})
from {module} import main
main()
"""


def speaking(directory: Path, module: str = "kubelb.cli.app") -> str:
    """The text of a program that runs ``module`` so. Its catalogue is in ``directory``, which nobody else uses."""
    place = directory / "xx" / "LC_MESSAGES"
    place.mkdir(parents=True, exist_ok=True)
    (place / "libc.mo").write_bytes(_catalogue({text: f"{GIBBERISH} {text[::-1]}" for text in _texts()}))
    text = _PROGRAM.format(
        directory=os.fsencode(directory), gibberish=GIBBERISH, not_spoken=_NOT_SPOKEN, module=module
    )
    if said(text, "-h").returncode == _NOT_SPOKEN:
        missing("a C library with gettext")
    return text


def said(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What one of :func:`speaking` says to that."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def _texts() -> set[str]:
    """What libc says of errors, in English."""
    libc = ctypes.CDLL(None)
    libc.gai_strerror.restype = ctypes.c_char_p
    lookups = [number for name, number in vars(socket).items() if name.startswith("EAI_")]
    return {*map(os.strerror, errno.errorcode), *(libc.gai_strerror(number).decode() for number in lookups)}


def _catalogue(texts: dict[str, str]) -> bytes:
    """An MO file (gettext's manual, "The Format of GNU MO Files"): tables of lengths and places, sorted."""
    pairs = sorted((one.encode(), other.encode()) for one, other in {"": "", **texts}.items())
    pairs[0] = (b"", b"Content-Type: text/plain; charset=UTF-8\n")
    head = 28
    data, tables = b"", [b"", b""]
    for column, table in enumerate(tables):
        for pair in pairs:
            place = head + 16 * len(pairs) + len(data)
            table += struct.pack("=II", len(pair[column]), place)
            data += pair[column] + b"\0"
        tables[column] = table
    numbers = struct.pack("=7I", 0x950412DE, 0, len(pairs), head, head + 8 * len(pairs), 0, 0)
    return numbers + b"".join(tables) + data
