"""What root writes to, in a directory that another user has: whatever that user puts there, root's files are safe."""

from __future__ import annotations

import errno
import os
import pwd
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from kubelb.config.faults import ConfigFault
from kubelb.config.log_files import make_log_file
from kubelb.config.model.config import Process
from kubelb.config.model.logs import AccessLog, Log, LogTarget
from kubelb.config.values import Address
from kubelb.opening import open_to_append
from kubelb.reasons import ForeignLink
from kubelb.supervisor.listeners import listen, listen_unix, remove
from kubelb.supervisor.pidfile import PidFile
from kubelb.supervisor.secondpid import SecondPid
from tests.support.identity import IdentityServers, ask
from tests.support.proxy import Proxy, a_config, reserved, running
from tests.support.takeover import USER
from tests.support.typed import typed
from tests.support.users import open_to_all

pytestmark = pytest.mark.usefixtures("no_leaks", "root")

SECRET = "root alone may read this\n"


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A directory of the user's, beside a file of root's."""
    open_to_all(tmp_path)
    directory = tmp_path / "theirs"
    directory.mkdir()
    _give(directory)
    victim(directory).write_text(SECRET)
    victim(directory).chmod(0o600)
    return directory


def victim(theirs: Path) -> Path:
    return theirs.parent / "victim"


def _give(path: Path) -> None:
    user = pwd.getpwnam(USER)
    os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def link(at: Path, to: Path | str) -> None:
    """The user's own."""
    at.symlink_to(to)
    _give(at)


def append(path: Path, text: bytes = b"x") -> None:
    opened = open_to_append(str(path))
    try:
        os.write(opened.fd, text)
    finally:
        os.close(opened.fd)


def assert_untouched(theirs: Path) -> None:
    found = victim(theirs).stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)
    assert victim(theirs).read_text() == SECRET


# Links.


@pytest.mark.parametrize("to", ["../victim", "{absolute}", "other", "../ours", "nowhere", "loop", "../theirs/other"])
def test_a_link_of_another_users_is_not_followed(theirs: Path, to: str) -> None:
    link(theirs / "other", "../victim")
    link(theirs / "loop", "loop")
    (theirs.parent / "ours").symlink_to(theirs / "other")
    link(theirs / "log", to.format(absolute=victim(theirs)))
    with pytest.raises(ForeignLink):
        open_to_append(str(theirs / "log"))
    with pytest.raises(ForeignLink):
        open_to_append(str(theirs.parent / "ours"))
    assert_untouched(theirs)
    assert not (theirs / "nowhere").exists()


def test_nor_one_in_the_place_of_a_directory(theirs: Path) -> None:
    link(theirs / "logs", "..")
    for path in (theirs / "logs" / "victim", theirs / "logs" / "new", theirs / "logs" / "theirs" / "new"):
        with pytest.raises(ForeignLink):
            open_to_append(str(path))
    assert_untouched(theirs)
    assert not (theirs.parent / "new").exists()
    assert not (theirs / "new").exists()


@pytest.mark.parametrize("to", ["../logs/file", "{absolute}", "./../logs/./file", "link"])
def test_roots_own_are_followed(theirs: Path, to: str) -> None:
    logs = theirs.parent / "logs"
    logs.mkdir()
    (theirs / "link").symlink_to(logs / "file")
    (theirs / "log").symlink_to(to.format(absolute=logs / "file"))
    (theirs.parent / "way").symlink_to("theirs")
    append(theirs / "log", b"1")
    append(theirs.parent / "way" / "log", b"2")
    append(theirs.parent / "way" / ".." / "logs" / "file", b"3")
    assert (logs / "file").read_text() == "123"


def test_a_relative_path_begins_where_the_process_is(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(theirs)
    append(Path("file"))
    append(Path("./file"))
    append(Path("../theirs/file"))
    assert (theirs / "file").read_text() == "xxx"
    link(theirs / "log", "../victim")
    with pytest.raises(ForeignLink):
        append(Path("log"))


def test_what_goes_round_has_an_end(theirs: Path) -> None:
    (theirs.parent / "one").symlink_to("two")
    (theirs.parent / "two").symlink_to("one")
    for path in (f"{theirs.parent}/one/file", f"{theirs.parent}/two"):
        assert failure(path) == (errno.ELOOP, path)


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("missing/file", errno.ENOENT),
        ("victim/file", errno.ENOTDIR),
        ("theirs", errno.EISDIR),
        ("theirs/", errno.EISDIR),
        ("theirs/..", errno.EISDIR),
        ("x" * 300, errno.ENAMETOOLONG),
        ("sock", errno.ENXIO),
        ("fifo", errno.ENXIO),
    ],
)
def test_what_cannot_be_opened_is_told_as_ever(theirs: Path, path: str, number: int) -> None:
    os.mkfifo(theirs.parent / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(theirs.parent / "sock"))
        assert failure(f"{theirs.parent}/{path}") == (number, f"{theirs.parent}/{path}")


