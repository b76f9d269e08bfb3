"""nginx.conf into the model: opens the file and all it includes, and lets crossplane, nginx's own parser of the
format, cut them into words and check each directive's context and number of arguments. Closes what it opens; used
before the processes start and, later, in the control process."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crossplane import analyzer, lex
from crossplane.errors import NgxParserBaseException, NgxParserDirectiveError

from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.files import MAX_BYTES, read_text
from kubelb.config.model import Loaded
from kubelb.config.nginx_syntax import Directive
from kubelb.config.nginx_translate import translate

_MAX_DEPTH = 32
_CUT_OFF = 'unexpected end of file, expecting ";" or "}"'
_ESCAPE = re.compile(r"\\([\"'\\trn])")
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}


def read_nginx(path: str) -> Loaded:
    """The file's configuration, its rules not yet checked; :class:`ConfigFault` with every fault of its form."""
    reader = _Reader(path)
    directives = reader.read(path, (), ())
    if reader.faults:
        raise ConfigFault(*reader.faults)
    return translate(directives, path)


class _Reader:
    def __init__(self, path: str) -> None:
        self.faults: list[Fault] = []
        self._folder = Path(path).parent
        self._left = MAX_BYTES

    def read(self, file: str, context: tuple[str, ...], including: tuple[str, ...]) -> tuple[Directive, ...]:
        """The directives of one file, read in the ``context`` that includes it."""
        text = read_text(file)
        self._left -= len(text)
        if self._left < 0:
            raise ConfigFault(Fault(file=file, what="larger than 1 MiB, with all files included"))
        return tuple(self._expand(_parse(text, file), context, (*including, file)))

    def _expand(
        self, block: tuple[Directive, ...], context: tuple[str, ...], including: tuple[str, ...]
    ) -> Iterator[Directive]:
        """Each directive that may stand here, with what is included in the place of ``include``."""
        for directive in block:
            statement: dict[str, Any] = {
                "directive": directive.name,
                "line": directive.line,
                "args": list(directive.args),
            }
            end = ";" if directive.block is None else "{"
            try:
                analyzer.analyze(directive.file, statement, end, context)
            except NgxParserDirectiveError as error:
                self.faults.append(Fault(file=directive.file, line=directive.line, what=error.strerror))
                continue
            if directive.name == "include":
                yield from self._include(directive, context, including)
            elif directive.block is None:
                yield directive
            else:
                inner = analyzer.enter_block_ctx(statement, context)
                inside = tuple(self._expand(directive.block, inner, including))
                yield Directive(directive.name, directive.args, directive.file, directive.line, inside)

    def _include(
        self, directive: Directive, context: tuple[str, ...], including: tuple[str, ...]
    ) -> Iterator[Directive]:
        pattern = str(self._folder / directive.args[0])
        files = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207 (absolute)
        for file in files:
            if any(_same_file(file, other) for other in including):
                self._refuse(directive, f'"{file}" includes itself')
                continue
            try:
                yield from self.read(file, context, including)
            except ConfigFault as error:
                if any(fault.file != file or fault.line is not None for fault in error.faults):
                    self.faults.extend(error.faults)
                else:
                    self._refuse(directive, f'"{file}" {error.faults[0].what}')

    def _refuse(self, directive: Directive, what: str) -> None:
        self.faults.append(Fault(file=directive.file, line=directive.line, path=directive.name, what=what))


def _same_file(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def _parse(text: str, file: str) -> tuple[Directive, ...]:
    """The statements of one text; :class:`ConfigFault` in nginx's own words where it is not one."""
    opened: list[tuple[Directive, list[Directive]]] = []
    block: list[Directive] = []
    words: list[str] = []
    line = 1
    for word, at, quoted in _words(text, file):
        if not words:
            line = at
        if quoted or word not in (";", "{", "}"):
            words.append(_ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), word))
            continue
        if bool(words) == (word == "}") or len(opened) > _MAX_DEPTH:
            raise _syntax(file, at, f'unexpected "{word}"')
        if word == "}":
            directive, outer = opened.pop()
            outer.append(Directive(directive.name, directive.args, file, directive.line, tuple(block)))
            block = outer
            continue
        directive = Directive(words[0], tuple(words[1:]), file, line)
        words = []
        if word == ";":
            block.append(directive)
        else:
            opened.append((directive, block))
            block = []
    last = text.count("\n") + 1
    if opened:
        raise _syntax(file, last, 'unexpected end of file, expecting "}"')
    if words:
        raise _syntax(file, last, _CUT_OFF)
    return tuple(block)


def _words(text: str, file: str) -> Iterator[tuple[str, int, bool]]:
    """crossplane's words without comments: the word, its line, whether it was quoted.

    It is handed the text that was checked, in a memory file, and not the name to open once more. A word of ours
    follows on a line of its own: where that does not come out, the text ends within a quoted string, of which
    crossplane says nothing.
    """
    fd = os.memfd_create("nginx.conf")
    os.write(fd, f"{text}\n; \n".encode())
    os.lseek(fd, 0, os.SEEK_SET)
    last = text.count("\n") + 1
    try:
        for word, line, quoted in lex(fd):
            if line > last:
                return
            if quoted or not word.startswith("#"):
                yield word, line, quoted
    except NgxParserBaseException as error:
        raise _syntax(file, last if "end of file" in error.strerror else error.lineno, error.strerror) from None
    raise _syntax(file, last, _CUT_OFF)


def _syntax(file: str, line: int, what: str) -> ConfigFault:
    return ConfigFault(Fault(file=file, line=line, what=what))
