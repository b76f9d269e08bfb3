"""Which of nginx's directives may stand where, and with how many arguments: crossplane has a table of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crossplane import analyzer

Context = tuple[str, ...]
"""The blocks around a directive, from the outermost."""
_ALSO: Mapping[str, int] = {
    "set": analyzer.NGX_STREAM_SRV_CONF | analyzer.NGX_CONF_TAKE2,
    "resolver": analyzer.NGX_STREAM_UPS_CONF | analyzer.NGX_CONF_1MORE,
    "resolver_timeout": analyzer.NGX_STREAM_UPS_CONF | analyzer.NGX_CONF_TAKE1,
}
"""Where nginx (the last two: 1.27.3) has directives that crossplane does not know there, and their arguments."""
_MOST_COUNTED = 7
"""Arguments whose number has a bit of its own: NGX_CONF_NOARGS to NGX_CONF_TAKE7."""


def within(name: str, context: Context) -> Context:
    """The context of what stands in such a block."""
    inner: Context = analyzer.enter_block_ctx({"directive": name}, context)
    return inner


def misplaced(name: str, args: Sequence[str], end: str, context: Context) -> str | None:
    """Why a directive cannot stand there, with these arguments and this end, in nginx's words (``ngx_conf_handler``,
    src/core/ngx_conf_file.c); None: it can, or neither it nor its context is known."""
    if context not in analyzer.CONTEXTS or name not in analyzer.DIRECTIVES:
        return None
    where = analyzer.CONTEXTS[context]
    masks = [mask for mask in (*analyzer.DIRECTIVES[name], _ALSO.get(name, 0)) if mask & where]
    if not masks:
        return f'"{name}" directive is not allowed here'
    faults = [_fault(name, args, end, mask) for mask in masks]
    return None if None in faults else faults[0]


def _fault(name: str, args: Sequence[str], end: str, mask: int) -> str | None:
    """By one line of the table."""
    if mask & analyzer.NGX_CONF_BLOCK and end != "{":
        return f'directive "{name}" has no opening "{{"'
    if not mask & analyzer.NGX_CONF_BLOCK and end != ";":
        return f'directive "{name}" is not terminated by ";"'
    if mask & analyzer.NGX_CONF_FLAG and len(args) == 1:
        is_flag = args[0].lower() in ("on", "off")
        return None if is_flag else f'invalid value "{args[0]}" in "{name}" directive, it must be "on" or "off"'
    return None if _takes(mask, len(args)) else f'invalid number of arguments in "{name}" directive'


def _takes(mask: int, count: int) -> bool:
    return bool(
        (count <= _MOST_COUNTED and mask >> count & 1)
        or mask & analyzer.NGX_CONF_ANY
        or (mask & analyzer.NGX_CONF_1MORE and count >= 1)
        or (mask & analyzer.NGX_CONF_2MORE and count >= 2)
    )
