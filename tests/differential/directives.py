"""The directives that kubelb takes, where they may stand, and arguments that are right and wrong.

Those that it refuses on purpose: :mod:`tests.differential.refused`.
"""

from __future__ import annotations

from dataclasses import dataclass

MAIN, EVENTS, STREAM, UPSTREAM, SERVER = "main", "events", "stream", "upstream", "server"
HTTP, SITE, LOCATION = "http", "server of http", "location"
_TIMES = ("1s", "10m", "1h30m", "500ms", "'1m 30s'", "2")
_NO_TIMES = ("x", "1x", "-1", "1m1h", "1s1s", "1.5s", "''", "s", "99999999999999999999")
_FLAGS, _NO_FLAGS = ("on", "off", "ON"), ("yes", "1", "''")
_NETWORKS = ("all", "127.0.0.1", "10.0.0.0/8", "unix:", "::1", "fe80::/10")
_NO_NETWORKS = ("nobody", "10.0.0.0/33", "10.0.0", "10.0.0.1/x", "::1/129", "unix", "''")
_SYSLOGS = (
    *("syslog:server=127.0.0.1", "syslog:server=[::1]:1,tag=", "syslog:server=localhost:9,nohostname"),
    "syslog:facility=kern,severity=emerg,tag=A_1,server=unix:/tmp/nobody.sock",
    f"syslog:server=127.0.0.1:65535,tag={'x' * 32}",
)
_NO_SYSLOGS = (
    *("syslog:", "syslog:tag=x", "syslog:server=127.0.0.1,", "syslog:server=127.0.0.1,,nohostname", "syslog:x=y"),
    *("syslog:server=", "syslog:server=:514", "syslog:server=127.0.0.1:0", "syslog:server=127.0.0.1:65536"),
    *("syslog:server=127.0.0.1:x", "syslog:server=::1", "syslog:server=[::1", "syslog:server=[::1]1"),
    *("syslog:server=[]", "syslog:server=[::x]", "syslog:server=[127.0.0.1]", "syslog:server=127.0.0.1/a"),
    *("syslog:server=127.0.0.1?a", "syslog:server=unix:", f"syslog:server=unix:/{'x' * 107}"),
    *("syslog:server=127.0.0.1,server=127.0.0.1", "syslog:server=127.0.0.1,facility=local8"),
    *("syslog:server=127.0.0.1,severity=warning", "syslog:server=127.0.0.1,severity=warn,severity=warn"),
    *("syslog:server=127.0.0.1,facility=user,facility=kern", "syslog:server=127.0.0.1,tag=a,tag=b"),
    *("syslog:server=127.0.0.1,tag=a-b", "syslog:server=127.0.0.1,tag=a:", "syslog:server=127.0.0.1,tag"),
    *(f"syslog:server=127.0.0.1,tag={'x' * 33}", "syslog:server=127.0.0.1,nohostname=1", "syslog:nohostname"),
)
_SIZES, _NO_SIZES = ("4k", "16K", "1m", "8192"), ("x", "-1", "4g", "''", "4kk")


@dataclass(frozen=True)
class Spec:
    """A directive: where it may stand, and arguments that are right and wrong everywhere there."""

    name: str
    contexts: tuple[str, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...] = ()
    once: bool = True
    """Whether a second one in the same block is a mistake."""
    any_number: bool = False
    """Whether it takes as many arguments as there are."""

    def statement(self, arguments: str) -> str:
        return f"{self.name} {arguments}".rstrip() + ";"


