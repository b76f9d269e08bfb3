"""Numbers and names in the few columns a table has for them; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_SIZES = "kMGTPE"
_TIMES = (("d", 86400), ("h", 3600), ("m", 60))


def length(seconds: float) -> str:
    """In its largest whole unit: ``3m``."""
    for unit, worth in _TIMES:
        if seconds >= worth:
            return f"{seconds // worth:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def size(count: float) -> str:
    """Bytes in at most four columns: ``512``, ``1.5k``, ``23M``."""
    if count < 999.5:
        return f"{count:.0f}"
    unit = -1
    while count >= 999.5 and unit < len(_SIZES) - 1:
        count /= 1000
        unit += 1
    return f"{count:.1f}{_SIZES[unit]}" if count < 9.95 else f"{count:.0f}{_SIZES[unit]}"


def rate(count: float | None) -> str:
    """Of something counted, a second, in as many columns; None: not known yet."""
    if count is None:
        return "-"
    return f"{count:.1f}" if 0.05 <= count < 9.95 else size(count)


def called(name: str, address: str) -> str:
    """A server, by its configured name and its address."""
    return name if name == address else f"{name} at {address}"


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    """A table's lines, each column as wide as it needs; the first ``left`` are flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        cells = (
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
