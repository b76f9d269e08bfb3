"""Which of the HTTP servers that share an address answers whom; pure.

``ngx_http_validate_host`` and ``ngx_http_find_virtual_server`` (src/http/ngx_http_request.c, nginx 1.22), and
``ngx_http_server_names`` (src/http/ngx_http.c).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from kubelb.config.lookup import map_finder
from kubelb.config.model.http import HttpServer
from kubelb.config.model.variables import Variable
from kubelb.config.values import Address
from kubelb.reasons import ValueFault

_HOST: Final = re.compile(r"(\[[^]:]*(?::[^]]*)?\]|[^:]*)(?::.*)?", re.DOTALL)
_WRONG: Final = re.compile(r"[\0-\x20\x7f/]|\.\.")


class Virtual:
    """All servers of one address."""

    def __init__(self, servers: Sequence[HttpServer], address: Address) -> None:
        """At least one of ``servers`` listens there."""
        self.address = address
        self.servers = tuple(server for server in servers if address in server.listen)
        numbers: dict[str, str] = {}
        for number, server in enumerate(self.servers):
            for name in server.server_names or ("",):
                numbers.setdefault(name, str(number))
        chosen = [number for number, server in enumerate(self.servers) if address in server.default_on]
        self.default = self.servers[(chosen or [0])[0]]
        """Whoever asks for a name that no server has is answered by this one."""
        self._find = map_finder(Variable(kind="map", values=numbers, hostnames=True, default=""))

    def server(self, name: str) -> HttpServer:
        """``name`` is of the form that :func:`host_name` gives; "" is none."""
        number = self._find(name.encode("latin-1")).value
        return self.servers[int(number)] if number else self.default


def host_name(text: str) -> str:
    """The name in a Host header or a URL, taken as Latin-1: without a port, without a last dot, in lower case.

    Raises :class:`ValueFault` where it cannot be one.
    """
    match = _HOST.fullmatch(text)
    name = match[1].removesuffix(".") if match else ""
    if not name or _WRONG.search(text):
        raise ValueFault(f'invalid host "{text}"')
    return name.encode("latin-1").lower().decode("latin-1")
