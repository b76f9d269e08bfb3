"""The hash key: text in which ``$remote_addr`` stands for the client's address, as in nginx; pure."""

from __future__ import annotations

import re
from collections.abc import Callable

_VARIABLE = re.compile(r"\$(?:\{[^}]*\}?|[A-Za-z0-9_]*)")


def compile_key(template: str) -> Callable[[str], str]:
    """Turn ``"text $remote_addr text"`` (also ``${remote_addr}``) into a function of the client's address.

    Raises :class:`ValueError`, saying what would be right, on any other variable or a stray dollar sign.
    """
    parts, end = [], 0
    for match in _VARIABLE.finditer(template):
        if match[0] not in ("$remote_addr", "${remote_addr}"):
            raise ValueError(f'unknown variable "{match[0]}" in a hash key; only $remote_addr can be used')
        parts.append(template[end : match.start()])
        end = match.end()
    parts.append(template[end:])
    return lambda client: client.join(parts)
