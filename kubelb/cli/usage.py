"""Wrong command lines, told in kubelb's own words: a line each, with what would be right.

click finds them; its texts differ from version to version and speak the locale's language, so none is shown but in
``--help``. Exit status 2 is click's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import click

from kubelb.config.faults import printable

T = TypeVar("T")

_WRONG = 2
"""The exit status."""


class UsageFault(click.UsageError):
    """The text is ours: what is wrong and, behind a semicolon, what would be right."""


class BadValue(click.BadParameter):
    """The same of the value of one option, which click adds."""


class Command(click.Command):
    """A subcommand."""

    allow_extra_args = True
    """Seen to here."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = _with_context(super().parse_args, ctx, args)
        if rest and not ctx.resilient_parsing:
            raise UsageFault(f'"{rest[0]}" is too much', ctx)
        return rest


class Group(click.Group):
    """The command that has subcommands."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(_WRONG)
        return _with_context(super().parse_args, ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise UsageFault(f'no command "{args[0]}"{_similar(args[0], self.list_commands(ctx))}', ctx)
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """The whole program: ends with its exit status."""
        try:
            status = super().main(*args, **{**options, "standalone_mode": False})
        except click.ClickException as error:
            print(printable(_line(error)), file=sys.stderr)
            sys.exit(error.exit_code)
        except click.Abort:
            # By Ctrl-C; the terminal has shown that.
            sys.exit(1)
        sys.exit(status if isinstance(status, int) else 0)


class OneOf(click.Choice):  # type: ignore[type-arg, unused-ignore]
    """Generic from click 8.2 on."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value not in self.choices:
            raise BadValue(f'not "{value}"; one of {", ".join(map(str, self.choices))}')
        return value


class Seconds(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        least, most = self.min or 0.0, float("inf") if self.max is None else self.max
        # What is no number is not between any two.
        if not least <= number <= most:
            right = f"from {least:g} up" if self.max is None else f"from {least:g} to {most:g}"
            raise BadValue(f'not "{value}"; write a number {right}')
        return number


def _with_context(parse: Callable[[click.Context, list[str]], T], ctx: click.Context, args: list[str]) -> T:
    """click does not always say of which command a fault is."""
    try:
        return parse(ctx, args)
    except click.UsageError as error:
        error.ctx = error.ctx or ctx
        raise


def _line(error: click.ClickException) -> str:
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    path = ctx.command_path if ctx else "kubelb"
    what = _what(error, ctx.command.params if ctx else [])
    return f"{path}: {what}" if "; " in what else f"{path}: {what}; see {path} --help"


def _what(error: click.ClickException, parameters: Sequence[click.Parameter]) -> str:
    """``parameters`` are those of the command that was meant."""
    match error:
        case UsageFault(message=text):
            return text
        case BadValue(param=click.Parameter(opts=[name, *_]), message=text):
            return f"{name}: {text}"
        case click.NoSuchOption():
            known = [name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)]
            return f"no option {error.option_name}{_similar(error.option_name, known)}"
        case click.MissingParameter():
            return f"{error.param.human_readable_name if error.param else 'an argument'} is missing"
        case click.BadOptionUsage():
            return _misused(error.option_name, parameters)
    return "no such command line is known"


def _misused(name: str, parameters: Sequence[click.Parameter]) -> str:
    option = next((one for one in parameters if name in (*one.opts, *one.secondary_opts)), None)
    if isinstance(option, click.Option) and not option.is_flag:
        return f"{name} is without a value; write {name} {option.metavar or 'VALUE'}"
    return f"{name} takes no value; leave it out"


def _similar(name: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches  # Few make mistakes.

    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else ""
