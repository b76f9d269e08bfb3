"""nginx's words and values: the directive, its notes, times, listen addresses; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import msgspec

from kubelb.config.faults import Fault, Key, Place, fault_of
from kubelb.config.nginx.directives import HARMLESS, REPEATABLE, RIGHT, refusal
from kubelb.config.values import Address, Duration, is_unix, parse_address
from kubelb.config.variables import Worker
from kubelb.reasons import ValueFault

_TIME = re.compile(
    r"(?:(?P<y>\d{1,18})y\s*)?(?:(?P<M>\d{1,18})M\s*)?(?:(?P<w>\d{1,18})w\s*)?(?:(?P<d>\d{1,18})d\s*)?(?:(?P<h>\d{1,18})h\s*)?"
    r"(?:(?P<m>\d{1,18})m\s*)?(?:(?P<s>\d{1,18})s\s*)?(?:(?P<ms>\d{1,18})ms\s*)?(?P<bare>\d{0,18})",
    re.ASCII,
)
COMMAND_LINE = "command line"
"""The file of what ``-g`` says."""
PREFIX = "/etc/nginx/"
"""Of nginx's own packages and images: what relative paths begin at."""

_SECONDS = {"y": 365 * 86400, "M": 30 * 86400, "w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "bare": 1}


class NginxOptions(msgspec.Struct, frozen=True):
    """What nginx's command line says beside the file."""

    prefix: str = PREFIX
    """``-p``, ending with a slash: what relative paths in the file begin at, but for those of ``include``."""
    globals: str = ""
    """``-g``: directives that come before the file's."""
    pid: str | None = None
    """The pid file where no directive names one; None: there is none then."""
    error_log: str | None = None
    """``-e``: where logs go where no directive says; None or "": to standard error."""


class Directive(msgspec.Struct, frozen=True):
    """One statement of nginx.conf; ``block`` holds those between its braces, None where it ends in a semicolon."""

    name: str
    args: tuple[str, ...]
    file: str
    line: int | None = None
    """Where it ends, as nginx has it; None on the command line."""
    block: tuple[Directive, ...] | None = None
    known: bool = False
    """Whether nginx has a directive of that name."""

    def place(self) -> Place:
        return Place(self.file, self.line, self.name)


Handler = Callable[[Directive], None]
"""Takes one directive in; :class:`ValueFault` refuses it, in the words of its text."""


class Notes:
    """What is said of a file while it is translated."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.warnings: list[str] = []
        self.places: dict[Key, Place] = {}
        self.worker = Worker("", 0)
        """Knows the names of the variables there are."""
        self._warned: set[str] = set()

    def refuse(self, at: Directive, what: str, instead: str | None = None) -> None:
        self.faults.append(Fault(file=at.file, line=at.line, path=at.name, what=what, instead=instead))

    def warn(self, at: Directive, why: str) -> None:
        """Once for each directive, however often it stands there."""
        if at.name not in self._warned:
            self._warned.add(at.name)
            self.warnings.append(str(Fault(file=at.file, line=at.line, path=at.name, what=why)))


def walk(block: Iterable[Directive], context: str, handlers: Mapping[str, Handler], notes: Notes) -> None:
    """Give each directive to its handler; without one it is harmless here, or refused."""
    seen: set[str] = set()
    for directive in block:
        name = directive.name
        if name in seen and name not in REPEATABLE:
            notes.refuse(directive, "directive is duplicate", "write it once")
        elif name in handlers:
            handle(directive, handlers[name], notes)
        elif RIGHT.get(name) != " ".join(directive.args).lower():
            _without_handler(directive, context, notes)
        seen.add(name)


def handle(directive: Directive, handler: Handler, notes: Notes) -> None:
    """Give it to its handler; what that refuses is noted."""
    try:
        handler(directive)
    except ValueFault as error:
        fault = fault_of(error)
        notes.refuse(directive, fault.what, fault.instead)


def _without_handler(directive: Directive, context: str, notes: Notes) -> None:
    if why := HARMLESS[context].get(directive.name):
        notes.warn(directive, why)
    else:
        notes.refuse(directive, *refusal(directive.name, context, directive.known))


def only_argument(directive: Directive) -> str:
    """Of one that takes one."""
    if directive.block is not None:
        raise ValueFault('not terminated by ";"')
    if len(directive.args) != 1:
        raise ValueFault(f'invalid number of arguments in "{directive.name}" directive')
    return directive.args[0]


def read_flag(directive: Directive) -> bool:
    """``on`` or ``off``."""
    text = only_argument(directive)
    if text.lower() not in ("on", "off"):
        raise ValueFault(f'invalid value "{text}" in "{directive.name}" directive, it must be "on" or "off"')
    return text.lower() == "on"


def parse_time(text: str, whole_seconds: bool = False) -> Duration:
    """nginx's ``ngx_parse_time`` (src/core/ngx_parse.c): units in falling order, a bare number is seconds;
    years and months only where it counts whole seconds, milliseconds only where it does not."""
    match = _TIME.fullmatch(text)
    parts = {unit: int(count) for unit, count in match.groupdict().items() if count} if match else {}
    wrong = {"ms"} if whole_seconds else {"y", "M"}
    if not parts or wrong & parts.keys() or sum(parts.values()) > 1 << 40:
        raise ValueFault(f'not a time: "{text}"; write for example 30s or 10m')
    milliseconds = parts.pop("ms", 0)
    return Duration(sum(count * _SECONDS[unit] for unit, count in parts.items()) + milliseconds / 1000)


def parse_count(text: str) -> int:
    """nginx's ``ngx_atoi``: digits only."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueFault(f'not a number: "{text}"')
    return int(text)


def parse_listen(text: str, default_port: int | None = None) -> Address:
    """The address of a ``listen``: a port alone means all IPv4 addresses, as does ``*``."""
    if is_unix(text):
        return parse_address(text)
    if re.fullmatch(r"[0-9]+", text):
        text = f"0.0.0.0:{text}"
    if re.fullmatch(r".*:[0-9]+-[0-9]+|[0-9]+-[0-9]+", text):
        raise ValueFault("port ranges are not supported; write one listen a port")
    if text == "*" or text.startswith("*:"):
        text = "0.0.0.0" + text[1:]
    return parse_address(text, default_port)
