"""Real nginx.conf files in: the corpus, includes, and files that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubelb.cli.convert import convert
from kubelb.config.faults import ConfigFault, Fault
from kubelb.config.nginx_reader import read_nginx
from kubelb.config.sources import Sources, load
from kubelb.config.toml_reader import read_toml
from kubelb.discovery.resolve import resolve
from tests.support.corpus import INVALID, VALID, expected_faults

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
    assert names == ["multi_accept", "use", "worker_connections"]


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
