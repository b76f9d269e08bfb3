"""``kubelb check`` and ``convert`` on real files: one line a fault, the exit status, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubelb.cli.check import check
from kubelb.cli.convert import convert
from kubelb.config.flags_reader import Flags
from kubelb.config.overrides import NO_OVERRIDES, Overrides
from kubelb.config.sources import Sources, load
from tests.support.users import as_nobody

_GOOD = """\
[[listener]]
listen = ["127.0.0.1:6443"]
pool = "a"

[pool.a]
servers = ["127.0.0.1:7443"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kubelb.toml"


def _refused(capsys: pytest.CaptureFixture[str], sources: Sources, overrides: Overrides = NO_OVERRIDES) -> list[str]:
    """What ``check`` says of a configuration that is wrong."""
    assert check(sources, overrides) == 1
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_ok(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(_GOOD)
    assert check(Sources(config=str(file))) == 0
    assert capsys.readouterr() == (f"{file}: ok\n", "")


def test_warnings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(_GOOD + '[pool.b]\nservers = ["127.0.0.1:1"]\n')
    assert check(Sources(config=str(file))) == 0
    warning = f'warning: {file}: pool "b": no listener sends sessions to it\n'
    assert capsys.readouterr() == (f"{file}: ok\n", warning)


@pytest.mark.parametrize(
    ("setting", "key", "why"),
    [
        ('proxy_protocol_timeout = "1s"', "proxy_protocol_timeout", "without accept_proxy_protocol"),
        ('trusted_proxies = ["10.0.0.0/8"]', "trusted_proxies", "without accept_proxy_protocol"),
        ("socket.keepalive_count = 3", "socket.keepalive_count", "without keepalive"),
    ],
)
def test_what_means_nothing_is_told(
    file: Path, capsys: pytest.CaptureFixture[str], setting: str, key: str, why: str
) -> None:
    file.write_text(_GOOD.replace("[[listener]]\n", f"[[listener]]\n{setting}\n"))
    assert check(Sources(config=str(file))) == 0
    warning = f"warning: {file}:2: listener[0].{key}: means nothing {why}\n"
    assert capsys.readouterr() == (f"{file}: ok\n", warning)
    file.write_text(
        file.read_text().replace(setting, f"{setting}\naccept_proxy_protocol = true\nsocket.keepalive = true\n")
    )
    assert check(Sources(config=str(file))) == 0
    assert capsys.readouterr() == (f"{file}: ok\n", "")


def test_servers_that_nobody_connects_to(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text('[[listener]]\nlisten = ["127.0.0.1:6443"]\nreturn = "no"\nconnect_timeout = "1s"\n')
    assert check(Sources(config=str(file))) == 0
    why = "means nothing with return: no server is connected to"
    assert capsys.readouterr().err == f"warning: {file}:4: listener[0].connect_timeout: {why}\n"


def test_an_admin_side_that_others_can_reach(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(_GOOD + '[admin]\nlisten = "0.0.0.0:8081"\n')
    assert check(Sources(config=str(file))) == 0
    out, err = capsys.readouterr()
    assert out == f"{file}: ok\n"
    (line,) = err.splitlines()
    assert line.startswith(f"warning: {file}:8: admin.listen: 0.0.0.0:8081 can be reached from other machines; ")


def test_an_admin_side_where_a_listener_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(_GOOD + '[admin]\nlisten = "127.0.0.1:6443"\n')
    (line,) = _refused(capsys, Sources(config=str(file)))
    assert line == (
        f"{file}:8: admin.listen: 127.0.0.1:6443 is taken: 127.0.0.1:6443 is listened on already; "
        "write each address once"
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (('pool = "a"', 'pol = "a"'), ':3: listener[0].pol: unknown key; did you mean "pool"?'),
        (('pool = "a"', "pool = 1"), ":3: listener[0].pool: not 1; write text in quotes"),
        (('["127.0.0.1:7443"]', "[]"), ":6: pool.a.servers: no servers; give at least one"),
        (
            ('"127.0.0.1:7443"', '"h:1",\n  "h:1"'),
            ":7: pool.a.servers[1].address: h:1 is in the pool already; write it once, with a weight",
        ),
        (
            (":7443", ":74430"),
            ':6: pool.a.servers[0]: port out of range in "127.0.0.1:74430"; a port is a number from 1 to 65535',
        ),
        (("127.0.0.1:7443", "no..host:1"), ':6: pool.a.servers[0]: "no..host" does not resolve: not a host name'),
    ],
)
def test_faults(file: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], fault: str) -> None:
    file.write_text(_GOOD.replace(*change))
    lines = _refused(capsys, Sources(config=str(file)))
    assert f"{file}{fault}" in lines
    assert all(line.startswith(f"{file}:") for line in lines)


def _both(path: Path) -> list[Sources]:
    return [Sources(config=str(path)), Sources(nginx_conf=str(path))]


@pytest.mark.usefixtures("root")
def test_a_user_nobody_here_knows(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(_GOOD + '[process]\nuser = "nobody-knows-this-one"\n')
    fault = f'{file}:8: process.user: getpwnam("nobody-knows-this-one") failed'
    assert _refused(capsys, Sources(config=str(file))) == [fault]


def test_missing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for sources in _both(file):
        assert _refused(capsys, sources) == [f"{file}: cannot be read: no such file or directory"]


def test_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for sources in _both(tmp_path):
        assert _refused(capsys, sources) == [f"{tmp_path}: cannot be read: is a directory"]


def test_not_readable(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(_GOOD)
    file.chmod(0)
    for sources in _both(file):
        with as_nobody():
            assert _refused(capsys, sources) == [f"{file}: cannot be read: permission denied"]


def test_not_utf8(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, sources in zip((b"# fine\n# caf\xe9\n", b"# fine\ncaf\xe9;\n"), _both(file), strict=True):
        file.write_bytes(text)
        assert _refused(capsys, sources) == [f"{file}:2: not UTF-8: byte 0xe9"]


def test_large(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(b"# 10 MB\n" * 1_250_000)
    for sources in _both(file):
        assert _refused(capsys, sources) == [f"{file}: larger than 1 MiB; give a configuration file"]


def test_endless(capsys: pytest.CaptureFixture[str]) -> None:
    for sources in _both(Path("/dev/zero")):
        assert _refused(capsys, sources) == ["/dev/zero: cannot be read: not a regular file"]


def test_a_fault_is_one_line_whatever_the_text_holds(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text('workers = "a\\nb\\u001b[2J"\n')
    lines = _refused(capsys, Sources(config=str(file)))
    assert lines == [f'{file}:1: workers: not "a\\nb\\x1b[2J"; write a whole number or "auto"']


_FLAGS = Flags(listen=("127.0.0.1:1",), server=("127.0.0.1:2",))


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (Sources(config="a", nginx_conf="b"), "--config and --nginx-conf"),
        (Sources(config="a", flags=_FLAGS), "--config and --listen"),
        (Sources(nginx_conf="b", flags=Flags(balance="hash")), "--nginx-conf and --balance"),
        (Sources(config="a", nginx_conf="b", flags=_FLAGS), "--config and --nginx-conf and --listen"),
    ],
)
def test_contradictory_sources(sources: Sources, names: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _refused(capsys, sources) == [f"{names} each give a whole configuration; choose one"]


def test_no_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert _refused(capsys, Sources()) == [
        "no configuration; give --config, --nginx-conf, --listen and --server, or CP_HOSTS in the environment"
    ]


def test_cp_hosts_counts_only_without_other_sources(capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"CP_HOSTS": "10.0.0.1"}
    assert check(Sources(environment=environment)) == 0
    assert check(Sources(environment=environment, flags=_FLAGS)) == 0
    assert capsys.readouterr().out == "CP_HOSTS: ok\ncommand line: ok\n"
    assert _refused(capsys, Sources(environment={"CP_HOSTS": ""})) == [
        "CP_HOSTS: entry 1 is empty; write hosts with commas between them"
    ]


def test_flags_override_a_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("workers = 0\n" + _GOOD)
    sources = Sources(config=str(file))
    assert _refused(capsys, sources) == [f"{file}:1: workers: 0 is too few; write 1 or more"]
    assert load(sources, Overrides(workers=3)).config.workers == 3
    assert _refused(capsys, sources, Overrides(workers=65)) == [
        "--workers: 65 workers with 1 relay thread each; at most 64 relay threads in all"
    ]


def test_convert(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("events { multi_accept on; }\nstream { server { listen 1; proxy_pass 127.0.0.1:2; } }\n")
    assert convert(Sources(nginx_conf=str(file))) == 0
    out, err = capsys.readouterr()
    assert 'listen = ["0.0.0.0:1"]\n' in out
    assert err == (f"warning: {file}:1: multi_accept: has no effect, kubelb's threads accept in their own way\n")
    file.write_text("events {}\n")
    assert convert(Sources(nginx_conf=str(file))) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{file}: nothing to do: no listener; ")
