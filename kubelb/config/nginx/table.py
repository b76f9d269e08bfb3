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
_NEWER = (
    "add_header_inherit add_trailer_inherit auth_delay early_hints epoll_events fastcgi_socket_rcvbuf "
    "fastcgi_socket_sndbuf grpc_socket_rcvbuf grpc_socket_sndbuf grpc_ssl_certificate_cache grpc_ssl_conf_command "
    "gzip_hash gzip_no_buffer gzip_window http2 http2_pool_size http2_streams_index_size http3 http3_hq "
    "http3_max_concurrent_streams http3_stream_buffer_size internal_redirect js_body_filter js_context_reuse "
    "js_context_reuse_max_size js_engine js_fetch_buffer_size js_fetch_ciphers js_fetch_keepalive "
    "js_fetch_keepalive_requests js_fetch_keepalive_time js_fetch_keepalive_timeout "
    "js_fetch_max_response_buffer_size js_fetch_protocols js_fetch_proxy js_fetch_timeout "
    "js_fetch_trusted_certificate js_fetch_verify js_fetch_verify_depth js_header_filter js_import "
    "js_load_http_native_module js_load_stream_native_module js_periodic js_preload_object js_shared_dict_zone "
    "js_var keepalive_min_timeout keepalive_time max_headers open_file_cache_events pass post_action "
    "postpone_gzipping proxy_cookie_flags proxy_downstream_buffer proxy_half_close proxy_pass_trailers "
    "proxy_socket_rcvbuf proxy_socket_sndbuf proxy_ssl_alpn proxy_ssl_certificate_cache proxy_ssl_conf_command "
    "proxy_upstream_buffer quic_active_connection_id_limit quic_bpf quic_gso quic_host_key quic_retry "
    "scgi_socket_rcvbuf scgi_socket_sndbuf ssi_ignore_recycled_buffers ssl_alpn ssl_certificate_cache "
    "ssl_certificate_compression ssl_conf_command ssl_ech_file ssl_object_cache_inheritable ssl_ocsp ssl_ocsp_cache "
    "ssl_ocsp_responder ssl_reject_handshake tunnel_bind tunnel_buffer_size tunnel_connect_timeout "
    "tunnel_next_upstream tunnel_next_upstream_timeout tunnel_next_upstream_tries tunnel_pass tunnel_read_timeout "
    "tunnel_send_lowat tunnel_send_timeout tunnel_socket_keepalive tunnel_socket_rcvbuf tunnel_socket_sndbuf "
    "userid_flags uwsgi_socket_rcvbuf uwsgi_socket_sndbuf uwsgi_ssl_certificate_cache uwsgi_ssl_conf_command "
    "uwsgi_string"
)
"""What nginx 1.31 has, with its njs and QUIC, and crossplane knows nowhere."""
_KNOWN = frozenset((*analyzer.DIRECTIVES, *_NEWER.split()))
_MOST_COUNTED = 7
"""Arguments whose number has a bit of its own: NGX_CONF_NOARGS to NGX_CONF_TAKE7."""


def is_known(name: str) -> bool:
    """Whether nginx has a directive of that name."""
    return name in _KNOWN


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
