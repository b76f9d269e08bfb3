"""nginx's directives that need no translation: which have no effect here and why, which are refused and why; pure."""

from __future__ import annotations

from collections.abc import Mapping

_ACCEPT = "has no effect, kubelb's threads accept in their own way"
_NO_FILES = "has no effect, the health endpoints serve no files"
_ENDPOINT = "has no effect on the fixed answers of a health endpoint"
_LOG = "has no effect, what is not there is told to who asks for it"
_HASHES = "has no effect, kubelb keeps no such table"
_NO_TLS = "has no effect, the health endpoints speak no TLS"


def _each(names: str, why: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), why)


RIGHT: Mapping[str, str] = {
    "tcp_nodelay": "on",
    "master_process": "on",
    "proxy_socket_keepalive": "on",
    "proxy_ssl": "off",
    "ssl_preread": "off",
}
"""Directives that, with this value, ask for what kubelb does anyway."""

_MAIN = {
    "lock_file": _ACCEPT,
    "master_process": "has no effect, kubelb always runs workers under a supervisor",
    "debug_points": "has no effect, there are none",
    "working_directory": "has no effect, kubelb stays where it is started",
    "load_module": "has no effect, the proxy is part of kubelb",
    "worker_rlimit_core": "has no effect, the limit is whoever starts kubelb's to give",
    "env": "has no effect, kubelb's processes keep the environment",
    "pcre_jit": "has no effect, regular expressions are bounded in time some other way",
    "thread_pool": "has no effect, kubelb sizes its own thread pools",
    "timer_resolution": "has no effect, kubelb reads the clock when it needs it",
}
_EVENTS = {
    "multi_accept": _ACCEPT,
    "accept_mutex": _ACCEPT,
    "accept_mutex_delay": _ACCEPT,
    "worker_aio_requests": "has no effect, there is no file input or output",
    "debug_connection": "has no effect, choose the level in error_log",
}
_STREAM = {
    "open_log_file_cache": "has no effect, log files stay open",
    "error_log": "has no effect here, only the outermost error_log counts",
    "proxy_socket_keepalive": "has no effect, a pool's keepalive finds servers that have vanished",
    "variables_hash_bucket_size": _HASHES,
    "variables_hash_max_size": _HASHES,
    "map_hash_bucket_size": _HASHES,
    "map_hash_max_size": _HASHES,
}
_UPSTREAM = {"zone": "has no effect, all workers share the servers' state anyway"}
_HTTP = {
    **_each("log_not_found log_subrequest", _LOG),
    "open_log_file_cache": "has no effect, log files stay open",
    "error_log": "has no effect here, only the outermost error_log counts",
    **_each("aio aio_write autoindex directio index open_file_cache root sendfile", _NO_FILES),
    "types": "has no effect, the answers of a location all have its default_type",
    **_each(
        "server_names_hash_bucket_size server_names_hash_max_size types_hash_bucket_size "
        "types_hash_max_size variables_hash_bucket_size variables_hash_max_size",
        _HASHES,
    ),
    **_each(
        "client_body_buffer_size client_header_buffer_size client_max_body_size etag gzip gzip_buffers "
        "gzip_comp_level gzip_disable gzip_http_version gzip_min_length gzip_proxied gzip_types gzip_vary "
        "large_client_header_buffers lingering_close reset_timedout_connection server_tokens tcp_nodelay tcp_nopush",
        _ENDPOINT,
    ),
    **_each(
        "ssl_ciphers ssl_prefer_server_ciphers ssl_protocols ssl_session_cache ssl_session_tickets "
        "ssl_session_timeout",
        _NO_TLS,
    ),
}

HARMLESS: Mapping[str, Mapping[str, str]] = {
    "main": _MAIN,
    "events": _EVENTS,
    "stream": _STREAM,
    "stream server": _STREAM,
    "upstream": _UPSTREAM,
    "http": _HTTP,
    "http server": _HTTP,
    "location": _HTTP,
}
"""By context: directives that change nothing here, and why."""

_TLS = "TLS is passed through, not ended here"
_TLS_OUT = "TLS is passed through, not begun here"
_ACCESS = "the health endpoints know clients by their addresses only; write allow and deny"
_LIMIT = "who asks a health endpoint is not limited"
_RESOLVER = "the health endpoints look up no names"
_CONNECTION = "it counts for the connections of a whole server; write it there, or in http"
_FIXED = "a location here gives a fixed answer (return) or stub_status"

REFUSED: Mapping[str, str] = {
    "mail": "kubelb carries TCP streams, not mail",
    "ssl_engine": _TLS,
    "ssl_preread": "TLS is passed through unread",
    **_each(
        "ssl ssl_certificate ssl_certificate_key ssl_protocols ssl_ciphers ssl_client_certificate "
        "ssl_verify_client ssl_session_cache ssl_session_timeout ssl_prefer_server_ciphers",
        _TLS,
    ),
    **_each(
        "proxy_ssl proxy_ssl_certificate proxy_ssl_certificate_key proxy_ssl_name "
        "proxy_ssl_protocols proxy_ssl_server_name proxy_ssl_trusted_certificate proxy_ssl_verify "
        "proxy_ssl_session_reuse",
        _TLS_OUT,
    ),
    **_each("satisfy auth_basic auth_request", _ACCESS),
    **_each("limit_conn limit_conn_zone limit_req limit_req_zone", _LIMIT),
    "limit_rate": _LIMIT,
    **_each("proxy_requests proxy_responses", "it counts datagrams, and only TCP is carried"),
    **_each("map geo split_clients set", "variables are made in stream {} only"),
    "geoip_country": "there is no database of addresses; write networks in geo",
    **_each("resolver resolver_timeout", _RESOLVER),
    **_each("least_time sticky ip_hash state queue", "this way of balancing is not supported"),
    "keepalive": "a session has its own connection to a server, none is kept for others",
    "upstream": "only a stream's upstream is proxied; http serves health endpoints only",
    "return": "a fixed answer is given by an http server or its locations only",
    "location": "a location within another is not supported; write it in the server",
    **_each("client_body_timeout send_timeout", _CONNECTION),
    **_each("proxy_pass rewrite try_files alias if error_page limit_except", _FIXED),
}
"""Why well-known directives are refused, wherever they are not harmless."""

_FAMILIES: Mapping[str, str] = {
    "ssl_": _TLS,
    "proxy_ssl_": _TLS_OUT,
    "js_": "kubelb runs no scripts",
}
"""The same of all that nginx has whose names begin like this."""


def refusal(name: str, context: str, known: bool) -> tuple[str, str | None]:
    """What is wrong with a directive that kubelb has no part for in that context, and what would be right. Of one
    that nginx does not know either it is what nginx says."""
    if name in REFUSED:
        return REFUSED[name], None
    if not known:
        return "unknown directive", None
    for prefix, why in _FAMILIES.items():
        if name.startswith(prefix):
            return why, None
    what = "nginx has this directive, kubelb does not"
    if context in ("http", "http server", "location"):
        what += ": its http {} answers health checks only"
    return what, "leave it out if nothing depends on it"


_REPEATABLE = (
    "access_log add_header allow debug_connection deny env error_log error_page geo if limit_conn limit_conn_zone "
    "listen load_module location log_format map return rewrite server server_name set set_real_ip_from "
    "split_clients thread_pool types upstream"
)
REPEATABLE = frozenset(_REPEATABLE.split())
"""Directives nginx takes more than once in a block."""
