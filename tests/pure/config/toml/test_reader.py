"""TOML in: every fault with its line, its key path and what would be right."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import tomli
from hypothesis import example, given
from hypothesis import strategies as st

from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.model.config import Config
from kubelb.config.model.http import HttpServer, Location
from kubelb.config.model.listeners import Listener
from kubelb.config.model.logs import AccessLog, Log
from kubelb.config.model.pools import Health, Pool, Rebalance, Server
from kubelb.config.toml.reader import parse_toml
from kubelb.config.values import Address, Duration

_WHOLE = """\
workers = 2
threads = "per-connection"
pin = true
runtime_dir = "/tmp/x"
max_open_files = 1024
shutdown_timeout = "10s"
[log]
level = "debug"
file = "/var/log/kubelb.log"
access = true
[[listener]]
listen = ["127.0.0.1:6443", "[::1]:6443"]
pool = "kube-apiserver"
connect_timeout = "250ms"
hedge_delay = "100ms"
idle_timeout = "10m"
[[listener.access_log]]
file = "/var/log/a.log"
[[listener.access_log]]
file = "/var/log/b.log.gz"
format = "$remote_addr"
escape = "json"
buffer = 65536
flush = "5s"
gzip = 1
if = "$status"
[pool.kube-apiserver]
balance = "consistent_hash"
hash_key = "a$remote_addr"
servers = [
    "10.0.0.11:6443",
    { address = "b:6443", weight = 2, max_fails = 0, fail_timeout = "1m", max_conns = 9, down = true, tier = 2 },
]
drain_timeout = "2m"
keepalive = "0s"
user_timeout = "30s"
rebalance = { every = "30s", threshold = 1, at_most = 2, quiet = "5s" }
[pool.kube-apiserver.health]
probe = "https"
port = 9443
path = "/livez"
interval = "2s"
timeout = "500ms"
hang_timeout = "4s"
rise = 2
fall = 3
expect = [200, 429]
server_name = "kubernetes.default.svc"
ca_file = "/ca"
cert_file = "/cert"
key_file = "/key"
token_file = "/token"
on_down = "drain"
reset_spread = "1s"
slow_start = "0s"
[[http]]
listen = ["127.0.0.1:8081"]
[[http.location]]
path = "/healthz"
exact = true
status = 503
body = "no"
content_type = "text/html"
[[http.location]]
path = "/stub_status"
stub_status = true
"""


def test_everything() -> None:
    down = Server(
        address=Address("b", 6443), weight=2, max_fails=0, fail_timeout=Duration(60), max_conns=9, down=True, tier=2
    )
    assert parse_toml(_WHOLE, "F").config == Config(
        workers=2,
        threads="per-connection",
        pin=True,
        runtime_dir="/tmp/x",
        max_open_files=1024,
        shutdown_timeout=Duration(10),
        log=Log(level="debug", file="/var/log/kubelb.log", access=True),
        listeners=(
            Listener(
                listen=(Address("127.0.0.1", 6443), Address("::1", 6443)),
                pool="kube-apiserver",
                connect_timeout=Duration(0.25),
                hedge_delay=Duration(0.1),
                idle_timeout=Duration(600),
                access_logs=(
                    AccessLog(file="/var/log/a.log"),
                    AccessLog(
                        file="/var/log/b.log.gz",
                        format="$remote_addr",
                        escape="json",
                        buffer=65536,
                        flush=Duration(5),
                        gzip=1,
                        condition="$status",
                    ),
                ),
            ),
        ),
        pools={
            "kube-apiserver": Pool(
                servers=(Server(address=Address("10.0.0.11", 6443)), down),
                balance="consistent_hash",
                hash_key="a$remote_addr",
                drain_timeout=Duration(120),
                keepalive=Duration(0),
                user_timeout=Duration(30),
                health=Health(
                    probe="https",
                    port=9443,
                    path="/livez",
                    interval=Duration(2),
                    timeout=Duration(0.5),
                    hang_timeout=Duration(4),
                    rise=2,
                    fall=3,
                    expect=(200, 429),
                    server_name="kubernetes.default.svc",
                    ca_file="/ca",
                    cert_file="/cert",
                    key_file="/key",
                    token_file="/token",
                    on_down="drain",
                    reset_spread=Duration(1),
                    slow_start=Duration(0),
                ),
                rebalance=Rebalance(every=Duration(30), threshold=1.0, at_most=2, quiet=Duration(5)),
            )
        },
        http=(
            HttpServer(
                listen=(Address("127.0.0.1", 8081),),
                locations=(
                    Location(path="/healthz", exact=True, status=503, body="no", content_type="text/html"),
                    Location(path="/stub_status", stub_status=True),
                ),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("wrokers = 2\n", ['F:1: wrokers: unknown key; did you mean "workers"?']),
        ("\n[[wrokers.a.b]]\n", ['F:2: wrokers: unknown key; did you mean "workers"?']),
        (
            "[log]\nfoo = 1\nlevel = 'loud'\n",
            [
                "F:2: log.foo: unknown key; known here: level, file, syslog, access, also",
                'F:3: log.level: not "loud"; write "debug", "info", "warning" or "error"',
            ],
        ),
        ("workers = 1.5\n", ['F:1: workers: not 1.5; write a whole number or "auto"']),
        ("workers = true\n", ['F:1: workers: not true; write a whole number or "auto"']),
        ("threads = 'many'\n", ['F:1: threads: not "many"; write a whole number, "auto" or "per-connection"']),
        ("pin = 'yes'\n", ['F:1: pin: not "yes"; write true or false']),
        ("runtime_dir = 1\n", ["F:1: runtime_dir: not 1; write text in quotes"]),
        ("shutdown_timeout = 10\n", ['F:1: shutdown_timeout: not 10; write a time like "10m"']),
        (
            "shutdown_timeout = '10 minutes'\n",
            ['F:1: shutdown_timeout: not a duration: "10 minutes"; write for example "2s", "250ms" or "10m"'],
        ),
        ("listener = {}\n", ["F:1: listener: not a table; write a list [...]"]),
        ("pool = []\n", ["F:1: pool: not a list; write a table"]),
        ("log = 1\n", ["F:1: log: not 1; write a table"]),
        (
            "\n[[listener]]\nlisten = '127.0.0.1:1'\n",
            ['F:3: listener[0].listen: not "127.0.0.1:1"; write a list [...]'],
        ),
        (
            "[pool.'a b']\nservers = [\n  'a:1',\n  'a:99999',\n  { weight = 1 },\n  7 ]\n",
            [
                'F:4: pool."a b".servers[1]: port out of range in "a:99999"; a port is a number from 1 to 65535',
                'F:5: pool."a b".servers[2].address: missing; write "host:port"',
                'F:6: pool."a b".servers[3]: not 7; write a table',
            ],
        ),
        (
            "[pool.a]\nservers = [\n  { address = 'a', service = '' },\n  { address = 1, service = 's' },\n"
            "  { address = 'a:', service = 's' },\n  { service = 's' },\n"
            "  { address = 'a:1', service = 1 },\n  'a' ]\n",
            [
                'F:3: pool.a.servers[0].address: no port in "a"; write host:port or [ipv6]:port',
                'F:4: pool.a.servers[1].address: not 1; write "name"',
                'F:5: pool.a.servers[2].address: port out of range in "a:"; a port is a number from 1 to 65535',
                'F:6: pool.a.servers[3].address: missing; write "host:port"',
                "F:7: pool.a.servers[4].service: not 1; write text in quotes",
                'F:8: pool.a.servers[5]: no port in "a"; write host:port or [ipv6]:port',
            ],
        ),
        (
            "[pool.a]\nservers = []\nhealth = 'off'\nrebalance = '10s'\n",
            [
                'F:3: pool.a.health: not "off"; write a table',
                'F:4: pool.a.rebalance: not "10s"; write a table',
            ],
        ),
        (
            "[pool.a]\nservers = []\n[pool.a.rebalance]\nevery = 10\ntreshold = 0.1\nat_most = 1.5\n",
            [
                'F:5: pool.a.rebalance.treshold: unknown key; did you mean "threshold"?',
                'F:4: pool.a.rebalance.every: not 10; write a time like "10m"',
                "F:6: pool.a.rebalance.at_most: not 1.5; write a whole number",
            ],
        ),
        (
            "pool.a.servers = []\n[pool.a.rebalance]\nthreshold = true\n",
            ["F:3: pool.a.rebalance.threshold: not true; write a number"],
        ),
        (
            "[pool.a]\nservers = []\n[pool.a.health]\nexpect = [\n200,\n'2xx']\nprobe = 'htps'\ncafile = 1\n",
            [
                'F:8: pool.a.health.cafile: unknown key; did you mean "ca_file"?',
                'F:7: pool.a.health.probe: not "htps"; write "https", "http", "tls", "tcp" or "off"',
                'F:6: pool.a.health.expect[1]: not "2xx"; write a whole number',
            ],
        ),
        ("workers = 0xffffffffffffffff\n", ['F:1: workers: not so large a number; write a whole number or "auto"']),
        ("pin = 0x" + "f" * 5000, ["F:1: pin: not so large a number; write true or false"]),
        (
            "pin = true\nworkers = " + "9" * 5000,
            ["F:2: not TOML: a number of too many digits; write one of up to 19 digits"],
        ),
        ("\n\nb.a = " + "[" * 5000, ["F:3: nested too deeply; write at most 100 brackets within each other"]),
    ],
)
def test_faults(text: str, faults: list[str]) -> None:
    with pytest.raises(ConfigFault) as caught:
        parse_toml(text, "F")
    assert [str(fault) for fault in caught.value.faults] == faults


def test_a_service_has_no_port() -> None:
    text = "[pool.a]\nservers = [{ address = 'a.example.org', service = 'https' }]\n"
    server = Server(address=Address("a.example.org", 0), service="https")
    assert parse_toml(text, "F").config.pools["a"].servers == (server,)
    assert server.name == "_https._tcp.a.example.org"
    assert Server(address=Address("a", 0), service="_https._udp").name == "_https._udp.a"
    assert Server(address=Address("a", 0), service="_https").name == "__https._tcp.a"


def test_an_empty_text_is_the_defaults() -> None:
    assert parse_toml("", "F").config == Config()


@given(st.text(alphabet=st.sampled_from("ab=.[]{}\"'\\#, \n\r1\x00")))
@example("a = " + "[" * 5000 + "]" * 5000)
def test_nothing_but_a_fault_escapes(text: str) -> None:
    faults: Sequence[Fault] = ()
    try:
        parse_toml(text, "F")
    except ConfigFault as error:
        faults = error.faults
    assert all("\n" not in str(fault) and fault.line for fault in faults)


_HARM = st.sampled_from([*"\n\"'[]{}=,.#\\\0 x1", '"""', "\n\n", "[[", "a = 1\n", "[log]\n", " = ", "\r", "\u00a0"])


@given(st.data())
def test_whatever_is_done_to_a_file_the_fault_is_told_in_our_words(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(_WHOLE)))
    end = data.draw(st.integers(start, min(start + 30, len(_WHOLE))))
    text = _WHOLE[:start] + "".join(data.draw(st.lists(_HARM, max_size=3))) + _WHOLE[end:]
    try:
        parse_toml(text, "F")
    except ConfigFault as error:
        for fault in error.faults:
            assert fault.instead
            assert fault.line
            assert 1 <= fault.line <= text.count("\n") + 1
            assert _tomlis_words(text) not in str(fault)


def _tomlis_words(text: str) -> str:
    try:
        tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        return error.msg
    return "(tomli has nothing to say)"