def failure(path: str) -> tuple[int | None, str]:
    try:
        os.close(open_to_append(path).fd)
    except OSError as error:
        return error.errno, error.filename
    return None, path


def test_an_empty_path_and_one_with_a_nul_are_none() -> None:
    with pytest.raises(FileNotFoundError):
        open_to_append("")
    with pytest.raises(ValueError):  # noqa: PT011 (Python's own)
        open_to_append("/tmp/\0")


@pytest.mark.parametrize("path", ["/dev/null", "/dev/fd/{fd}", "/proc/self/fd/{fd}", "/proc/{pid}/fd/{fd}", "{link}"])
def test_devices_and_descriptors_are_opened_by_their_names(theirs: Path, path: str) -> None:
    read, write = os.pipe()
    (theirs / "link").symlink_to(f"/proc/self/fd/{write}")
    append(Path(path.format(fd=write, pid=os.getpid(), link=theirs / "link")))
    os.close(write)
    with os.fdopen(read, "rb") as file:
        assert file.read() == (b"" if path == "/dev/null" else b"x")


def test_it_is_never_caught_between_two_looks(theirs: Path) -> None:
    """The user swaps file, link and directory as fast as it can; a link is never followed to where it leads."""
    (theirs / "sub").mkdir()
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            for change in (
                lambda: link(theirs / "new", "../victim"),
                lambda: (theirs / "new").rename(theirs / "log"),
                lambda: (theirs / "log").unlink(),
                lambda: (theirs / "sub").rename(theirs / "real"),
                lambda: link(theirs / "way", ".."),
                lambda: (theirs / "way").rename(theirs / "sub"),
                lambda: (theirs / "sub").unlink(),
                lambda: (theirs / "real").rename(theirs / "sub"),
            ):
                with suppress(OSError):
                    change()

    thread = threading.Thread(target=swap)
    thread.start()
    for _ in range(3000):
        for path in (theirs / "log", theirs / "sub" / "victim"):
            with suppress(OSError):
                append(path)
    ended.set()
    thread.join()
    assert_untouched(theirs)


# Whose a log becomes.


def made_for_user(path: Path) -> tuple[str | None, str]:
    return make_log_file(str(path), USER), path.owner()


def test_a_log_that_root_makes_is_the_users(theirs: Path) -> None:
    assert made_for_user(theirs / "new") == (None, USER)
    assert made_for_user(theirs.parent / "new") == (None, USER)


def test_so_is_one_that_nobody_else_can_have_put_there(theirs: Path) -> None:
    (theirs.parent / "old").touch()
    assert made_for_user(theirs.parent / "old") == (None, USER)


def test_one_that_the_user_may_have_had_from_elsewhere_stays_whose_it_is(theirs: Path) -> None:
    (theirs / "moved").write_text(SECRET)
    assert made_for_user(theirs / "moved") == (None, "root")
    (theirs / "sub").mkdir()
    (theirs / "sub" / "moved").write_text(SECRET)
    assert made_for_user(theirs / "sub" / "moved") == (None, "root")
    (theirs.parent / "another").hardlink_to(victim(theirs))
    assert made_for_user(theirs.parent / "another") == (None, "root")
    theirs.parent.chmod(0o777)
    (theirs.parent / "old").touch()
    assert made_for_user(theirs.parent / "old") == (None, "root")
    assert_untouched(theirs)


@pytest.mark.parametrize("way", ["file", "directory"])
@pytest.mark.parametrize("kind", ["events", "access"])
def test_logs_that_are_opened_anew_are_not_what_the_user_links_to(
    theirs: Path, servers: IdentityServers, kind: str, way: str
) -> None:
    logs = theirs / "logs"
    logs.mkdir()
    _give(logs)
    log = logs / victim(theirs).name
    with a_logging_proxy(theirs.parent, servers, **{kind: str(log)}) as proxy:
        assert ask(proxy.address)
        assert log.owner() == USER
        if way == "file":
            log.rename(logs / "before")
            link(log, "../../victim")
        else:
            logs.rename(theirs / "before")
            link(logs, "..")
        proxy.process.send_signal(signal.SIGUSR1)
        proxy.log.wait_for("log_not_reopened", file=str(log))
        assert ask(proxy.address)
    assert_untouched(theirs)


