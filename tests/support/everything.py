"""A configuration in which everything that the model knows stands somewhere, and can be changed there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubelb.config.model.config import Admin, Config, Process
from kubelb.config.model.http import Header, HttpServer, Location
from kubelb.config.model.listeners import Binding, Limit, Listener
from kubelb.config.model.logs import AccessLog, Log, LogTarget, Syslog
from kubelb.config.model.pools import PASSIVE, Discovery, Health, Pool, Rebalance, Server
from kubelb.config.model.variables import Assignment, MapRegex, Part, Variable
from kubelb.config.values import Address, Duration
from kubelb.standin import certificates
from kubelb.standin.certificates import Certificates
from kubelb.standin.kubeconfig import kubeconfig

FILES = ("ca_file", "cert_file", "key_file", "token_file")
LOCAL = "127.0.0.1"


def make_files(directory: Path) -> dict[str, tuple[str, str]]:
    """By the setting: what probes are given, each in two files."""
    made = certificates.make(directory)
    (directory / "token").write_text("secret")
    found = {}
    for setting, path in zip(FILES, (made.authority, made.server, made.server, directory / "token"), strict=True):
        copy = directory / f"{setting}.copy"
        copy.write_bytes(path.read_bytes())
        found[setting] = str(path), str(copy)
    found["kubeconfig"] = _kubeconfig(directory / "one.conf", made), _kubeconfig(directory / "other.conf", made)
    return found


def _kubeconfig(path: Path, made: Certificates) -> str:
    path.write_text(kubeconfig("https://127.0.0.1:6443", made.authority.read_bytes()))
    return str(path)


def everything(directory: Path, files: Mapping[str, tuple[str, str]]) -> Config:
    """Logs are files in ``directory``; ``files`` are those of :func:`make_files`."""
    syslog = Syslog(server=Address(LOCAL, 1514))
    return Config(
        workers=2,
        threads=2,
        runtime_dir=str(directory),
        max_open_files=5000,
        shutdown_timeout=Duration(60),
        process=Process(user="root", group="root", priority=1, cpus=((0,),), max_connections=1000),
        log=Log(
            also=(
                LogTarget(file=str(directory / "log")),
                LogTarget(level="error", syslog=syslog),
            )
        ),
        admin=Admin(listen=Address(LOCAL, 8081)),
        variables=_variables(),
        listeners=_listeners(directory, syslog),
        pools=_pools(files),
        http=_endpoints(directory),
    )


def _variables() -> dict[str, Variable]:
    return {
        "mapped": Variable(
            kind="map",
            values={"*.example.org": "one", "b": "two"},
            regexes=(MapRegex(pattern="^c", value="three"),),
            hostnames=True,
        ),
        "placed": Variable(kind="geo", values={"10.0.0.0/8": "one"}),
        "parted": Variable(kind="split_clients", parts=(Part(percent="10%", value="one"),)),
        "plain": Variable(kind="map", default="one"),
    }


def _listeners(directory: Path, syslog: Syslog) -> tuple[Listener, ...]:
    log = AccessLog(
        file=str(directory / "access"),
        format="$remote_addr",
        buffer=4096,
        flush=Duration(5),
        gzip=1,
        condition="$status",
    )
    return (
        Listener(
            listen=(Address(LOCAL, 6443), Address("::1", 6443)),
            socket=Binding(receive_buffer=65536, send_buffer=65536),
            pool="probed",
            assignments=(Assignment(variable="mine", value="$remote_addr"),),
            accept_proxy_protocol=True,
            trusted_proxies=("10.0.0.0/8",),
            access=("deny 10.0.0.1", "allow all"),
            limits=(Limit(key="$remote_addr", connections=10, zone="clients"),),
            idle_timeout=Duration(600),
            retry_timeout=Duration(1),
            access_logs=(log, AccessLog(syslog=syslog)),
        ),
        Listener(listen=(Address(LOCAL, 6444),), pool="found"),
        Listener(listen=(Address(LOCAL, 6445),), answer="$remote_addr"),
        Listener(listen=(Address(LOCAL, 6446),), pool="passive"),
    )


def _pools(files: Mapping[str, tuple[str, str]]) -> dict[str, Pool]:
    credentials: dict[str, Any] = {setting: files[setting][0] for setting in FILES}
    return {
        "probed": Pool(
            servers=tuple(Server(address=Address(LOCAL, port)) for port in (7001, 7002, 7003)),
            health=Health(expect=(200, 201), server_name="api", **credentials),
            rebalance=Rebalance(every=Duration(20), at_most=3),
        ),
        "found": Pool(
            servers=(
                Server(address=Address("api.test", 443)),
                Server(address=Address("srv.test", 0), service="https"),
            ),
            discovery=Discovery(source="dns", resolver=(Address(LOCAL, 53),), interval=Duration(45)),
            health=Health(probe="tcp"),
        ),
        "passive": Pool(
            servers=tuple(Server(address=Address(LOCAL, port)) for port in (7011, 7012)),
            balance="hash",
            health=PASSIVE,
        ),
        "named": Pool(
            servers=(Server(address=Address("localhost", 7031)),),
            discovery=Discovery(source="dns"),
            health=PASSIVE,
        ),
        "unused": Pool(
            servers=(Server(address=Address(LOCAL, 7021)),),
            health=Health(probe="tls", kubeconfig=files["kubeconfig"][0]),
        ),
    }


def _endpoints(directory: Path) -> tuple[HttpServer, ...]:
    log = AccessLog(file=str(directory / "requests"), format="$request", buffer=4096, flush=Duration(5), gzip=1)
    header = Header(name="Cache-Control", value="no-store")
    location = Location(
        path="/healthz",
        body="well",
        access=("allow all",),
        headers=(header,),
        keepalive_timeout=Duration(5),
        keepalive_requests=10,
        access_logs=(log,),
    )
    return (
        HttpServer(
            listen=(Address(LOCAL, 8080), Address(LOCAL, 8082)),
            server_names=("a.test",),
            default_on=(Address(LOCAL, 8080),),
            access=("allow all",),
            headers=(header,),
            access_logs=(log, AccessLog(syslog=Syslog(server=Address(LOCAL, 1514)))),
            locations=(location, Location(path="/status")),
        ),
        HttpServer(listen=(Address(LOCAL, 8083),), locations=(Location(path="/"),)),
    )
