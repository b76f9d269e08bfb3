"""``kubelb-nginx`` in nginx's place: the command lines of the installers' containers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import kubelb
from tests.support.identity import IdentityServers, ask, name_of
from tests.support.nginx import missing
from tests.support.proxy import DEADLINE, reserved, started

pytestmark = pytest.mark.usefixtures("no_leaks")

KUBELB_NGINX = str(Path(sys.executable).with_name("kubelb-nginx"))
RKE = Path(__file__).parent.parent / "corpus" / "nginx" / "valid" / "rke.conf"
INVALID = Path(__file__).parent.parent / "corpus" / "nginx" / "invalid" / "missing-brace.conf"
# A runtime directory that is no other program's: an empty /run of its own, which goes with it.
OWN_RUN = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"]


def kubelb_nginx(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([KUBELB_NGINX, *arguments], capture_output=True, text=True, timeout=DEADLINE, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "{}"],
        ["-c{}"],
        ["-g", "daemon off;", "-c", "{}"],
    ],
)
def test_it_runs_rkes_file(tmp_path: Path, arguments: Sequence[str]) -> None:
    if subprocess.run([*OWN_RUN, "true"], capture_output=True, check=False).returncode:
        missing("permission for a mount namespace")
    with IdentityServers(["127.0.0.1"]) as servers, reserved("0.0.0.0") as listen:
        text = RKE.read_text().replace("10.0.0.11:6443", name_of(servers.addresses[0]))
        text = text.replace("10.0.0.12:6443", "127.0.0.12:9").replace("10.0.0.13:6443", "127.0.0.13:9")
        file = tmp_path / "nginx.conf"
        file.write_text(text.replace(" 6443;", f" {listen[1]};"))
        command = [*OWN_RUN, KUBELB_NGINX, *(argument.format(file) for argument in arguments)]
        with started(command, Path("/run/kubelb")) as proxy:
            assert {ask(("127.0.0.1", listen[1])) for _ in range(6)} == {name_of(servers.addresses[0])}
            assert Path(f"/proc/{proxy.pid}/root/run/kubelb/kubelb.pid").read_text() == f"{proxy.pid}\n"


@pytest.mark.parametrize("option", ["-tc", "-qtc"])
def test_it_checks(option: str) -> None:
    run = kubelb_nginx(option, str(RKE))
    assert (run.returncode, run.stdout) == (0, "" if "q" in option else f"{RKE}: ok\n")
    assert all(line.startswith("warning: ") for line in run.stderr.splitlines())


def test_it_says_what_is_wrong_with_a_file() -> None:
    for arguments in (["-t", "-c", str(INVALID)], ["-c", str(INVALID)]):
        run = kubelb_nginx(*arguments)
        assert (run.returncode, run.stdout) == (1, "")
        assert run.stderr.startswith(f"{INVALID}:")
        assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["-v", "-V"])
def test_it_says_its_version_where_nginx_does(option: str) -> None:
    run = kubelb_nginx(option)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", f"kubelb version: kubelb/{kubelb.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-s", "reload"], 'option "-s" is not supported'),
        (["-x"], 'option "-x" is not supported'),
        (["-p", "/etc/nginx"], 'option "-p" is not supported'),
        (["-c"], 'option "-c" requires file name'),
        (["-g", "user root;"], 'option "-g" supports "daemon off;" only, not "user root;"'),
        (["nginx.conf"], 'invalid option: "nginx.conf"'),
    ],
)
def test_a_wrong_command_line(arguments: Sequence[str], words: str) -> None:
    run = kubelb_nginx(*arguments)
    assert (run.returncode, run.stdout) == (2, "")
    fault, usage = run.stderr.splitlines()
    assert fault == f"kubelb-nginx: {words}"
    assert usage.startswith("usage: kubelb-nginx ")
