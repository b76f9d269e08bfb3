"""``kubelb-nginx`` in nginx's place: it goes to the background, is told by its pid file, becomes the user."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
import trustme

import kubelb
from kubelb.cli import adminclient
from kubelb.cli.nginx import default_pid
from kubelb.snapshot import SocketAddress
from tests.support.eventually import eventually
from tests.support.identity import IdentityServers, ask, keep, leave, name_of
from tests.support.log import DEADLINE
from tests.support.proxy import reserved, started
from tests.support.requirements import missing

pytestmark = pytest.mark.usefixtures("no_leaks")

KUBELB_NGINX = str(Path(sys.executable).with_name("kubelb-nginx"))
RKE = Path(__file__).parent.parent / "corpus" / "nginx" / "valid" / "rke.conf"
# A runtime directory that is no other program's: an empty /run of its own, which goes with it.
OWN_RUN = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"]
_NOBODY = "nobody"
needs_root = pytest.mark.usefixtures("root")


def kubelb_nginx(*arguments: str, errors: Path | None = None) -> int:
    """The exit status. A daemon keeps standard error, so it goes to a file that nobody waits for the end of."""
    with (errors or Path(os.devnull)).open("ab") as stderr:
        return subprocess.run(
            [KUBELB_NGINX, *arguments], stdout=subprocess.DEVNULL, stderr=stderr, timeout=DEADLINE, check=False
        ).returncode


def _write(folder: Path, listen: SocketAddress, server: SocketAddress, main: str = "", events: str = "") -> Path:
    conf = folder / "nginx.conf"
    conf.write_text(
        f"pid nginx.pid;\n{main}\nevents {{ {events} }}\n"
        f"stream {{ server {{ listen {name_of(listen)}; proxy_pass {name_of(server)}; }} }}\n"
    )
    return conf


class _Daemon:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pid_file = folder / "nginx.pid"
        self.process = psutil.Process(int(self.pid_file.read_text()))

    def tell(self, word: str) -> int:
        return kubelb_nginx("-p", str(self.folder), "-c", "nginx.conf", "-s", word, errors=self.folder / "errors")

    def children(self, workers: int = 1) -> list[psutil.Process]:
        """Control and the workers, in the order of their start, once they all serve."""
        state = self.folder / "nginx.kubelb"
        eventually(lambda: len(self.process.children()) == workers + 1, "all children")
        adminclient.status(state, DEADLINE)
        return sorted(self.process.children(), key=lambda child: child.pid)

    def wait_end(self) -> None:
        gone, _ = psutil.wait_procs([self.process, *self.process.children()], DEADLINE)
        assert self.process in gone


@contextmanager
def _daemon(folder: Path, *arguments: str) -> Iterator[_Daemon]:
    """One on ``folder``/nginx.conf, as its pid file says; killed if it is still there in the end."""
    command = ["-p", str(folder), "-c", "nginx.conf", *arguments]
    code = kubelb_nginx(*command, errors=folder / "errors")
    assert code == 0, (folder / "errors").read_text()
    daemon = _Daemon(folder)
    try:
        yield daemon
    finally:
        if daemon.process.is_running():
            family = [daemon.process, *daemon.process.children()]
            for process in family:
                process.kill()
            psutil.wait_procs(family, DEADLINE)


@pytest.fixture
def listen() -> Iterator[SocketAddress]:
    with reserved() as address:
        yield address


@pytest.mark.parametrize("arguments", [["-c", "{}"], ["-c{}"]])
def test_it_runs_rkes_file(tmp_path: Path, arguments: Sequence[str]) -> None:
    if subprocess.run([*OWN_RUN, "true"], capture_output=True, check=False).returncode:
        missing("permission for a mount namespace")
    with IdentityServers(["127.0.0.1"]) as servers, reserved("0.0.0.0") as listening:
        text = RKE.read_text().replace("10.0.0.11:6443", name_of(servers.addresses[0]))
        text = text.replace("10.0.0.12:6443", "127.0.0.12:9").replace("10.0.0.13:6443", "127.0.0.13:9")
        file = tmp_path / "nginx.conf"
        file.write_text(text.replace(" 6443;", f" {listening[1]};"))
        words = [argument.format(file) for argument in arguments]
        command = [*OWN_RUN, KUBELB_NGINX, "-g", "daemon off;", *words]
        with started(command, Path("/run/kubelb")) as proxy:
            assert {ask(("127.0.0.1", listening[1])) for _ in range(6)} == {name_of(servers.addresses[0])}
            for path in ("kubelb/kubelb.pid", "nginx.pid"):
                assert Path(f"/proc/{proxy.pid}/root/run/{path}").read_text() == f"{proxy.pid}\n"


def test_it_goes_to_the_background_and_ends(
    tmp_path: Path, listen: SocketAddress, answering: list[SocketAddress]
) -> None:
    _write(tmp_path, listen, answering[0])
    with _daemon(tmp_path) as daemon:
        assert ask(listen) == name_of(answering[0])
        assert daemon.process.ppid() != os.getpid()
        assert os.getsid(daemon.process.pid) == daemon.process.pid
        assert adminclient.status(tmp_path / "nginx.kubelb", DEADLINE).pid == daemon.process.pid
        assert daemon.tell("stop") == 0
        daemon.wait_end()
        assert not daemon.pid_file.exists()
        assert daemon.tell("stop") == 1
        said = (tmp_path / "errors").read_text().splitlines()[-1]
        assert said == f'nginx: [error] open() "{daemon.pid_file}" failed (2: No such file or directory)'


def test_it_is_told_to_reload_and_to_quit(tmp_path: Path, listen: SocketAddress) -> None:
    with IdentityServers(["127.0.0.1", "127.0.0.2"], stay=True) as servers:
        first, second = servers.addresses
        _write(tmp_path, listen, first)
        with _daemon(tmp_path) as daemon:
            client, name = keep(listen)
            assert name == name_of(first)
            _write(tmp_path, listen, second)
            assert daemon.tell("reload") == 0
            eventually(lambda: ask(listen) == name_of(second), "the other server")
            assert daemon.tell("quit") == 0
            eventually(lambda: _refused(listen), "nobody is accepted")
            assert daemon.process.is_running()
            leave(client)
            daemon.wait_end()


def _refused(address: SocketAddress) -> bool:
    try:
        return not ask(address)
    except ConnectionRefusedError:
        return True


def test_it_is_told_to_reopen_its_log(tmp_path: Path, listen: SocketAddress, answering: list[SocketAddress]) -> None:
    _write(tmp_path, listen, answering[0])
    with _daemon(tmp_path, "-e", "error.log") as daemon:
        log, old = tmp_path / "error.log", tmp_path / "error.log.1"
        eventually(lambda: "started" in log.read_text(), "the log")
        assert Path(f"/proc/{daemon.process.pid}/fd/2").readlink() == log
        log.rename(old)
        assert daemon.tell("reopen") == 0
        eventually(log.exists, "a new log")
        assert daemon.tell("stop") == 0
        daemon.wait_end()
        assert "stopped" in log.read_text()
        assert "stopped" not in old.read_text()


def test_an_upgrade_goes_on_under_the_same_pid_file(tmp_path: Path, listen: SocketAddress) -> None:
    with IdentityServers(["127.0.0.1"], stay=True) as servers:
        _write(tmp_path, listen, servers.addresses[0])
        with _daemon(tmp_path) as daemon:
            client, _ = keep(listen)
            old = daemon.process
            old.send_signal(signal.SIGUSR2)
            eventually(lambda: daemon.pid_file.read_text() not in ("", f"{old.pid}\n"), "another pid")
            daemon.process = psutil.Process(int(daemon.pid_file.read_text()))
            psutil.wait_procs([old], DEADLINE)
            assert ask(listen) == name_of(servers.addresses[0])
            assert os.getsid(daemon.process.pid) != os.getsid(0)
            assert daemon.process.name() == "kubelb-nginx"
            assert daemon.tell("quit") == 0
            eventually(lambda: _refused(listen), "nobody is accepted")
            assert daemon.process.is_running()
            leave(client)
            daemon.wait_end()
            assert not daemon.pid_file.exists()


def test_what_is_wrong_is_said_before_it_goes_to_the_background(
    tmp_path: Path, listen: SocketAddress, answering: list[SocketAddress]
) -> None:
    _write(tmp_path, listen, answering[0])
    (tmp_path / "other").mkdir()
    _write(tmp_path / "other", listen, answering[1])
    with _daemon(tmp_path):
        errors = tmp_path / "other" / "errors"
        assert kubelb_nginx("-p", str(tmp_path / "other"), "-c", "nginx.conf", errors=errors) == 1
        assert f"cannot listen on {name_of(listen)}: address already in use" in errors.read_text()
        assert not (tmp_path / "other" / "nginx.pid").exists()
        assert ask(listen) == name_of(answering[0])


def test_a_pid_file_without_its_directory(
    tmp_path: Path, listen: SocketAddress, answering: list[SocketAddress]
) -> None:
    _write(tmp_path, listen, answering[0])
    pid_file, errors = tmp_path / "missing" / "nginx.pid", tmp_path / "errors"
    for arguments in (["-t"], []):
        given = ["-p", str(tmp_path), "-c", "other.conf", *arguments]
        (tmp_path / "other.conf").write_text(
            (tmp_path / "nginx.conf").read_text().replace("nginx.pid", str(pid_file))
        )
        assert kubelb_nginx(*given, errors=errors) == 1
        fault = f'nginx: [emerg] open() "{pid_file}" failed (2: No such file or directory)'
        assert any(line.startswith(fault) for line in errors.read_text().splitlines())
        assert not pid_file.parent.exists()
        errors.unlink()


def test_two_stand_side_by_side(tmp_path: Path, answering: list[SocketAddress]) -> None:
    with ExitStack() as stack:
        for number, server in enumerate(answering):
            address = stack.enter_context(reserved())
            folder = tmp_path / str(number)
            folder.mkdir()
            _write(folder, address, server)
            daemon = stack.enter_context(_daemon(folder))
            stack.callback(daemon.wait_end)
            stack.callback(daemon.tell, "stop")
            assert ask(address) == name_of(server)


def test_a_second_one_on_the_same_pid_file_is_refused(
    tmp_path: Path, listen: SocketAddress, answering: list[SocketAddress]
) -> None:
    _write(tmp_path, listen, answering[0])
    with _daemon(tmp_path) as daemon:
        assert kubelb_nginx("-p", str(tmp_path), "-c", "nginx.conf", errors=tmp_path / "errors") == 1
        assert (
            f"already runs on {tmp_path}/nginx.kubelb (pid {daemon.process.pid})" in (tmp_path / "errors").read_text()
        )
        assert daemon.pid_file.read_text() == f"{daemon.process.pid}\n"


@needs_root
def test_workers_and_control_become_the_user(
    tmp_path: Path, listen: SocketAddress, answering: list[SocketAddress]
) -> None:
    user = pwd.getpwnam(_NOBODY)
    _write(tmp_path, listen, answering[0], f"user {_NOBODY} daemon;\nworker_processes 2;")
    with _daemon(tmp_path) as daemon:
        children = daemon.children(workers=2)
        assert ask(listen) == name_of(answering[0])
        eventually(lambda: {child.uids().real for child in children} == {user.pw_uid}, "the user")
        for child in children:
            assert set(child.uids()) == {user.pw_uid}
            groups = Path(f"/proc/{child.pid}/status").read_text()
            assert "\nGid:\t1\t1\t1\t1\n" in groups
            assert "\nGroups:\t1 \n" in groups
        assert daemon.process.uids().real == 0
        assert adminclient.status(tmp_path / "nginx.kubelb", DEADLINE).pid == daemon.process.pid
        children[1].kill()
        eventually(lambda: children[1].pid not in psutil.pids() and ask(listen), "another in its place")
        eventually(lambda: {child.uids().real for child in daemon.children(2)} == {user.pw_uid}, "the same user")


@needs_root
def test_workers_have_their_cpus_and_priority(
    tmp_path: Path, listen: SocketAddress, answering: list[SocketAddress]
) -> None:
    first, *_, last = sorted(os.sched_getaffinity(0))
    masks = " ".join(f"1{'0' * cpu}" for cpu in (first, last))
    main = f"worker_processes 3;\nworker_cpu_affinity {masks};\nworker_priority 7;"
    _write(tmp_path, listen, answering[0], main)
    with _daemon(tmp_path) as daemon:
        control, *workers = daemon.children(workers=3)
        eventually(lambda: [worker.nice() for worker in workers] == [7, 7, 7], "the priority")
        cpus = [[first], [last], [last]]
        eventually(lambda: [worker.cpu_affinity() for worker in workers] == cpus, "the CPUs")
        assert control.nice() != 7


@needs_root
def test_a_user_nobody_here_knows(tmp_path: Path, listen: SocketAddress, answering: list[SocketAddress]) -> None:
    conf = _write(tmp_path, listen, answering[0], "user nobody-knows-this-one;")
    errors = tmp_path / "errors"
    for arguments in (["-t"], []):
        assert kubelb_nginx("-p", str(tmp_path), "-c", "nginx.conf", *arguments, errors=errors) == 1
        wanted = f'nginx: [emerg] "user": getpwnam("nobody-knows-this-one") failed in {conf}:2'
        assert wanted in errors.read_text().splitlines()
    assert not (tmp_path / "nginx.pid").exists()


@needs_root
def test_files_of_probes_are_the_users_to_read(
    tmp_path: Path, listen: SocketAddress, answering: list[SocketAddress], monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, listen, answering[0], f"user {_NOBODY} daemon;")
    authority = tmp_path / "ca.crt"
    trustme.CA().cert_pem.write_to_path(str(authority))
    authority.chmod(0o600)
    monkeypatch.setenv("KUBELB_HEALTH", "https")
    monkeypatch.setenv("KUBELB_HEALTH_CA", str(authority))
    errors = tmp_path / "errors"
    for arguments in (["-t"], []):
        assert kubelb_nginx("-p", str(tmp_path), "-c", "nginx.conf", *arguments, errors=errors) == 1
        said = errors.read_text().splitlines()[0]
        assert said.startswith(
            f'nginx: [emerg] "KUBELB_HEALTH_CA": "{authority}" cannot be read: permission denied as '
        )
        errors.unlink()


def test_it_says_its_version_where_nginx_does() -> None:
    run = subprocess.run([KUBELB_NGINX, "-V"], capture_output=True, text=True, check=True)
    version, _, configured = run.stderr.splitlines()
    assert (run.stdout, version) == ("", f"nginx version: kubelb/{kubelb.__version__}")
    assert "--conf-path=/etc/nginx/nginx.conf --error-log-path=stderr --pid-path=/run/nginx.pid" in configured


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_pid_file_that_is_anothers_by_then_stays(
    tmp_path: Path, listen: SocketAddress, answering: list[SocketAddress], number: signal.Signals
) -> None:
    _write(tmp_path, listen, answering[0])
    with _daemon(tmp_path) as daemon:
        daemon.pid_file.write_text("1\n")
        daemon.process.send_signal(number)
        daemon.wait_end()
        assert daemon.pid_file.read_text() == "1\n"


def test_each_prefix_has_a_pid_file_of_its_own(tmp_path: Path) -> None:
    """Of a file that names none, as if nginx had been built with that prefix: several run side by side."""
    with ExitStack() as stack:
        daemons: list[psutil.Process] = []
        for name in ("one", "two"):
            folder = tmp_path / name
            (folder / "logs").mkdir(parents=True)
            address = stack.enter_context(reserved())
            text = f'events {{}} stream {{ server {{ listen {name_of(address)}; return "{name}"; }} }}'
            (folder / "nginx.conf").write_text(text)
            errors = tmp_path / f"{name}.errors"
            assert kubelb_nginx("-p", str(folder), "-c", "nginx.conf", errors=errors) == 0, errors.read_text()
            daemons.append(psutil.Process(int((folder / "logs" / "nginx.pid").read_text())))
            stop = partial(kubelb_nginx, "-p", str(folder), "-c", "nginx.conf", "-s", "stop", errors=errors)
            stack.callback(stop)
        assert len({daemon.pid for daemon in daemons}) == 2
        assert all(daemon.is_running() for daemon in daemons)
    assert not psutil.wait_procs(daemons, DEADLINE)[1]


def test_the_machines_prefix_has_the_machines_pid_file() -> None:
    assert {default_pid(prefix) for prefix in ("/etc/nginx/", "/usr/share/nginx/")} == {"/run/nginx.pid"}
