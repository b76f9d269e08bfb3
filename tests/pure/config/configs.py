"""Hypothesis strategies for whole configurations."""

from __future__ import annotations

import typing

from hypothesis import strategies as st

from kubelb.config.model.config import Admin, Config, Process
from kubelb.config.model.http import Header, HttpServer, Location
from kubelb.config.model.listeners import Binding, Limit, Listener
from kubelb.config.model.logs import AccessLog, Escape, Log, LogLevel, LogTarget, Syslog
from kubelb.config.model.pools import Balance, Discovery, Health, OnDown, Pool, ProbeKind, Rebalance, Server
from kubelb.config.model.variables import Assignment, MapRegex, Part, Variable, VariableKind
from kubelb.config.values import Address, Duration
from kubelb.syslog.message import FACILITIES, SEVERITIES

hosts = st.one_of(st.ip_addresses().map(str), st.from_regex(r"[a-z0-9_-]{1,12}(\.[a-z]{1,5})?", fullmatch=True))
addresses = st.builds(Address, hosts, st.integers(1, 65535))
unix_sockets = st.from_regex(r"/[!-~]{1,40}", fullmatch=True).map(lambda path: Address(f"unix:{path}", 0))
durations = st.one_of(st.integers(0, 10**6).map(Duration), st.floats(0, 1e9).map(Duration))
counts = st.integers(0, 2**31)
balances: st.SearchStrategy[Balance] = st.sampled_from(typing.get_args(Balance))
levels: st.SearchStrategy[LogLevel] = st.sampled_from(typing.get_args(LogLevel))
probe_kinds: st.SearchStrategy[ProbeKind] = st.sampled_from(typing.get_args(ProbeKind))
on_downs: st.SearchStrategy[OnDown] = st.sampled_from(typing.get_args(OnDown))
files = st.none() | st.text(max_size=10)

