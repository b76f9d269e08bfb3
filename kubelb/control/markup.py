"""HTML that cannot be broken by what it shows; pure.

Text becomes markup only by being escaped: a plain ``str`` among the content of an element is text, whatever is in it,
and only :class:`Html` is taken as it is.
"""

from __future__ import annotations

from typing import Final

from kubelb.config.faults import printable

_SPECIAL: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})


class Html(str):
    """Markup."""

    __slots__ = ()


def escape(text: str) -> Html:
    """``text`` as content or as the value of an attribute, without what cannot be shown."""
    return Html(printable(text).translate(_SPECIAL))


def join(*parts: str) -> Html:
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def tag(name: str, *content: str, **attributes: str | float | None) -> Html:
    """An element with its end. Attributes that are None are left out; ``class_`` is class, ``data_x`` is data-x."""
    told = (
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{''.join(told)}>{join(*content)}</{name}>")
