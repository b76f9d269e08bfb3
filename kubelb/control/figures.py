"""Numbers in the words of the status page; pure."""

from __future__ import annotations

from typing import Final

_LENGTHS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_BYTES: Final = ("B", "kB", "MB", "GB", "TB", "PB")


def count(number: int) -> str:
    """``12,345``."""
    return f"{number:,}"


def plural(number: int, thing: str) -> str:
    """``1 server``, ``2 servers``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def rate(number: float) -> str:
    """Of things in a second, in three digits or so."""
    return f"{number:.1f}".removesuffix(".0") if number < 100 else f"{number:,.0f}"


def size(number: float) -> str:
    """Of bytes, in three digits and a unit: ``4.2 kB``."""
    unit = 0
    # What would be rounded to 1000 is one of the next unit.
    while number >= 999.5 and unit < len(_BYTES) - 1:
        number /= 1000
        unit += 1
    return f"{number:.{1 if unit and number < 99.95 else 0}f} {_BYTES[unit]}"


def length(seconds: float) -> str:
    """In its two largest units, whole: ``2 h 5 min``."""
    rest = max(0, int(seconds))
    for place, (unit, worth) in enumerate(_LENGTHS[:-1]):
        if rest >= worth:
            smaller, its_worth = _LENGTHS[place + 1]
            more = rest % worth // its_worth
            return f"{rest // worth} {unit}" + (f" {more} {smaller}" if more else "")
    return f"{rest} s"


def ago(seconds: float) -> str:
    """Of something a moment back: ``0.4 s``."""
    return f"{max(0.0, seconds):.1f} s" if seconds < 9.95 else length(seconds)


def short(seconds: float) -> str:
    """Of something quick: ``0.6 ms``."""
    milliseconds = seconds * 1000
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:,.0f} ms"
