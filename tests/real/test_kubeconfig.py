"""``--kubeconfig``: a proxy whose servers tell strangers nothing, and ``kubelb check`` on what will not do."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubelb.cli import adminclient
from kubelb.cli.adminclient import AdminFault
from kubelb.cli.check import check
from kubelb.config.overrides import Overrides
from kubelb.config.sources import Sources
from tests.real.health.guarded import ApiServer, Authority, data, write
from tests.support.eventually import eventually
from tests.support.identity import name_of
from tests.support.proxy import reserved, running
from tests.support.takeover import USER
from tests.support.users import open_to_all

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority) -> Iterator[ApiServer]:
    server = ApiServer(authority)
    with server:
        yield server


@pytest.fixture
def kubeconfig(authority: Authority, tmp_path: Path) -> Path:
    """As a node's kubelet has one."""
    cert, key = authority.node("node-1")
    (tmp_path / "current.pem").write_bytes(cert + key)
    file = tmp_path / "kubelet.conf"
    user = {"client-certificate": "current.pem", "client-key": "current.pem"}
    write(file, {"certificate-authority-data": data(authority.pem)}, user)
    return file


def nginx_conf(directory: Path, listen: str, server: str) -> Path:
    file = directory / "nginx.conf"
    file.write_text(f"""\
events {{}}
stream {{
    upstream kube_apiserver {{ server {server}; }}
    server {{ listen {listen}; proxy_pass kube_apiserver; }}
}}
""")
    return file


@pytest.mark.parametrize("by", ["flag", "variable", "file"])
def test_readiness_is_seen_where_strangers_are_told_nothing(
    server: ApiServer, kubeconfig: Path, tmp_path: Path, by: str
) -> None:
    """Beside an nginx.conf nothing else has to be said for servers to be probed."""
    with reserved() as listen:
        file = nginx_conf(tmp_path, name_of(listen), name_of(server.address))
        arguments = ["--nginx-conf", str(file)]
        environment = {}
        if by == "flag":
            arguments += ["--kubeconfig", str(kubeconfig)]
        elif by == "variable":
            environment["KUBELB_KUBECONFIG"] = str(kubeconfig)
        else:
            toml = tmp_path / "kubelb.toml"
            toml.write_text(
                f'[[listener]]\nlisten = ["{name_of(listen)}"]\npool = "a"\n'
                f'[pool.a]\nservers = ["{name_of(server.address)}"]\n[pool.a.health]\nkubeconfig = "{kubeconfig}"\n'
            )
            arguments = ["--config", str(toml)]
        with running(tmp_path, *arguments, environment=environment) as proxy:
            eventually(lambda: proxy.servers()[0].state == "up", "it has passed")
            assert proxy.servers()[0].reason == "/readyz: 200"
    assert set(server.seen) == {"node-1"}


@pytest.mark.usefixtures("root")
def test_one_that_holds_everything_serves_whoever_gives_root_up(
    authority: Authority, server: ApiServer, tmp_path: Path
) -> None:
    """Its certificate and key are given to OpenSSL by a process that may not even look at itself in /proc."""
    cert, key = authority.node("node-1")
    kubeconfig = tmp_path / "k"
    user = {"client-certificate-data": data(cert), "client-key-data": data(key)}
    write(kubeconfig, {"certificate-authority-data": data(authority.pem)}, user)
    open_to_all(tmp_path)
    kubeconfig.chmod(0o644)
    with reserved() as listen:
        file = nginx_conf(tmp_path, name_of(listen), name_of(server.address))
        file.write_text(f"user {USER} {grp.getgrgid(pwd.getpwnam(USER).pw_gid).gr_name};\n{file.read_text()}")
        with running(tmp_path, "--nginx-conf", str(file), "--kubeconfig", str(kubeconfig)) as proxy:
            eventually(lambda: proxy.servers()[0].reason == "/readyz: 200", "it has passed")
            assert proxy.control().username() == USER
            kubeconfig.chmod(0o600)
            with pytest.raises(AdminFault, match=f"permission denied as {USER}"):
                adminclient.reload(proxy.runtime_dir)


