"""nginx.conf into the model: opens the file and all it includes, cuts them as nginx does, and checks each directive's
context and number of arguments. Closes what it opens; used before the processes start and, later, in the control
process."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.files import MAX_BYTES, read_bytes
from kubelb.config.model.config import Loaded
from kubelb.config.nginx.syntax import COMMAND_LINE, Directive, NginxOptions
from kubelb.config.nginx.table import is_known, misplaced, within
from kubelb.config.nginx.translate import translate
from kubelb.config.nginx.words import Statement, TextFault, statements

_MAX_DEPTH = 32
"""Of blocks in blocks, and of files that include each other."""
_MAX_STATEMENTS = 50_000
"""No proxy has so many; with fewer than that a faulty file of the largest size takes no more than 100 MB."""
_MAX_FAULTS = 100
_MAGIC = re.compile(r"[*?[]")


def read_nginx(path: str, options: NginxOptions = NginxOptions()) -> Loaded:  # noqa: B008 (frozen)
    """The file's configuration, its rules not yet checked; :class:`ConfigFault` with every fault of its form."""
    directives, _ = _read(path, options)
    return translate(directives, path, options)


def files_of(path: str, options: NginxOptions) -> Mapping[str, bytes]:
    """The file and all that it includes, in the order they are read; :class:`ConfigFault` as :func:`read_nginx`."""
    return _read(path, options)[1]


def _read(path: str, options: NginxOptions) -> tuple[tuple[Directive, ...], Mapping[str, bytes]]:
    reader = _Reader(path)
    directives = (*reader.parameter(options.globals), *reader.file(path, (), ()))
    reader.finish()
    return directives, reader.files


class _Reader:
    """Notes what is wrong and goes on, unless the text itself is broken."""

    def __init__(self, path: str) -> None:
        self.files: dict[str, bytes] = {}
        self._faults: list[Fault] = []
        self._folder = Path(path).parent
        self._bytes_left = MAX_BYTES
        self._statements_left = _MAX_STATEMENTS

    def finish(self) -> None:
        """Raises :class:`ConfigFault` if anything was wrong."""
        if self._faults:
            raise ConfigFault(*self._faults)

    def parameter(self, text: str) -> tuple[Directive, ...]:
        """The directives of ``-g``."""
        data = text.encode("utf-8", "surrogateescape")
        return self._directives(statements(data, parameter=True), COMMAND_LINE, (), (COMMAND_LINE,))

    def file(self, file: str, context: tuple[str, ...], including: tuple[str, ...]) -> tuple[Directive, ...]:
        """The directives of one file, read in the ``context`` that includes it."""
        data = read_bytes(file)
        self.files.setdefault(file, data)
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise ConfigFault(Fault(file=file, what="larger than 1 MiB, with all files included"))
        return self._directives(statements(data), file, context, (*including, file))

    def _directives(
        self, text: Iterator[Statement], file: str, context: tuple[str, ...], including: tuple[str, ...]
    ) -> tuple[Directive, ...]:
        """Of a whole text. What was wrong before its text broke comes first, as nginx would have stopped there."""
        try:
            return tuple(self._block(text, file, context, including, depth=0))
        except TextFault as fault:
            raise ConfigFault(
                *self._faults, Fault(file=file, line=_line(file, fault.line), what=fault.what)
            ) from None

    def _block(
        self, text: Iterator[Statement], file: str, context: tuple[str, ...], including: tuple[str, ...], depth: int
    ) -> Iterator[Directive]:
        """Each directive that may stand here, with what is included in the place of ``include``."""
        for statement in text:
            if not statement.words:
                _check_end(statement, depth)
                return
            self._count(file, statement.line)
            name, *args = statement.words
            directive = Directive(name, tuple(args), file, _line(file, statement.line), known=is_known(name))
            may_stand = self._analyzed(directive, statement.end, context)
            if statement.end == "{":
                if depth == _MAX_DEPTH or file == COMMAND_LINE:
                    raise TextFault(_no_block(file), statement.line)
                inner = within(name, context)
                inside = tuple(self._block(text, file, inner, including, depth + 1))
                directive = msgspec.structs.replace(directive, block=inside)
            if may_stand and name == "include":
                yield from self._include(directive, context, including)
            elif may_stand:
                yield directive

    def _count(self, file: str, line: int) -> None:
        self._statements_left -= 1
        if self._statements_left < 0 or len(self._faults) >= _MAX_FAULTS:
            what = "too many directives" if self._statements_left < 0 else "too many faults"
            raise ConfigFault(
                *self._faults, Fault(file=file, line=_line(file, line), what=f"{what}; the rest is left")
            )

    def _analyzed(self, directive: Directive, end: str, context: tuple[str, ...]) -> bool:
        """Whether it may stand in this context with so many arguments; if not, that is noted."""
        if directive.name == "include" and (wrong := _wrong_include(directive, end)):
            self._faults.append(Fault(file=directive.file, line=directive.line, what=wrong))
            return False
        if wrong := misplaced(directive.name, directive.args, end, context):
            self._faults.append(Fault(file=directive.file, line=directive.line, what=wrong))
            return False
        return True

    def _include(
        self, directive: Directive, context: tuple[str, ...], including: tuple[str, ...]
    ) -> Iterator[Directive]:
        for file in _named(str(self._folder / directive.args[0])):
            if any(_same_file(file, other) for other in including):
                self._refuse(directive, f'"{file}" includes itself')
                continue
            if len(including) > _MAX_DEPTH:
                self._refuse(directive, f"more than {_MAX_DEPTH} files include each other")
                continue
            try:
                yield from self.file(file, context, including)
            except ConfigFault as error:
                if any(fault.file != file or fault.line is not None for fault in error.faults):
                    raise
                self._refuse(directive, f'"{file}" {error.faults[0].what}')

    def _refuse(self, directive: Directive, what: str) -> None:
        self._faults.append(Fault(file=directive.file, line=directive.line, path=directive.name, what=what))


def _wrong_include(directive: Directive, end: str) -> str | None:
    """It may stand in any block, those too that crossplane does not know."""
    if end == "{":
        return 'directive "include" is not terminated by ";"'
    return 'invalid number of arguments in "include" directive' if len(directive.args) != 1 else None


def _line(file: str, line: int) -> int | None:
    """The command line has no lines."""
    return None if file == COMMAND_LINE else line


def _check_end(statement: Statement, depth: int) -> None:
    """Raises :class:`TextFault` for an end that does not belong there."""
    if depth and not statement.end:
        raise TextFault('unexpected end of file, expecting "}"', statement.line)
    if not depth and statement.end:
        raise TextFault('unexpected "}"', statement.line)


def _no_block(file: str) -> str:
    if file == COMMAND_LINE:
        return "block directives are not supported in -g option"
    return 'unexpected "{"'


def _named(pattern: str) -> Iterable[str]:
    """The files of an ``include``; a pattern need not match any (``ngx_conf_include``)."""
    if not _MAGIC.search(pattern):
        return [pattern]
    try:
        return sorted(glob.glob(pattern), key=os.fsencode)  # noqa: PTH207 (absolute)
    except (OSError, ValueError):
        return []


def _same_file(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return False
