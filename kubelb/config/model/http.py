"""Health endpoints; pure."""

from __future__ import annotations

import msgspec

from kubelb.config.model.logs import AccessLog
from kubelb.config.model.settings import Settings
from kubelb.config.values import Address, Duration


class Header(Settings, frozen=True, kw_only=True):
    """What answers carry beside their own headers; nginx's ``add_header``."""

    name: str
    value: str
    """A text with variables (:func:`kubelb.config.http_variables.http_variables`)."""
    always: bool = False
    """Whatever the status; else only with 200, 201, 204, 206, 304 and redirects."""


class Location(Settings, frozen=True, kw_only=True):
    """One path of an HTTP endpoint: an answer made at once, or nginx's ``stub_status`` counters."""

    path: str
    exact: bool = False
    """The path itself only, not what begins with it."""
    status: int = 200
    body: str = ""
    """A text with variables, as a header's; of 301, 302, 303, 307 and 308 the URL that is redirected to."""
    content_type: str = "text/plain"
    stub_status: bool = False
    access: tuple[str, ...] = ()
    """As a listener's: who is not let in gets 403. Empty, as for the next: the server's count."""
    headers: tuple[Header, ...] = msgspec.field(default=(), name="header")
    keepalive_timeout: Duration | None = None
    """After its answers, in the place of the server's; None, as for the next: the server's."""
    keepalive_requests: int | None = None
    access_logs: tuple[AccessLog, ...] | None = msgspec.field(default=None, name="access_log")
    """In the place of the server's; None: the server's."""


class HttpServer(Settings, frozen=True, kw_only=True):
    """A health endpoint: answers over plain HTTP, in the form of nginx's ``http { server {} }``."""

    listen: tuple[Address, ...]
    """Servers may share addresses: the name that is asked for chooses."""
    server_names: tuple[str, ...] = ()
    """Names, and wildcards: ``*.example.org``, ``.example.org`` and ``www.example.*``; "": for who asks for none."""
    default_on: tuple[Address, ...] = ()
    """Where this server answers for names that none has; elsewhere the first does."""
    header_timeout: Duration = Duration(10)
    """How long a request may take to be there, up to its body. Of servers that share an address, this and the next
    two are those of the one that answers for names that none has."""
    body_timeout: Duration = Duration(10)
    """How long nothing of a body may come."""
    send_timeout: Duration = Duration(10)
    """How long a client may take nothing of an answer."""
    keepalive_timeout: Duration = Duration(75)
    """How long a connection waits for its next request; 0: it is closed after each answer."""
    keepalive_requests: int = 1000
    """So many are answered on a connection."""
    access: tuple[str, ...] = ()
    """As a listener's, for all paths but those whose location has its own."""
    headers: tuple[Header, ...] = msgspec.field(default=(), name="header")
    """The same of what answers carry."""
    access_logs: tuple[AccessLog, ...] = msgspec.field(default=(), name="access_log")
    """And of where requests are logged; their texts have the variables of requests
    (:data:`kubelb.config.log_format.OF_REQUESTS`)."""
    locations: tuple[Location, ...] = msgspec.field(default=(), name="location")