def test_without_one_it_is_only_alive(server: ApiServer, tmp_path: Path) -> None:
    with reserved() as listen:
        file = nginx_conf(tmp_path, name_of(listen), name_of(server.address))
        with running(tmp_path, "--nginx-conf", str(file), "--health", "https") as proxy:
            eventually(lambda: proxy.servers()[0].state == "up", "it has answered")
            assert proxy.servers()[0].reason == "/readyz: 401"


def faults(directory: Path, overrides: Overrides, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What ``kubelb check`` has to say against a proxy by nginx.conf with these."""
    file = nginx_conf(directory, "127.0.0.1:6443", "127.0.0.1:7443")
    status = check(Sources(nginx_conf=str(file)), overrides)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert status == bool(lines)
    assert bool(out) == (not lines)
    return lines


def test_a_good_one(kubeconfig: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert faults(tmp_path, Overrides(kubeconfig=str(kubeconfig)), capsys) == []


@pytest.mark.parametrize(
    ("cluster", "user", "what"),
    [
        (
            {},
            {"exec": {"command": "aws"}},
            ': user "u" gets its credentials from a program (exec), which probes do not run; '
            "write cert_file and key_file, or token_file, and ca_file in its place",
        ),
        ({"certificate-authority": None}, {}, ": no certificate-authority to verify servers by; {ca}"),
        (
            {"insecure-skip-tls-verify": True},
            {},
            ": insecure-skip-tls-verify: no credentials for a server that nobody verifies; {ca}",
        ),
        (
            {"certificate-authority": "none"},
            {},
            ': certificate-authority "{here}/none" cannot be read: no such file or directory',
        ),
        ({"certificate-authority-data": "Y2E="}, {}, ": certificate-authority is not a PEM certificate"),
        ({}, {"tokenFile": "none"}, ': tokenFile "{here}/none" cannot be read: no such file or directory'),
        ({}, {"tokenFile": "ca.crt"}, ': tokenFile "{here}/ca.crt" holds no token'),
        (
            {},
            {"client-certificate": "ca.crt", "client-key": "ca.crt"},
            ': client-key "{here}/ca.crt" holds no private key in PEM form',
        ),
        (
            {},
            {"client-certificate": "one.pem", "client-key": "other.pem"},
            ': client-key "{here}/other.pem" holds a key that does not match the certificate',
        ),
        (
            {},
            {"client-certificate": "one.pem", "client-key-data": "eA=="},
            ": client-key holds no private key in PEM form",
        ),
    ],
)
def test_one_that_will_not_do(
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    cluster: dict[str, Any],
    user: dict[str, Any],
    what: str,
) -> None:
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    for name in ("one", "other"):
        (tmp_path / f"{name}.pem").write_bytes(b"".join(authority.node(name)))
    file = tmp_path / "k"
    write(file, {"certificate-authority": "ca.crt", **cluster}, user)
    right = what.format(here=tmp_path, ca="write ca_file too, or --health-ca") if "{" in what else what
    assert faults(tmp_path, Overrides(kubeconfig=str(file)), capsys) == [f'--kubeconfig: "{file}"{right}']


def test_one_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert faults(tmp_path, Overrides(kubeconfig="/nowhere"), capsys) == [
        '--kubeconfig: "/nowhere" cannot be read: no such file or directory'
    ]


def test_an_authority_of_its_own_goes_before_it(
    authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    write(tmp_path / "k", {"insecure-skip-tls-verify": True}, {"token": "abc"})
    overrides = Overrides(kubeconfig=str(tmp_path / "k"), health_ca=str(tmp_path / "ca.crt"))
    assert faults(tmp_path, overrides, capsys) == []
