"""Real nginx.conf files in: the corpus, includes, and files that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubelb.cli.convert import convert
from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.nginx.reader import files_of, read_nginx
from kubelb.config.nginx.syntax import NginxOptions
from kubelb.config.sources import Sources, load
from kubelb.config.toml.reader import read_toml
from kubelb.discovery.resolve import resolve
from tests.support.corpus import INVALID, VALID, expected_faults
from tests.support.users import as_nobody

_WORDS = [
    "stream",
    "events",
    "server",
    "upstream",
    "listen",
    "hash",
    "include",
    "a",
    "1",
    "$",
    "\\",
    '"',
    "'",
    "#",
    "\n",
]


@pytest.mark.parametrize("conf", VALID, ids=lambda path: path.stem)
def test_valid(conf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """``convert`` prints the file beside it, which means the same."""
    monkeypatch.chdir(conf.parent)
    assert convert(Sources(nginx_conf=conf.name)) == 0
    assert capsys.readouterr().out == conf.with_suffix(".toml").read_text()
    config = load(Sources(nginx_conf=conf.name)).config
    assert read_toml(str(conf.with_suffix(".toml"))).config == config
    assert resolve(config).version == 1


@pytest.mark.parametrize("conf", INVALID, ids=lambda path: path.stem)
def test_invalid(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The faults are the lines of the file beside it."""
    monkeypatch.chdir(conf.parent)
    with pytest.raises(ConfigFault) as caught:
        _load_and_resolve(conf.name)
    assert [str(fault) for fault in caught.value.faults] == expected_faults(conf)


def _load_and_resolve(name: str) -> None:
    loaded = load(Sources(nginx_conf=name))
    resolve(loaded.config, loaded.places)


def test_rkes_file_is_warned_of_only_where_it_asks_for_nginxs_own_ways() -> None:
    (conf,) = (path for path in VALID if path.stem == "rke")
    names = [warning.split(": ")[1] for warning in load(Sources(nginx_conf=str(conf))).warnings]
    assert names == ["multi_accept"]


def _faults(conf: Path) -> list[str]:
    with pytest.raises(ConfigFault) as caught:
        read_nginx(str(conf))
    return [str(fault) for fault in caught.value.faults]


def test_a_file_that_includes_itself(tmp_path: Path) -> None:
    conf = tmp_path / "a.conf"
    conf.write_text("events {}\nstream {\n  include b.conf;\n}\n")
    (tmp_path / "b.conf").write_text(f"\ninclude ../{tmp_path.name}/b.conf;\n")
    (fault,) = _faults(conf)
    assert fault.startswith(f"{tmp_path}/b.conf:2: include: ")
    assert fault.endswith('/b.conf" includes itself')


def test_included_folder(tmp_path: Path) -> None:
    conf = tmp_path / "a.conf"
    conf.write_text(f"events {{}}\ninclude {tmp_path};\n")
    assert _faults(conf) == [f'{conf}:2: include: "{tmp_path}" cannot be read: is a directory']


def test_includes_beyond_measure(tmp_path: Path) -> None:
    """Twenty files that each include the next one twice would be a million."""
    for i in range(20):
        (tmp_path / f"{i}").write_text(f"include {i + 1};\n" * 2 + "#" * 1000)
    (tmp_path / "20").write_text("")
    assert "larger than 1 MiB, with all files included" in _faults(tmp_path / "0")[0]


def test_includes_that_are_nested_beyond_measure(tmp_path: Path) -> None:
    for i in range(500):
        (tmp_path / f"{i}").write_text(f"include {i + 1};")
    assert _faults(tmp_path / "0") == [f"{tmp_path}/32:1: include: more than 32 files include each other"]


