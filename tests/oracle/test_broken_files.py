"""Broken nginx.conf files: what kubelb takes nginx takes, and what text kubelb calls broken nginx calls so too."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubelb.config.faults import ConfigFault
from kubelb.config.nginx.reader import files_of
from kubelb.config.nginx.syntax import NginxOptions
from kubelb.config.sources import Sources, load
from tests.support.corpus import VALID, takes_newer_nginx
from tests.support.nginx import STREAM_MODULE

_FILES = [path.read_bytes() for path in VALID if not takes_newer_nginx(path)]
_TEXTS = [text for text in _FILES if not re.search(rb"include|http {", text)]
"""Of http's directives that change nothing kubelb does not look at the values."""
_HEAD = f"load_module {STREAM_MODULE}; pid nginx.pid; ".encode()
_PIECES = [
    b";",
    b"{",
    b"}",
    b'"',
    b"'",
    b"\\",
    b"$",
    b"#",
    b"\n",
    b" ",
    b"on",
    b"\x00",
    b"0",
    b"\xff",
    b"server",
    b"x",
]
_MACHINES = re.compile(r"host not found|bind\(\)|socket\(\)|getpwnam|getgrnam|mkdir\(\)|open\(\)|dlopen|too late")
"""What nginx has to do with the machine, or refuses of an order of modules that kubelb has no part in."""
_LEAST_LINE = re.compile(r" in \S*/nginx\.conf:(\d+)$", re.MULTILINE)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """A file of the corpus with some of its bytes gone, doubled or replaced."""
    text = re.sub(rb"(?m)^(load_module|pid|error_log|user|access_log) .*$", b"", draw(st.sampled_from(_TEXTS)))
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 6)))
        text = text[:begin] + draw(st.sampled_from([b"", text[begin:end] * 2, *_PIECES])) + text[end:]
    return text[: draw(st.one_of(st.just(len(text)), st.integers(0, len(text))))]


def _nginx(nginx: str, conf: Path) -> subprocess.CompletedProcess[str]:
    command = [nginx, "-t", "-p", str(conf.parent), "-c", str(conf), "-e", str(conf.parent / "log")]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=250, deadline=None)
@given(_mutated())
def test_verdicts_agree_where_kubelb_claims_to(nginx: str, tmp_path: Path, text: bytes) -> None:
    conf = tmp_path / "nginx.conf"
    conf.write_bytes(_HEAD + text)
    broken = accepted = None
    try:
        files_of(str(conf), NginxOptions())
    except ConfigFault as error:
        broken = error.faults[0]
    else:
        accepted = _accepted(conf)
    tested = _nginx(nginx, conf)
    if broken is not None and not broken.what.startswith("not UTF-8"):
        assert tested.returncode == 1, (broken, tested.stderr)
        lines = [int(line) for line in _LEAST_LINE.findall(tested.stderr)]
        # nginx stops at the first thing that is wrong, of which the text may come later.
        assert broken.line is not None
        assert lines[0] <= broken.line, (broken, tested.stderr)
    elif accepted and tested.returncode:
        assert _MACHINES.search(tested.stderr), tested.stderr


def _accepted(conf: Path) -> bool:
    try:
        load(Sources(nginx_conf=str(conf)))
    except ConfigFault:
        return False
    return True


@pytest.mark.parametrize("length", [4094, 4095, 4096, 4097, 9000])
@pytest.mark.parametrize("form", ["#{}\n", "lock_file {};", "lock_file {} ;", 'lock_file "{}";', "lock_file '{}' ;"])
def test_lengths(nginx: str, tmp_path: Path, form: str, length: int) -> None:
    conf = tmp_path / "nginx.conf"
    conf.write_bytes(_HEAD + b"events {}\n" + form.format("x" * length).encode() + b"\n\n")
    said = None
    try:
        files_of(str(conf), NginxOptions())
    except ConfigFault as error:
        said = f"{error.faults[0].what} in {conf}:{error.faults[0].line}\n"
    tested = _nginx(nginx, conf)
    assert said in tested.stderr if said else tested.returncode == 0, tested.stderr
