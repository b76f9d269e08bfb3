"""nginx's command line; pure.

``ngx_get_options`` and ``ngx_process_options`` (src/core/nginx.c, nginx 1.22), to the letter: letters may stand
together, a value follows its letter or is the next word, of an option given twice the last one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from kubelb.config.nginx.syntax import PREFIX

FILE: Final = "/etc/nginx/nginx.conf"
"""Of nginx's own packages and images, as the prefix."""
SIGNALS: Final = ("stop", "quit", "reopen", "reload")
_NEEDS: Final = {
    "p": "directory name",
    "e": "file name",
    "c": "file name",
    "g": "parameter",
    "s": "parameter",
}
"""The letters that take a value, and what nginx calls it."""
_SWITCHES: Final = {
    "?": ("version", "help"),
    "h": ("version", "help"),
    "v": ("version",),
    "V": ("version", "configure"),
    "t": ("test",),
    "T": ("test", "dump"),
    "q": ("quiet",),
}


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    version: bool = False
    """Show it; and with ``help`` or ``configure`` more. Without ``test`` that is all."""
    help: bool = False
    configure: bool = False
    test: bool = False
    dump: bool = False
    """With ``test``: show the configuration's files."""
    quiet: bool = False
    """With ``test``: say only what is wrong."""
    signal: str | None = None
    """One of :data:`SIGNALS`, for the running one."""
    file: str = FILE
    prefix: str = PREFIX
    """Ends with a slash, unless it is empty."""
    globals: str = ""
    """Directives that go before the file's."""
    error_log: str | None = None
    """Where to, for a configuration that does not say; "": standard error."""


class UsageFault(Exception):
    """The command line cannot be followed. The text is nginx's."""


def parse(arguments: Sequence[str]) -> Command:
    """Raises :class:`UsageFault`."""
    switches: set[str] = set()
    values: dict[str, str] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            raise UsageFault(f'invalid option: "{word}"')
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _NEEDS:
                values[letter] = _value(letter, letters, words)
                break
            if letter not in _SWITCHES:
                raise UsageFault(f'invalid option: "{letter}"')
            switches.update(_SWITCHES[letter])
    return _command(switches, values)


def _value(letter: str, rest: str, words: list[str]) -> str:
    if not rest and not words:
        raise UsageFault(f'option "-{letter}" requires {_NEEDS[letter]}')
    value = rest or words.pop(0)
    if letter == "s" and value not in SIGNALS:
        raise UsageFault(f'invalid option: "-s {value}"')
    return value


def _command(switches: set[str], values: dict[str, str]) -> Command:
    prefix = values.get("p", PREFIX)
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    file = values.get("c", FILE)
    log = values.get("e")
    return Command(
        **dict.fromkeys(switches, True),
        signal=values.get("s"),
        file=file if file.startswith("/") else prefix + file,
        prefix=prefix,
        globals=values.get("g", ""),
        error_log="" if log == "stderr" else log,
    )
