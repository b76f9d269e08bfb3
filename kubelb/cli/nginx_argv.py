"""``kubelb-nginx``: nginx's command line for what kubelb does in the foreground.

The options that say which file (``-c``), check it (``-t``, ``-q``) or ask for the version (``-v``, ``-V``) mean what
they mean to nginx, and ``-g 'daemon off;'`` is how it runs anyway. Every other option is refused by name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import msgspec

_DEFAULT_FILE = "/etc/nginx/nginx.conf"
_HELP = "usage: kubelb-nginx [-h] [-v] [-t] [-q] [-c FILE] [-g 'daemon off;']"


class Command(msgspec.Struct, frozen=True):
    """What was asked for: ``what`` is run, check, version or help."""

    what: str
    file: str = _DEFAULT_FILE
    quiet: bool = False
    """Of a check: say only what is wrong."""


class UsageFault(Exception):
    """The command line cannot be followed. The text is one line for the operator."""


def parse(arguments: Sequence[str]) -> Command:
    """nginx's way of reading options (``ngx_get_options``, src/core/nginx.c): letters may stand together.

    Raises :class:`UsageFault`.
    """
    what, file, quiet = "run", _DEFAULT_FILE, False
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            raise UsageFault(f'invalid option: "{word}"')
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in "cg":
                value = letters or (rest.pop(0) if rest else "")
                letters = ""
                file = _file(value) if letter == "c" else file
                if letter == "g":
                    _only_daemon_off(value)
            else:
                what, quiet = _action(letter, what), quiet or letter == "q"
    return Command(what, file, quiet)


def _file(value: str) -> str:
    if not value:
        raise UsageFault('option "-c" requires file name')
    return value


def _only_daemon_off(value: str) -> None:
    if value.replace(" ", "").rstrip(";") != "daemonoff":
        raise UsageFault(f'option "-g" supports "daemon off;" only, not "{value}"')


def _action(letter: str, before: str) -> str:
    actions = {"t": "check", "v": "version", "V": "version", "h": "help", "?": "help", "q": before}
    if letter not in actions:
        raise UsageFault(f'option "-{letter}" is not supported')
    return before if before in ("help", "version") else actions[letter]


def main() -> None:
    """The console script."""
    try:
        command = parse(sys.argv[1:])
    except UsageFault as fault:
        print(f"kubelb-nginx: {fault}\n{_HELP}", file=sys.stderr)
        sys.exit(2)
    sys.exit(_do(command))


def _do(command: Command) -> int:
    if command.what == "help":
        print(_HELP)
        return 0
    if command.what == "version":
        import kubelb

        print(f"kubelb version: kubelb/{kubelb.__version__}", file=sys.stderr)
        return 0
    from kubelb.config.sources import Sources

    sources = Sources(nginx_conf=command.file, environment=os.environ)
    if command.what == "check":
        from kubelb.cli.check import check

        return check(sources, quiet=command.quiet)
    from kubelb.cli.run import run

    return run(sources)