servers = st.builds(
    Server,
    address=addresses | unix_sockets,
    weight=counts,
    max_fails=counts,
    fail_timeout=durations,
    max_conns=counts,
    backup=st.booleans(),
    down=st.booleans(),
    tier=counts,
    resolve=st.booleans(),
)
plain_servers = st.builds(Server, address=addresses | unix_sockets)
services = st.builds(
    Server,
    address=addresses | st.builds(Address, hosts, st.just(0)),
    service=st.text(min_size=1, max_size=10),
    weight=counts,
    backup=st.booleans(),
)
healths = st.builds(
    Health,
    probe=probe_kinds,
    port=st.none() | counts,
    path=st.text(max_size=10),
    interval=durations,
    timeout=durations,
    hang_timeout=durations,
    rise=counts,
    fall=counts,
    expect=st.lists(counts, max_size=30).map(tuple),
    server_name=st.text(max_size=10),
    ca_file=files,
    cert_file=files,
    key_file=files,
    token_file=files,
    kubeconfig=files,
    on_down=on_downs,
    reset_spread=durations,
    slow_start=durations,
)
rebalances = st.builds(
    Rebalance, every=durations, threshold=st.floats(allow_nan=False), at_most=counts, quiet=durations
)
discoveries = st.builds(
    Discovery,
    source=st.just("dns"),
    resolver=st.lists(addresses, max_size=2).map(tuple),
    interval=st.none() | durations,
    timeout=durations,
    ipv4=st.booleans(),
    ipv6=st.booleans(),
)
pools = st.builds(
    Pool,
    servers=st.lists(st.one_of(plain_servers, servers, services), max_size=5).map(tuple),
    balance=balances,
    hash_key=st.text(max_size=20),
    drain_timeout=durations,
    keepalive=durations,
    user_timeout=durations,
    health=st.builds(Health) | healths,
    discovery=st.none() | discoveries,
    rebalance=st.none() | st.builds(Rebalance) | rebalances,
)
map_regexes = st.builds(MapRegex, pattern=st.text(max_size=8), value=st.text(max_size=8), any_case=st.booleans())
own_variables = st.builds(
    Variable,
    kind=st.sampled_from(typing.get_args(VariableKind)),
    source=st.text(max_size=10),
    values=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
    regexes=st.lists(map_regexes, max_size=3).map(tuple),
    parts=st.lists(st.builds(Part, percent=st.text(max_size=5), value=st.text(max_size=8)), max_size=3).map(tuple),
    default=st.text(max_size=8),
    hostnames=st.booleans(),
    volatile=st.booleans(),
)
assignments = st.builds(Assignment, variable=st.text(max_size=8), value=st.text(max_size=8))
syslogs = st.builds(
    Syslog,
    server=addresses | unix_sockets,
    facility=st.sampled_from(FACILITIES),
    severity=st.sampled_from(SEVERITIES),
    tag=st.text(max_size=8),
    hostname=st.booleans(),
)
access_logs = st.builds(
    AccessLog,
    file=st.text(max_size=10),
    syslog=st.none() | syslogs,
    format=st.text(max_size=10),
    escape=st.sampled_from(typing.get_args(Escape)),
    buffer=counts,
    flush=st.none() | durations,
    gzip=counts,
    condition=st.text(max_size=10),
)
bindings = st.builds(
    Binding,
    backlog=counts,
    receive_buffer=st.none() | counts,
    send_buffer=st.none() | counts,
    fast_open=counts,
    ipv6_only=st.booleans(),
    keepalive=st.booleans(),
    keepalive_idle=durations,
    keepalive_interval=durations,
    keepalive_count=counts,
)
limits = st.builds(
    Limit,
    key=st.text(max_size=10),
    connections=counts,
    zone=st.text(max_size=10),
    dry_run=st.booleans(),
    log_level=levels,
)
listeners = st.builds(
    Listener,
    listen=st.lists(addresses | unix_sockets, max_size=3).map(tuple),
    socket=bindings,
    pool=st.none() | st.text(max_size=10),
    answer=st.none() | st.text(max_size=10),
    accept_proxy_protocol=st.booleans(),
    proxy_protocol_timeout=durations,
    send_proxy_protocol=st.booleans(),
    trusted_proxies=st.lists(st.text(max_size=10), max_size=3).map(tuple),
    access=st.lists(st.text(max_size=10), max_size=3).map(tuple),
    connect_timeout=durations,
    hedge_delay=durations,
    idle_timeout=st.none() | durations,
    half_close=st.booleans(),
    upload_rate=st.text(max_size=10),
    download_rate=st.text(max_size=10),
    max_tries=counts,
    retry_timeout=st.none() | durations,
    bind=st.text(max_size=10),
    nodelay=st.booleans(),
    limits=st.lists(limits, max_size=2).map(tuple),
    assignments=st.lists(assignments, max_size=3).map(tuple),
    access_logs=st.lists(access_logs, max_size=2).map(tuple),
)
headers = st.builds(Header, name=st.text(max_size=8), value=st.text(max_size=8), always=st.booleans())
locations = st.builds(
    Location,
    path=st.text(max_size=10),
    exact=st.booleans(),
    status=counts,
    body=st.text(),
    content_type=st.text(max_size=10),
    stub_status=st.booleans(),
    access=st.lists(st.text(max_size=10), max_size=3).map(tuple),
    headers=st.lists(headers, max_size=2).map(tuple),
    keepalive_timeout=st.none() | durations,
    keepalive_requests=st.none() | counts,
    access_logs=st.none() | st.lists(access_logs, max_size=2).map(tuple),
)
http_servers = st.builds(
    HttpServer,
    listen=st.lists(addresses, max_size=2).map(tuple),
    server_names=st.lists(st.text(max_size=10), max_size=3).map(tuple),
    default_on=st.lists(addresses, max_size=2).map(tuple),
    header_timeout=durations,
    body_timeout=durations,
    send_timeout=durations,
    keepalive_timeout=durations,
    keepalive_requests=counts,
    access=st.lists(st.text(max_size=10), max_size=3).map(tuple),
    headers=st.lists(headers, max_size=2).map(tuple),
    access_logs=st.lists(access_logs, max_size=2).map(tuple),
    locations=st.lists(locations, max_size=3).map(tuple),
)
processes = st.builds(
    Process,
    user=files,
    group=files,
    pid_file=files,
    priority=st.integers(-20, 19),
    cpus=st.lists(st.lists(counts, max_size=3).map(tuple), max_size=3).map(tuple),
    max_connections=st.none() | counts,
)
log_targets = st.builds(LogTarget, level=levels, file=files, syslog=st.none() | syslogs)
configs = st.builds(
    Config,
    workers=counts | st.just("auto"),
    threads=counts | st.sampled_from(["auto", "per-connection"]),
    pin=st.booleans(),
    runtime_dir=st.text(max_size=10),
    max_open_files=st.none() | counts,
    shutdown_timeout=st.none() | durations,
    process=processes,
    log=st.builds(
        Log,
        level=levels,
        file=files,
        syslog=st.none() | syslogs,
        access=st.booleans(),
        also=st.lists(log_targets, max_size=2).map(tuple),
    ),
    admin=st.builds(Admin, listen=st.none() | addresses),
    listeners=st.lists(listeners, max_size=3).map(tuple),
    variables=st.dictionaries(st.text(max_size=8), own_variables, max_size=3),
    pools=st.dictionaries(st.text(max_size=8), pools, max_size=3),
    http=st.lists(http_servers, max_size=2).map(tuple),
)
"""Every form the model can have, allowed or not."""