@contextmanager
def a_logging_proxy(
    directory: Path, servers: IdentityServers, events: str | None = None, access: str | None = None
) -> Iterator[Proxy]:
    """As root, with children that are the user's."""
    logs = () if access is None else (AccessLog(file=access),)
    with reserved() as listen:
        config = a_config(listen, servers.addresses, workers=1, process=Process(user=USER))
        listeners = tuple(msgspec.structs.replace(listener, access_logs=logs) for listener in config.listeners)
        log = Log(file=events, also=() if events is None else (LogTarget(),))
        config = msgspec.structs.replace(config, listeners=listeners, log=log)
        with running(directory, config=config) as proxy:
            yield proxy


def test_an_access_log_that_the_user_may_not_write_is_a_fault(theirs: Path) -> None:
    (theirs / "log").touch()
    file = theirs.parent / "kubelb.toml"
    access = f'[[listener.access_log]]\nfile = "{theirs}/log"\n'
    file.write_text(
        f'process.user = "{USER}"\n[[listener]]\nlisten = ["127.0.0.1:1"]\npool = "p"\n{access}'
        '[pool.p]\nservers = ["127.0.0.1:2"]\n'
    )
    code, _, said = typed("check", "--config", str(file))
    assert (code, said) == (
        1,
        f'{file}:6: listener[0].access_log[0].file: "{theirs}/log" cannot be opened: permission denied as nobody\n',
    )
    (theirs / "log").chmod(0o666)
    assert typed("check", "--config", str(file))[0] == 0
    (theirs / "log").unlink()
    link(theirs / "log", "../victim")
    code, _, said = typed("check", "--config", str(file))
    assert code == 1
    assert "cannot be opened: a symbolic link of another user's is not followed" in said
    assert_untouched(theirs)


# Pid files.


def test_a_pid_file_is_no_link_of_another_users(theirs: Path) -> None:
    link(theirs / "pid", "../victim")
    with pytest.raises(ConfigFault, match="symbolic link"):
        SecondPid(str(theirs / "pid")).write()
    assert_untouched(theirs)


def test_a_pid_file_is_no_other_name_of_a_file(theirs: Path) -> None:
    (theirs / "pid").hardlink_to(victim(theirs))
    with pytest.raises(ConfigFault, match="other names"):
        SecondPid(str(theirs / "pid")).write()
    assert_untouched(theirs)


def test_a_pid_file_that_is_a_pipe_keeps_nobody_waiting(theirs: Path) -> None:
    os.mkfifo(theirs / "pid")
    pid = SecondPid(str(theirs / "pid"))
    pid.write()
    pid.remove()
    assert (theirs / "pid").exists()


def test_a_pid_file_may_be_nowhere() -> None:
    pid = SecondPid("/dev/null")
    pid.write()
    pid.remove()
    assert Path("/dev/null").is_char_device()


def test_roots_own_link_to_a_pid_file_is_followed(theirs: Path) -> None:
    (theirs / "pid").symlink_to("real")
    pid = SecondPid(str(theirs / "pid"))
    pid.write()
    assert (theirs / "real").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("make", [Path.symlink_to, Path.hardlink_to], ids=["link", "other name"])
def test_the_runtime_directorys_pid_file_is_a_file_of_its_own(
    theirs: Path, make: Callable[[Path, Path], None]
) -> None:
    make(theirs / "kubelb.pid", victim(theirs))
    with pytest.raises(ConfigFault, match=r"kubelb\.pid|cannot use"):
        PidFile(theirs)
    assert_untouched(theirs)


def test_the_runtime_directorys_pid_file_is_no_pipe(theirs: Path) -> None:
    os.mkfifo(theirs / "kubelb.pid")
    with pytest.raises(ConfigFault, match=r"kubelb\.pid"):
        PidFile(theirs)


# Unix sockets.


def test_what_has_taken_a_sockets_place_stays(theirs: Path) -> None:
    """Whoever has its directory may have moved a file there."""
    path = theirs / "sock"
    sock = listen(Address(f"unix:{path}", 0))
    path.rename(theirs / "moved")
    victim(theirs).rename(path)
    remove(path)
    path.rename(victim(theirs))
    sock.close()
    assert_untouched(theirs)


def test_a_link_is_no_stale_socket(theirs: Path) -> None:
    path = theirs / "sock"
    listen(Address(f"unix:{theirs.parent}/stale", 0)).close()
    link(path, "../stale")
    with pytest.raises(ConfigFault, match="address already in use"):
        listen(Address(f"unix:{path}", 0))
    assert (theirs.parent / "stale").is_socket()


def test_admin_sock_takes_a_links_place_and_nothing_elses(theirs: Path) -> None:
    link(theirs / "admin.sock", "../victim")
    sock = listen_unix(theirs / "admin.sock")
    assert stat.S_IMODE((theirs / "admin.sock").lstat().st_mode) == 0o600
    assert (theirs / "admin.sock").owner() == "root"
    sock.close()
    assert_untouched(theirs)
