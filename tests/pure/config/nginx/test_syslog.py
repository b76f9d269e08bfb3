"""nginx's targets of syslog into the model."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelb.config.model.logs import Syslog
from kubelb.config.nginx.syslog import parse_syslog
from kubelb.config.values import Address, is_numeric, parse_address
from kubelb.reasons import ValueFault
from kubelb.syslog.message import FACILITIES, SEVERITIES, Facility, Severity

_TAGS = st.from_regex(r"[A-Za-z0-9_]{0,32}", fullmatch=True)
_SERVERS = st.one_of(
    st.builds(Address, st.ip_addresses().map(str), st.integers(1, 65535)).filter(
        lambda address: address.host != "255.255.255.255"
    ),
    st.from_regex(r"unix:/[a-z/.]{1,40}", fullmatch=True).map(parse_address),
    st.builds(Address, st.from_regex(r"[a-z][a-z0-9-]{0,10}\.[a-z]{1,5}", fullmatch=True), st.integers(1, 65535)),
)


@given(
    server=_SERVERS,
    facility=st.sampled_from(FACILITIES),
    severity=st.sampled_from(SEVERITIES),
    tag=_TAGS,
    hostname=st.booleans(),
    random=st.randoms(use_true_random=False),
)
def test_every_parameter_in_any_order(
    server: Address, facility: Facility, severity: Severity, tag: str, hostname: bool, random: Random
) -> None:
    parameters = [f"server={server}", f"facility={facility}", f"severity={severity}", f"tag={tag}"]
    parameters += [] if hostname else ["nohostname"]
    random.shuffle(parameters)
    read = parse_syslog("syslog:" + ",".join(parameters))
    assert read.server.port == server.port
    assert read.server.is_name == (server.path is None and not is_numeric(server.host))
    assert read == Syslog(server=read.server, facility=facility, severity=severity, tag=tag, hostname=hostname)


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("127.0.0.1", Address("127.0.0.1", 514)),
        ("10.0.0.1:1514", Address("10.0.0.1", 1514)),
        ("[::1]", Address("::1", 514)),
        ("[0:0::1]:5", Address("::1", 5)),
        ("logs.example.org", Address("logs.example.org", 514)),
        ("unix:/dev/log", Address("unix:/dev/log", 0)),
        ("UNIX:/dev/log", Address("unix:/dev/log", 0)),
    ],
)
def test_servers(server: str, address: Address) -> None:
    assert parse_syslog(f"syslog:server={server}") == Syslog(server=address, tag="nginx")


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ("", 'unknown syslog parameter ""'),
        ("tag=x", "no syslog server specified"),
        ("server=a,", 'unknown syslog parameter ""'),
        ("server=a,server=b", 'duplicate syslog "server"'),
        ("server=a,tag=a,tag=b", 'duplicate syslog "tag"'),
        ("server=a,facility=user,facility=user", 'duplicate syslog "facility"'),
        ("server=a,severity=info,severity=info", 'duplicate syslog "severity"'),
        ("server=a,facility=local8", 'unknown syslog facility "local8"'),
        ("server=a,severity=warning", 'unknown syslog severity "warning"'),
        ("server=a,nohostname=1", 'unknown syslog parameter "nohostname=1"'),
        ("server=a,tag", 'unknown syslog parameter "tag"'),
        ("server=a,tag=a-b", 'syslog "tag" only allows alphanumeric characters and underscore'),
        (f"server=a,tag={'x' * 33}", "syslog tag length exceeds 32"),
        ("server=", 'no host in syslog server ""'),
        ("server=:514", 'no host in syslog server ":514"'),
        ("server=a:x", 'invalid port in syslog server "a:x"'),
        ("server=a:0", 'invalid port in syslog server "a:0"'),
        ("server=a:65536", 'invalid port in syslog server "a:65536"'),
        ("server=::1", 'invalid port in syslog server "::1"'),
        ("server=a/b", 'invalid host in syslog server "a/b"'),
        ("server=[::1", 'invalid host in syslog server "[::1"'),
        ("server=[::1]x", 'invalid host in syslog server "[::1]x"'),
        ("server=[]", 'no host in syslog server "[]"'),
        ("server=[127.0.0.1]", 'invalid IPv6 address in syslog server "[127.0.0.1]"'),
        (
            "server=unix:",
            'no path in the unix domain socket in syslog server "unix:"; write for example unix:/run/kubelb/api.sock',
        ),
        ("server=[::1]:0", 'invalid port in syslog server "[::1]:0"'),
    ],
)
def test_what_is_refused(parameters: str, fault: str) -> None:
    with pytest.raises(ValueFault, match=f"^{re.escape(fault)}$"):
        parse_syslog(f"syslog:{parameters}")


@pytest.mark.parametrize("path", ["", "log", f"/{'x' * 107}"])
def test_unix_sockets_that_are_refused(path: str) -> None:
    with pytest.raises(ValueFault, match="unix"):
        parse_syslog(f"syslog:server=unix:{path}")