def test_blocks_beyond_measure(tmp_path: Path) -> None:
    conf = tmp_path / "a.conf"
    conf.write_text("a {" * 100_000 + "}" * 100_000)
    assert _faults(conf) == [f'{conf}:1: unexpected "{{"']


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.lists(st.sampled_from([*_WORDS, "{", "}", ";", " ", " "]), max_size=40).map("".join))
def test_nothing_but_a_fault_escapes(tmp_path: Path, text: str) -> None:
    conf = tmp_path / "a.conf"
    conf.write_text(text)
    faults: list[Fault] = []
    try:
        read_nginx(str(conf))
    except ConfigFault as error:
        faults += error.faults
    assert all("\n" not in str(fault) for fault in faults)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"\x00" * 100_000, 'too long parameter "' + "\x00" * 10 + '..." started'),
        (b"a" * 1_000_000, 'too long parameter "aaaaaaaaaa..." started'),
        (b'"' + b"a" * 1_000_000, 'too long parameter, probably missing terminating """ character'),
        (b"\\" * 1_000_000, 'too long parameter "' + "\\" * 10 + '..." started'),
        (b"#" * 1_000_000, 'too long parameter "##########..." started'),
        (b"a\x00b \xff;", "not UTF-8: byte 0xff"),
        (b"a;" * 500_000, "too many directives; the rest is left"),
        (b"user;" * 200_000, "too many faults; the rest is left"),
        (b";" * 1_000_000, 'unexpected ";"'),
        (b"}" * 1_000_000, 'unexpected "}"'),
        (b"events{" * 100_000, 'unexpected "{"'),
        (b"#\n" * 600_000, "larger than 1 MiB"),
    ],
    ids=range(12),
)
def test_hostile_texts(tmp_path: Path, text: bytes, what: str) -> None:
    """The last fault says where it was given up."""
    conf = tmp_path / "a.conf"
    conf.write_bytes(text)
    with pytest.raises(ConfigFault) as caught:
        read_nginx(str(conf))
    assert caught.value.faults[-1].what == what
    assert len(caught.value.faults) <= 101


def _fifo(folder: Path) -> str:
    path = folder / "fifo"
    os.mkfifo(path)
    return str(path)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (_fifo, "not a regular file"),
        (lambda _: "/dev/zero", "not a regular file"),
        (str, "is a directory"),
        (lambda folder: f"{folder}/nowhere", "no such file or directory"),
        (lambda folder: f"{folder}/a.conf/b", "not a directory"),
        (lambda folder: f"{folder}/{'x' * 999}", "path too long"),
    ],
)
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], str], what: str) -> None:
    path = make(tmp_path)
    conf = tmp_path / "a.conf"
    conf.write_text(f"\ninclude {path};\n")
    assert _faults(Path(path)) == [f"{path}: cannot be read: {what}"]
    assert _faults(conf) == [f'{conf}:2: include: "{path}" cannot be read: {what}']


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    conf = tmp_path / "a.conf"
    conf.touch(mode=0)
    with as_nobody():
        assert _faults(conf) == [f"{conf}: cannot be read: permission denied"]


def test_a_name_with_a_nul(tmp_path: Path) -> None:
    conf = tmp_path / "a.conf"
    conf.write_bytes(b"include a\x00b; include a\x00*;")
    (fault,) = _faults(conf)
    assert fault.startswith(f"{conf}:1: include: ")


def test_patterns(tmp_path: Path) -> None:
    """Sorted as bytes, as glob(3) sorts them; hidden files are not among them; none need be found."""
    for name in ("b.conf", "B.conf", "a.conf", "\xe4.conf", ".c.conf", "a.txt"):
        (tmp_path / name).write_text(f"load_module {name};")
    conf = tmp_path / "main"
    conf.write_text("include *.conf; include [xyz]?;")
    assert [Path(name).name for name in files_of(str(conf), NginxOptions())] == [
        "main", "B.conf", "a.conf", "b.conf", "\xe4.conf"
    ]  # fmt: skip


def test_the_command_line_comes_before_the_file(tmp_path: Path) -> None:
    conf = tmp_path / "a.conf"
    conf.write_text("user a;\n")
    with pytest.raises(ConfigFault) as caught:
        read_nginx(str(conf), NginxOptions(globals="frob; user b;"))
    assert [str(fault) for fault in caught.value.faults] == [
        "command line: frob: unknown directive",
        f"{conf}:1: user: directive is duplicate; write it once",
        f'{conf}: no "events" section in configuration; write events {{}}',
    ]
