"""A proxy that cannot start says why in one line and exits with 1, or 2 for a wrong command line; nothing is left."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import debian
from tests.support.eventually import eventually
from tests.support.identity import name_of
from tests.support.log import DEADLINE
from tests.support.mounts import apart
from tests.support.netns import Namespace, require_namespaces
from tests.support.proxy import KUBELB, a_proxy, gone, reserved, suspended
from tests.support.users import open_to_all

SERVER = ("--server", "127.0.0.1:9")
as_root = pytest.mark.usefixtures("root")


def kubelb(*arguments: str | Path, prepare: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(KUBELB), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        preexec_fn=prepare,
        check=False,
    )


def nobody() -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


@pytest.fixture
def runtime_dir(tmp_path: Path) -> Iterator[Path]:
    """One that anybody may use, and that has to be as empty in the end."""
    directory = tmp_path / "run"
    directory.mkdir()
    directory.chmod(0o777)
    open_to_all(directory)
    yield directory
    assert list(directory.iterdir()) == []


@pytest.fixture
def free() -> Iterator[str]:
    with reserved() as address:
        yield name_of(address)


def assert_fault(run: subprocess.CompletedProcess[str], line: str) -> None:
    assert (run.returncode, run.stdout, run.stderr) == (1, "", line + "\n")


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield name_of(holder.getsockname())


STOP_IT = "stop what listens there, or choose another address"


def own_name() -> str:
    return Path("/proc/self/comm").read_text().strip()


def assert_taken(run: subprocess.CompletedProcess[str], address: str) -> None:
    """It is tried several times, which is said, and then it is the fault; this process has it."""
    *tries, fault = run.stderr.splitlines()
    whose = f"by process {os.getpid()} ({own_name()})"
    told = f"cannot listen on {address}: address already in use {whose}; {STOP_IT}"
    assert (run.returncode, run.stdout, fault) == (1, "", told)
    assert [json.loads(line)["event"] for line in tries] == ["address_in_use"] * 4


def test_the_port_is_taken(runtime_dir: Path, taken: str) -> None:
    run = kubelb("run", "--runtime-dir", runtime_dir, "--listen", taken, *SERVER)
    assert_taken(run, taken)


@as_root
def test_the_port_is_taken_by_who_cannot_be_seen(runtime_dir: Path, taken: str) -> None:
    run = kubelb("run", "--runtime-dir", runtime_dir, "--listen", taken, *SERVER, prepare=nobody)
    fault = run.stderr.splitlines()[-1]
    cure = "stop what listens there (ss -ltnp shows it) or choose another address"
    assert fault == f"cannot listen on {taken}: address already in use; {cure}"


def test_the_port_is_taken_by_what_a_killed_kubelb_has_left(tmp_path: Path, runtime_dir: Path) -> None:
    """A worker that stands still does not notice that its supervisor is gone."""
    (tmp_path / "killed").mkdir()
    with a_proxy(tmp_path / "killed", [("127.0.0.1", 9)]) as proxy:
        address, workers = name_of(proxy.address), proxy.workers()
        with suspended(workers):
            proxy.process.kill()
            proxy.process.wait()
            run = kubelb("run", "--runtime-dir", runtime_dir, "--listen", address, *SERVER)
            pids = sorted(worker.pid for worker in workers)
            whose = " and ".join(f"process {pid} (left by a kubelb whose supervisor is gone)" for pid in pids)
            cure = f"end them: kill -9 {' '.join(map(str, pids))}"
            told = f"cannot listen on {address}: address already in use by {whose}; {cure}"
            assert run.stderr.splitlines()[-1] == told
        eventually(lambda: all(map(gone, workers)), "they notice it")


def test_the_second_port_is_taken(runtime_dir: Path, free: str, taken: str) -> None:
    run = kubelb("run", "--runtime-dir", runtime_dir, "--listen", free, "--listen", taken, *SERVER)
    assert_taken(run, taken)


def test_the_port_of_the_health_endpoint_is_taken(tmp_path: Path, runtime_dir: Path, free: str, taken: str) -> None:
    file = tmp_path / "kubelb.toml"
    file.write_text(f"""
        listener = [{{ listen = ["{free}"], pool = "a" }}]
        pool.a.servers = ["127.0.0.1:9"]
        http = [{{ listen = ["{taken}"], location = [{{ path = "/healthz" }}] }}]
    """)
    assert_taken(kubelb("run", "--runtime-dir", runtime_dir, "--config", file), taken)


def test_the_port_of_the_admin_side_is_taken(tmp_path: Path, runtime_dir: Path, free: str, taken: str) -> None:
    file = tmp_path / "kubelb.toml"
    file.write_text(f"""
        listener = [{{ listen = ["{free}"], pool = "a" }}]
        pool.a.servers = ["127.0.0.1:9"]
        admin.listen = "{taken}"
    """)
    assert_taken(kubelb("run", "--runtime-dir", runtime_dir, "--config", file), taken)


def test_no_address_of_this_machine(runtime_dir: Path) -> None:
    run = kubelb("run", "--runtime-dir", runtime_dir, "--listen", "192.0.2.1:6443", *SERVER)
    assert_fault(
        run,
        "cannot listen on 192.0.2.1:6443: cannot assign requested address; listen on an address of this machine",
    )


@as_root
@debian.IPROUTE2
def test_a_privileged_port(runtime_dir: Path) -> None:
    """In a network of its own, for a machine or a container may leave port 80 to everybody."""
    require_namespaces()
    with closing(Namespace()) as network, network.entered():
        run = kubelb("run", "--runtime-dir", runtime_dir, "--listen", "127.0.0.1:80", *SERVER, prepare=nobody)
    assert_fault(
        run, "cannot listen on 127.0.0.1:80: permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE"
    )


@as_root
def test_a_runtime_directory_of_somebody_else(runtime_dir: Path, free: str) -> None:
    runtime_dir.chmod(0o755)
    run = kubelb("run", "--runtime-dir", runtime_dir, "--listen", free, *SERVER, prepare=nobody)
    assert_fault(run, f"cannot use {runtime_dir}: permission denied; choose another --runtime-dir")
    run = kubelb("run", "--runtime-dir", runtime_dir / "new", "--listen", free, *SERVER, prepare=nobody)
    assert_fault(run, f"cannot use {runtime_dir}/new: permission denied; choose another --runtime-dir")


def test_a_runtime_directory_that_is_a_file(tmp_path: Path, free: str) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert_fault(
        kubelb("run", "--runtime-dir", file, "--listen", free, *SERVER),
        f"cannot use {file}: file exists; choose another --runtime-dir",
    )
    assert file.read_text() == "mine"


def test_a_runtime_directory_with_too_long_a_name(runtime_dir: Path, free: str) -> None:
    long = runtime_dir / ("x" * 300)
    run = kubelb("run", "--runtime-dir", long, "--listen", free, *SERVER)
    assert_fault(run, f"cannot use {long}: path too long; choose another --runtime-dir")


def test_something_else_in_the_place_of_the_admin_socket(runtime_dir: Path, free: str) -> None:
    (runtime_dir / "admin.sock").mkdir()
    run = kubelb("run", "--runtime-dir", runtime_dir, "--listen", free, *SERVER)
    assert_fault(run, f"cannot listen on {runtime_dir}/admin.sock: is a directory; choose another --runtime-dir")
    (runtime_dir / "admin.sock").rmdir()


@as_root
def test_a_full_runtime_directory(tmp_path: Path, free: str) -> None:
    runtime_dir = tmp_path / "full"
    runtime_dir.mkdir()
    fill = f"dd if=/dev/zero of={runtime_dir}/fill bs=4096 count=1 2>/dev/null"
    command = apart(f"mount -t tmpfs -o size=4k none {runtime_dir} && {fill}")
    arguments = ("run", "--runtime-dir", str(runtime_dir), "--listen", free, *SERVER)
    run = subprocess.run(
        [*command, str(KUBELB), *arguments], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert_fault(
        run,
        f"cannot write {runtime_dir}/kubelb.pid: no space left on device; "
        "make room there, or choose another --runtime-dir",
    )


def test_too_few_descriptors(runtime_dir: Path, free: str) -> None:
    run = kubelb(
        *("run", "--runtime-dir", runtime_dir, "--listen", free, *SERVER),
        prepare=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    )
    assert_fault(run, "only 64 files may be open; allow 128 or more (ulimit -n, LimitNOFILE=)")


def test_too_few_descriptors_wanted(tmp_path: Path, runtime_dir: Path, free: str) -> None:
    file = tmp_path / "kubelb.toml"
    file.write_text(f"""
        max_open_files = 100
        listener = [{{ listen = ["{free}"], pool = "a" }}]
        pool.a.servers = ["127.0.0.1:9"]
    """)
    run = kubelb("run", "--runtime-dir", runtime_dir, "--config", file)
    assert_fault(run, "only 100 files may be open; allow 128 or more (ulimit -n, LimitNOFILE=)")
