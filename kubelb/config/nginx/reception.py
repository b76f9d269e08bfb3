"""How a server of nginx's ``stream {}`` receives its clients, before it takes them anywhere; pure.

PROXY protocol headers, whom they are believed from, who may come in, and ``return``. What is accepted, and what an
inner block inherits, is as in the modules core, realip, access, proxy and return (``ngx_stream_*_module.c``) of
nginx's src/stream.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from kubelb.config.access import parse_access, parse_trusted
from kubelb.config.faults import Key, Place
from kubelb.config.nginx.syntax import Directive, Handler, Notes, parse_time
from kubelb.config.values import Duration
from kubelb.config.variables import Worker, compile_answer
from kubelb.reasons import ValueFault

_TIMEOUT: Final = Duration(30)
_SIZE = re.compile(r"[0-9]{1,15}[kKmM]?")


class Reception:
    """The directives of one block. Those of an inner block stand in the place of the outer one's of their kind."""

    def __init__(self, notes: Notes, outer: Reception | None = None) -> None:
        self._notes = notes
        self._settings: dict[str, Any] = dict(outer._settings) if outer else {}
        self._directives: dict[Key, Directive] = dict(outer._directives) if outer else {}
        self._own: set[str] = set()
        self.handlers: dict[str, Handler] = {
            "proxy_protocol": self._send,
            "proxy_protocol_timeout": self._timeout,
            "set_real_ip_from": self._trust,
            "allow": self._rule,
            "deny": self._rule,
            "preread_buffer_size": _check_size,
            "preread_timeout": _check_time,
        }

    def settings(self, accept_proxy_protocol: bool) -> dict[str, Any]:
        """Those of a :class:`~kubelb.config.model.listeners.Listener`, where addresses take headers or where not."""
        if accept_proxy_protocol:
            return {"proxy_protocol_timeout": _TIMEOUT, **self._settings, "accept_proxy_protocol": True}
        return {name: value for name, value in self._settings.items() if name != "proxy_protocol_timeout"}

    def place(self, places: dict[Key, Place], listener: Key) -> None:
        """Note where the settings of that listener stand."""
        places.update({(*listener, *key): directive.place() for key, directive in self._directives.items()})

    def _set(self, name: str, value: object, directive: Directive) -> None:
        self._settings[name] = value
        self._directives[name,] = directive

    def _add(self, name: str, text: str, directive: Directive) -> None:
        """To a list, which is the outer block's as long as this one has no entry of its own."""
        if name not in self._own:
            self._own.add(name)
            self._settings[name] = ()
            self._directives = {key: place for key, place in self._directives.items() if key[0] != name}
        self._directives[name, len(self._settings[name])] = directive
        self._settings[name] += (text,)

    def _send(self, directive: Directive) -> None:
        self._set("send_proxy_protocol", directive.args[0].lower() == "on", directive)

    def _timeout(self, directive: Directive) -> None:
        self._set("proxy_protocol_timeout", parse_time(directive.args[0]), directive)

    def _rule(self, directive: Directive) -> None:
        text = f"{directive.name} {directive.args[0]}"
        parse_access(text, partial(self._notes.warn, directive))
        self._add("access", text, directive)

    def _trust(self, directive: Directive) -> None:
        """Whether a name can be resolved turns out later."""
        text = directive.args[0]
        parse_trusted(text, partial(self._notes.warn, directive))
        self._add("trusted_proxies", text, directive)


def take_proxy_protocol(listen: Directive) -> tuple[bool, Directive]:
    """Whether a ``listen`` has that parameter, and the directive without it."""
    rest = tuple(arg for i, arg in enumerate(listen.args) if not i or arg != "proxy_protocol")
    return len(rest) < len(listen.args), msgspec.structs.replace(listen, args=rest)


class Content:
    """Where a server's clients go: as in nginx, where the last of its directives says."""

    def __init__(self, pool_of: Callable[[Directive], str], worker: Worker) -> None:
        """``pool_of`` gives the name of the pool that a ``proxy_pass`` means; ``worker`` knows the variables."""
        self.settings: dict[str, Any] = {}
        """Those of :class:`kubelb.config.model.listeners.Listener`; none as long as nothing is said."""
        self._pool_of = pool_of
        self._worker = worker
        self._returned = False
        self.handlers: dict[str, Handler] = {"proxy_pass": self._pass, "return": self._return}

    def _pass(self, directive: Directive) -> None:
        self.settings = {"pool": self._pool_of(directive)}

    def _return(self, directive: Directive) -> None:
        if self._returned:
            raise ValueFault("directive is duplicate; write it once")
        self._returned = True
        compile_answer(directive.args[0], self._worker)
        self.settings = {"answer": directive.args[0]}


def _check_size(directive: Directive) -> None:
    """Of no effect in nginx either: nothing is there that would look at what a client says first."""
    if not _SIZE.fullmatch(directive.args[0]):
        raise ValueFault("invalid value; write for example 16k")


def _check_time(directive: Directive) -> None:
    parse_time(directive.args[0])
