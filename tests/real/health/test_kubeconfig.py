"""Probes with the CA and credentials of a kubeconfig, at servers that tell strangers nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kubelb.config.model.pools import Health
from kubelb.health.probes import Outcome, Prober, Result
from tests.real.health.guarded import ApiServer, Authority, data, replace, write
from tests.real.health.rig import WebServer, finish

pytestmark = pytest.mark.usefixtures("no_leaks")

PASSED = Result(Outcome.PASSED, "/readyz: 200")
STRANGER = Result(Outcome.NOT_TOLD, "/readyz: 401")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("other"))


@pytest.fixture
def server(authority: Authority) -> Iterator[ApiServer]:
    server = ApiServer(authority)
    with server:
        yield server


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files are named from here: a longer name would not leave room for what is wrong."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def probing(server: WebServer, health: Health, host: str = "127.0.0.1") -> Iterator[Prober]:
    prober = Prober(server.address, host, health)
    try:
        yield prober
    finally:
        prober.close()


def once(server: WebServer, health: Health, host: str = "127.0.0.1") -> Result:
    with probing(server, health, host) as prober:
        return finish(prober.begin())


def test_who_shows_nothing_is_not_told(authority: Authority, server: ApiServer, here: Path) -> None:
    health = write(here / "k", {"certificate-authority-data": data(authority.pem)}, {})
    assert once(server, health) == STRANGER


def test_a_certificate_in_the_file(authority: Authority, server: ApiServer, here: Path) -> None:
    cert, key = authority.node("node-1")
    user = {"client-certificate-data": data(cert), "client-key-data": data(key)}
    assert once(server, write(here / "k", {"certificate-authority-data": data(authority.pem)}, user)) == PASSED
    assert server.seen == ["node-1"]


def test_a_certificate_in_files_beside_it(authority: Authority, server: ApiServer, here: Path) -> None:
    pki = here / "etc" / "pki"
    pki.mkdir(parents=True)
    cert, key = authority.node("node-1")
    for name, pem in (("ca.crt", authority.pem), ("c.crt", cert), ("c.key", key)):
        (pki / name).write_bytes(pem)
    user = {"client-certificate": "pki/c.crt", "client-key": str(pki / "c.key")}
    assert once(server, write(here / "etc" / "k", {"certificate-authority": "pki/ca.crt"}, user)) == PASSED
    assert server.seen == ["node-1"]


def test_half_in_the_file_and_half_beside_it(authority: Authority, server: ApiServer, here: Path) -> None:
    cert, key = authority.node("node-1")
    (here / "c.crt").write_bytes(cert)
    user = {"client-certificate": "c.crt", "client-key-data": data(key)}
    assert once(server, write(here / "k", {"certificate-authority-data": data(authority.pem)}, user)) == PASSED


def test_a_token_in_the_file_and_one_beside_it(authority: Authority, server: ApiServer, here: Path) -> None:
    server.token = "abc"
    cluster = {"certificate-authority-data": data(authority.pem)}
    assert once(server, write(here / "k", cluster, {"token": "abc"})) == PASSED
    assert once(server, write(here / "k", cluster, {"token": "abd"})) == STRANGER
    (here / "token").write_text("abc\n")
    health = write(here / "k", cluster, {"token": "old", "tokenFile": "token"})
    with probing(server, health) as prober:
        assert finish(prober.begin()) == PASSED
        server.token = "def"
        assert finish(prober.begin()) == STRANGER
        replace(here / "token", b"def")
        assert finish(prober.begin()) == PASSED
    assert server.accepted == 3


def test_a_kubelets_certificate_is_renewed_behind_its_link(
    authority: Authority, server: ApiServer, here: Path
) -> None:
    """The link has another target then, or its target is another file, and nothing else has changed; a connection of
    before is not used again."""
    current = here / "kubelet-client-current.pem"
    for name in ("node-1", "node-2", "node-3"):
        (here / f"{name}.pem").write_bytes(b"".join(authority.node(name)))
    current.symlink_to("node-1.pem")
    user = {"client-certificate": current.name, "client-key": current.name}
    health = write(here / "k", {"certificate-authority-data": data(authority.pem)}, user)
    with probing(server, health) as prober:
        for _ in range(2):
            assert finish(prober.begin()) == PASSED
        new = here / "new"
        new.symlink_to("node-2.pem")
        new.rename(current)
        for _ in range(2):
            assert finish(prober.begin()) == PASSED
        (here / "node-3.pem").rename(here / "node-2.pem")
        assert finish(prober.begin()) == PASSED
    assert server.seen == ["node-1", "node-1", "node-2", "node-2", "node-3"]
    assert server.handshakes == 3


def test_the_kubeconfig_itself_is_written_anew(authority: Authority, server: ApiServer, here: Path) -> None:
    """As at the start of a node, when the kubelet has its first certificate."""
    file = here / "k"
    cluster = {"certificate-authority-data": data(authority.pem)}
    cert, key = authority.node("node-1")
    with probing(server, Health(kubeconfig="k")) as prober:
        missing = Result(Outcome.NOT_ASKED, "own file k: cannot be read: no such file or directory")
        assert finish(prober.begin()) == missing
        write(file, cluster, {})
        assert finish(prober.begin()) == STRANGER
        write(file, cluster, {"client-certificate-data": data(cert), "client-key-data": data(key)})
        assert finish(prober.begin()) == PASSED
        file.write_text("current-")
        unreadable = finish(prober.begin())
        assert unreadable.outcome is Outcome.NOT_ASKED
        write(file, cluster, {"client-certificate-data": data(cert), "client-key-data": data(key)})
        assert finish(prober.begin()) == PASSED


def test_nothing_has_changed_where_the_same_is_written_anew(
    authority: Authority, server: ApiServer, here: Path
) -> None:
    cluster = {"certificate-authority-data": data(authority.pem)}
    with probing(server, write(here / "k", cluster, {})) as prober:
        for _ in range(3):
            assert finish(prober.begin()) == STRANGER
            write(here / "k", cluster, {})
    assert server.handshakes == 1


def test_servers_of_another_cluster_get_nothing(
    authority: Authority, other: Authority, server: ApiServer, here: Path
) -> None:
    cluster = {"certificate-authority-data": data(other.pem)}
    result = once(server, write(here / "k", cluster, {"token": "abc"}))
    assert result == Result(Outcome.BROKEN, "TLS: the certificate is from an unknown authority, which is self-signed")
    assert server.requests == []
    # An authority of its own goes before that of the kubeconfig.
    (here / "ca.crt").write_bytes(authority.pem)
    health = msgspec.structs.replace(Health(kubeconfig="k"), ca_file="ca.crt")
    assert once(server, health) == STRANGER


def test_a_name_for_all_servers(authority: Authority, server: ApiServer, here: Path) -> None:
    cluster = {"certificate-authority-data": data(authority.pem)}
    health = write(here / "k", cluster, {})
    wrong = Result(Outcome.BROKEN, "TLS: the certificate is not for api.example")
    assert once(server, health, "api.example") == wrong
    write(here / "k", {**cluster, "tls-server-name": "kubernetes"}, {})
    assert once(server, health, "api.example") == STRANGER
    assert "Host: kubernetes" in server.requests[-1].split("\r\n")
    named = msgspec.structs.replace(health, server_name="api.example")
    assert once(server, named, "127.0.0.1") == wrong


@pytest.mark.parametrize(
    ("cluster", "user", "why"),
    [
        ({}, {}, "no certificate-authority to verify servers by"),
        (
            {"certificate-authority-data": "Y2E=", "insecure-skip-tls-verify": True},
            {},
            "insecure-skip-tls-verify: no credentials for a server that nobody verifies",
        ),
        ({"certificate-authority": "x"}, {}, "no such file or directory"),
        ({"certificate-authority-data": "Y2E="}, {}, "no certificates in it"),
        (
            {"certificate-authority-data": "Y2E="},
            {"exec": {"command": "aws"}},
            'user "u" gets its credentials from a program (exec), which probes do not run',
        ),
    ],
)
def test_what_will_not_do_says_nothing_about_the_server(
    server: ApiServer, here: Path, cluster: dict[str, Any], user: dict[str, Any], why: str
) -> None:
    result = once(server, write(Path("k"), cluster, user))
    assert result.outcome is Outcome.NOT_ASKED
    assert result.reason.startswith("own file ")
    assert result.reason.endswith(why)
    assert server.accepted == 0


def test_what_is_no_file_is_not_waited_for(server: ApiServer, here: Path) -> None:
    os.mkfifo(here / "k")
    result = once(server, Health(kubeconfig="k"))
    assert result == Result(Outcome.NOT_ASKED, "own file k: cannot be read: not a regular file")


def test_a_key_in_the_file_is_never_written_to_a_disk(
    authority: Authority, server: ApiServer, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no place for files it works all the same, and nothing is left open."""
    monkeypatch.setenv("TMPDIR", str(here / "nowhere"))
    cert, key = authority.node("node-1")
    user = {"client-certificate-data": data(cert), "client-key-data": data(key)}
    health = write(here / "k", {"certificate-authority-data": data(authority.pem)}, user)
    assert once(server, health) == PASSED
    assert sorted(path.name for path in here.iterdir()) == ["k"]