SPECS = (
    Spec("worker_processes", (MAIN,), ("1", "auto"), ("x", "-1", "''", "1.5")),
    Spec("worker_priority", (MAIN,), ("5", "-5"), ("x", "1.5")),
    Spec("worker_rlimit_nofile", (MAIN,), ("1024",), ("x", "-1", "1k")),
    Spec("worker_shutdown_timeout", (MAIN,), _TIMES, _NO_TIMES),
    Spec("timer_resolution", (MAIN,), ("100ms", "1s"), _NO_TIMES),
    Spec("daemon", (MAIN,), _FLAGS, _NO_FLAGS),
    Spec("master_process", (MAIN,), ("on", "off"), _NO_FLAGS),
    Spec("worker_connections", (EVENTS,), ("512", "1024"), ("x", "-1", "1k")),
    Spec("multi_accept", (EVENTS,), _FLAGS, _NO_FLAGS),
    Spec("accept_mutex", (EVENTS,), _FLAGS, _NO_FLAGS),
    Spec("accept_mutex_delay", (EVENTS,), ("500ms",), _NO_TIMES),
    Spec("use", (EVENTS,), ("epoll",), ("nothing",)),
    Spec("proxy_timeout", (STREAM, SERVER), _TIMES, _NO_TIMES),
    Spec("proxy_connect_timeout", (STREAM, SERVER), _TIMES, _NO_TIMES),
    Spec("proxy_buffer_size", (STREAM, SERVER), _SIZES, _NO_SIZES),
    Spec("proxy_half_close", (STREAM, SERVER), _FLAGS, _NO_FLAGS),
    Spec("proxy_socket_keepalive", (STREAM, SERVER), _FLAGS, _NO_FLAGS),
    Spec("proxy_upload_rate", (STREAM, SERVER), ("0", "64k", "$server_port"), _NO_SIZES),
    Spec("proxy_download_rate", (STREAM, SERVER), ("0", "1m"), _NO_SIZES),
    Spec("proxy_next_upstream", (STREAM, SERVER), _FLAGS, _NO_FLAGS),
    Spec("proxy_next_upstream_tries", (STREAM, SERVER), ("0", "2"), ("x", "-1", "1.5", "''")),
    Spec("proxy_next_upstream_timeout", (STREAM, SERVER), ("0", *_TIMES), _NO_TIMES),
    Spec(
        "proxy_bind",
        (STREAM, SERVER),
        ("127.0.0.1", "off", "$server_addr"),
        ("x y", "localhost:x", "''", "127.0.0.1 t"),
    ),
    Spec("proxy_protocol", (STREAM, SERVER), _FLAGS, _NO_FLAGS),
    Spec("proxy_protocol_timeout", (STREAM, SERVER), _TIMES, _NO_TIMES),
    Spec("allow", (STREAM, SERVER), _NETWORKS, _NO_NETWORKS, once=False),
    Spec("deny", (STREAM, SERVER), _NETWORKS, _NO_NETWORKS, once=False),
    Spec("set_real_ip_from", (STREAM, SERVER), ("10.0.0.0/8", "unix:", "::1"), ("10.0.0.0/33", "::1/x"), once=False),
    Spec(
        "set",
        (SERVER,),
        ("$known_as x", "$known_as $remote_addr"),
        ("known_as x", "$x", "$x $nothing", "$ x"),
        once=False,
    ),
    Spec("return", (SERVER,), ("gone", "$remote_addr"), ("a b", "$nothing", "$"), once=True),
    Spec("tcp_nodelay", (STREAM, SERVER), _FLAGS, _NO_FLAGS),
    Spec("preread_timeout", (STREAM, SERVER), _TIMES, _NO_TIMES),
    Spec("preread_buffer_size", (STREAM, SERVER), _SIZES, _NO_SIZES),
    Spec("variables_hash_max_size", (STREAM,), ("1024",), ("x", "-1")),
    Spec(
        "access_log",
        (STREAM, SERVER),
        ("off", "/dev/null known", *(f"{target} known" for target in _SYSLOGS)),
        (
            *("/dev/null", "/dev/null nobody", "syslog:server=127.0.0.1", "syslog:server=127.0.0.1 nobody"),
            *(
                f"syslog:server=127.0.0.1 known {how}"
                for how in ("buffer=1k", "gzip", "flush=1s", "buffer=1k flush=1s")
            ),
            *(f"{target} known" for target in _NO_SYSLOGS),
        ),
        once=False,
    ),
    Spec("log_format", (STREAM,), ("another $remote_addr",), ("other", "other $nothing"), False, True),
    Spec("least_conn", (UPSTREAM,), ("",), once=False),
    Spec(
        "hash",
        (UPSTREAM,),
        ("$remote_addr", "$remote_addr consistent"),
        ("$remote_addr x", "$nothing", "$"),
        once=False,
    ),
    Spec("random", (UPSTREAM,), ("", "two", "two least_conn"), ("three", "two most_conn"), once=False),
    Spec("zone", (UPSTREAM,), ("shared 64k",), ("shared x", "shared 1k"), once=False),
    Spec(
        "server",
        (UPSTREAM,),
        (
            "127.0.0.9:1",
            "127.0.0.9:2 weight=2 max_fails=3 fail_timeout=1m30s",
            "[::1]:1 down",
            "127.0.0.9:3 max_conns=0",
        ),
        (
            *("127.0.0.9", "127.0.0.9:0", "127.0.0.9:65536", "127.0.0.9:x", ":1", "[::1:1", "*:1"),
            *("127.0.0.9:1 weight=0", "127.0.0.9:1 weight=x", "127.0.0.9:1 weight=", "127.0.0.9:1 max_fails=-1"),
            *("127.0.0.9:1 fail_timeout=1ms", "127.0.0.9:1 fail_timeout=x", "127.0.0.9:1 max_conns=x"),
            *("127.0.0.9:1 down=1", "127.0.0.9:1 backup=yes", "127.0.0.9:1 slow", "127.0.0.9:1 Down"),
        ),
        once=False,
    ),
    Spec(
        "listen",
        (SERVER,),
        ("127.0.0.8:26001", "127.0.0.8:26002 backlog=9 so_keepalive=on", "[::1]:26003 ipv6only=on bind"),
        (
            *("127.0.0.8:0", "127.0.0.8:65536", "127.0.0.8:x", "localhostx", "[::1:1"),
            *(
                "127.0.0.8:26001 backlog=x",
                "127.0.0.8:26001 backlog=0",
                "127.0.0.8:26001 default",
                "127.0.0.8:1 weight=1",
            ),
            *("127.0.0.8:26001 so_keepalive=maybe", "127.0.0.8:26001 rcvbuf=x", "127.0.0.8:26001 sndbuf=-1"),
            *("127.0.0.8:26001 ipv6only=maybe", "127.0.0.8:26001 fastopen=x"),
        ),
        once=False,
    ),
    Spec("proxy_pass", (SERVER,), ("pool", "127.0.0.9:1"), ("nobody", "pool:1", "127.0.0.9:0")),
    Spec(
        "error_log",
        (MAIN, STREAM, SERVER),
        ("stderr info", "/dev/null", "/dev/null debug_core debug_event", *_SYSLOGS),
        (
            *("stderr loud", "stderr info warn", "stderr info debug_core", "stderr debug_core info", "memory:x"),
            *(f"{_SYSLOGS[0]} loud", f"{_SYSLOGS[0]} info info"),
            *_NO_SYSLOGS,
        ),
        once=False,
    ),
)
CONTEXTS = (MAIN, EVENTS, STREAM, UPSTREAM, SERVER)
HTTP_SPECS = (
    Spec(
        "listen",
        (SITE,),
        ("127.0.0.8:26101 default_server backlog=9",),
        ("127.0.0.8:0", "127.0.0.8:x", "[::1:1"),
        False,
    ),
    Spec("server_name", (SITE,), ("one.example", "*.two.example .example"), (), False, True),
    Spec(
        "return",
        (SITE, LOCATION),
        (
            *("204", "200 ok", "301 /there", "http://there.example/", "200 $host-${uri}"),
            *("$scheme://$host$request_uri", "301 https://$server_name$is_args$args"),
        ),
        (
            *("x", "1000", "-1", "200 a b", "''"),
            *("200 $nothing", "200 'a $ b'", "200 '${host'", "$host", "301 /$"),
        ),
        once=False,
    ),
    Spec(
        "add_header",
        (HTTP, SITE, LOCATION),
        ("X-A b", "X-A $http_a$arg_a always"),
        ("X-A", "X-A b never", "X-A $nothing"),
        once=False,
    ),
    Spec(
        "access_log",
        (HTTP, SITE, LOCATION),
        ("off", "/dev/null", "/dev/null combined", "/dev/null Combined if=$arg_a", *_SYSLOGS),
        (
            *("off combined", "/dev/null nobody", "/dev/null combined x", "/dev/null combined buffer=x"),
            *("/dev/null combined flush=1s", "/dev/null combined gzip=10", "/dev/null combined buffer=1k flush=x"),
            *("/dev/null combined if=$nothing", "/dev/null combined if=$", "syslog:server=127.0.0.1 combined gzip"),
            *("/dev/null combined buffer=0", "syslog:server=127.0.0.1 combined buffer=1k", *_NO_SYSLOGS),
        ),
        once=False,
    ),
    Spec(
        "log_format",
        (HTTP,),
        ("another '$remote_addr $pipe'", "another escape=json $sent_http_location$upstream_addr"),
        ("combined $uri", "other", "other $nothing", "other escape=xml $uri", "other $", "other '${uri'"),
        False,
        True,
    ),
    Spec("keepalive_requests", (HTTP, SITE, LOCATION), ("0", "10"), ("x", "-1", "''")),
    Spec("keepalive_timeout", (HTTP, SITE, LOCATION), ("0", "10s"), _NO_TIMES),
    Spec("default_type", (HTTP, SITE, LOCATION), ("text/plain",)),
    Spec("stub_status", (SITE, LOCATION), ("",), once=False),
    Spec("stub_status", (SITE, LOCATION), ("",), once=False),
    Spec("allow", (HTTP, SITE, LOCATION), _NETWORKS, _NO_NETWORKS, once=False),
    Spec("deny", (HTTP, SITE, LOCATION), _NETWORKS, _NO_NETWORKS, once=False),
)
"""Those of ``http {}`` that change what is answered."""
HTTP_CONTEXTS = (HTTP, SITE, LOCATION)
