"""How nginx.conf has a listener's sessions proxied, ``proxy_timeout`` and its like, and ``tcp_nodelay``; pure.

``ngx_stream_proxy_commands`` (src/stream/ngx_stream_proxy_module.c) and ``ngx_stream_core_commands``
(src/stream/ngx_stream_core_module.c) are the source, nginx 1.22. A ``server {}`` has from the block around it what it
does not say itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from kubelb.config.faults import Key, Place
from kubelb.config.nginx.syntax import Directive, Handler, Notes, only_argument, parse_count, parse_time, read_flag
from kubelb.config.proxying import compile_rate, compile_source, parse_size
from kubelb.config.values import Duration
from kubelb.config.variables import Worker
from kubelb.reasons import ValueFault

_Setting = tuple[Any, Directive]
"""A value, and the directive that sets it."""

_DEFAULTS: Final[Mapping[str, Any]] = {
    "connect_timeout": Duration(60),
    "idle_timeout": Duration(600),
    "half_close": False,
}
"""nginx's, where they are not the model's."""
_NO_BUFFER: Final = "has no effect, bytes are spliced in the kernel without a buffer"
_TRANSPARENT: Final = (
    "transparent: connections to servers leave from addresses of this machine; proxy_protocol tells servers who comes"
)


class Proxying:
    """Takes the directives in, those of ``stream {}`` or of one ``server {}`` in it."""

    def __init__(self, notes: Notes, outer: Proxying | None = None) -> None:
        """``outer`` has read all of the block around this one."""
        self._notes = notes
        self._fields: dict[str, _Setting] = {} if outer is None else dict(outer._fields)
        self._goes_on: tuple[bool, Directive | None] = (True, None) if outer is None else outer._goes_on
        buffers = ("proxy_buffer_size", "proxy_downstream_buffer", "proxy_upstream_buffer")
        self.handlers: Mapping[str, Handler] = {
            "proxy_connect_timeout": self._setting("connect_timeout", parse_time),
            "proxy_timeout": self._setting("idle_timeout", parse_time),
            "proxy_upload_rate": self._setting("upload_rate", self._rate),
            "proxy_download_rate": self._setting("download_rate", self._rate),
            "proxy_half_close": self._flag("half_close"),
            "proxy_next_upstream": self._next_upstream,
            "proxy_next_upstream_tries": self._setting("max_tries", parse_count),
            "proxy_next_upstream_timeout": self._setting("retry_timeout", lambda text: parse_time(text) or None),
            "proxy_bind": self._bind,
            "tcp_nodelay": self._flag("nodelay"),
            **dict.fromkeys(buffers, self._buffer_size),
        }

    def settings(self) -> dict[str, Any]:
        """Of the listener, with nginx's defaults."""
        return {**_DEFAULTS, **{field: value for field, (value, _) in self._in_effect().items()}}

    def place(self, places: dict[Key, Place], key: Key) -> None:
        """Where the settings of the listener ``key`` stand."""
        places.update({(*key, field): directive.place() for field, (_, directive) in self._in_effect().items()})

    def _in_effect(self) -> dict[str, _Setting]:
        """One try is what it comes to where nginx is not to go on to the next server."""
        goes_on, directive = self._goes_on
        return self._fields if goes_on or directive is None else {**self._fields, "max_tries": (1, directive)}

    def _setting(self, field: str, parse: Callable[[str], Any]) -> Handler:
        def handle(directive: Directive) -> None:
            self._fields[field] = (parse(only_argument(directive)), directive)

        return handle

    def _flag(self, field: str) -> Handler:
        def handle(directive: Directive) -> None:
            self._fields[field] = (read_flag(directive), directive)

        return handle

    def _rate(self, text: str) -> str:
        compile_rate(text, self._notes.worker)
        return text

    def _next_upstream(self, directive: Directive) -> None:
        self._goes_on = (read_flag(directive), directive)

    def _bind(self, directive: Directive) -> None:
        self._fields["bind"] = (_source(directive, self._notes.worker), directive)

    def _buffer_size(self, directive: Directive) -> None:
        parse_size(only_argument(directive))
        self._notes.warn(directive, _NO_BUFFER)


def _source(directive: Directive, worker: Worker) -> str:
    """``off`` is what it is without the directive."""
    text, *how = directive.args
    if not how and text == "off":
        return ""
    if not text:
        raise ValueFault('invalid address ""')
    compile_source(text, worker)
    if how == ["transparent"]:
        raise ValueFault(_TRANSPARENT)
    if how:
        raise ValueFault(f'invalid parameter "{how[0]}"')
    return text
