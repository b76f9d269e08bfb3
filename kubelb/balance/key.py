"""The hash key: text in which ``$remote_addr`` stands for the client's address, as in nginx; pure."""

from __future__ import annotations

import re
from collections.abc import Callable

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")


def compile_key(template: str) -> Callable[[str], str]:
    """Turn ``"text $remote_addr text"`` (also ``${remote_addr}``) into a function of the client's address.

    Raises :class:`ValueError`, saying what would be right, on any other variable or a stray dollar sign.
    """
    parts, end = [], 0
    for match in _VARIABLE.finditer(template):
        name = match[1] or match[2]
        if name != "remote_addr":
            raise ValueError(
                f'unknown variable "${name}" in the hash key "{template}"; only $remote_addr can be used'
            )
        parts.append(template[end : match.start()])
        end = match.end()
    parts.append(template[end:])
    if any("$" in part for part in parts):
        raise ValueError(f'a "$" without a variable in the hash key "{template}"; write $remote_addr')
    return lambda client: client.join(parts)
