"""nginx and ``kubelb-nginx`` with the same command lines: the same exit codes, and the same words but for advice.

nginx gets an error log of its own, as with one its messages on standard error have the form that they have everywhere
(Debian's writes the error log there as well).
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.nginx import STREAM_MODULE

KUBELB_NGINX = str(Path(sys.executable).with_name("kubelb-nginx"))
_HEAD = f"load_module {STREAM_MODULE};\npid nginx.pid;\n"
_STREAM = "stream { server { listen 127.0.0.1:16443; proxy_pass 10.0.0.1:6443; } }\n"
_FILES = {
    "good": f"{_HEAD}events {{}}\n{_STREAM}",
    "included": f"{_HEAD}include parts/*.part;\ninclude parts/none*;\n{_STREAM}include good.part;\n",
    "parts/1.part": "events {}\n",
    "parts/2.part": "# nothing\n",
    "good.part": "daemon off;",
    "missing-include": f"{_HEAD}events {{}}\ninclude nowhere;\n{_STREAM}",
    "bad-include": f"{_HEAD}events {{}}\n{_STREAM}\ninclude bad.part;\n",
    "bad.part": "\n\ndaemon\n maybe;\n",
    "no-events": f"{_HEAD}{_STREAM}",
    "unknown": f"{_HEAD}events {{}}\nfrobnicate 1;\n{_STREAM}",
    "cut": f"{_HEAD}events {{}}\n\nstream {{\n\n",
    "empty-word": f"{_HEAD}events {{}}\n{_STREAM};",
    "elsewhere": f"{_HEAD}events {{}}\n{_STREAM.replace('127.0.0.1', '192.0.2.1')}",
    "no-pid-folder": f"load_module {STREAM_MODULE};\npid nowhere/nginx.pid;\nevents {{}}\n{_STREAM}",
    "few": f"{_HEAD}events {{ worker_connections 1; }}\n{_STREAM}",
    "user": f"{_HEAD}user nobody-knows-this-one;\nevents {{}}\n{_STREAM}",
    "group": f"{_HEAD}user root\n nobody-knows-this-one;\nevents {{}}\n{_STREAM}",
}

_USAGE = [
    ["x"],
    [""],
    ["-x"],
    ["--help"],
    ["-c"],
    ["-g"],
    ["-s"],
    ["-p"],
    ["-e"],
    ["-tqc"],
    ["-s", "foo"],
    ["-sfoo"],
    ["-s", ""],
    ["-tx"],
    ["-t", "x"],
]
_VERSIONS = [["-v"], ["-vq"], ["-vs", "stop"], ["-h"], ["-?"], ["-vh"]]
_TESTS = [
    *([option, "-c", name] for option in ("-t", "-tq", "-T") for name in ("good", "included", "unknown", "none")),
    *(["-t", "-c", name] for name in _FILES if "part" not in name),
    ["-tcgood"],
    ["-vtcgood"],
    ["-t", "-c", "parts"],
    ["-t", "-c", ""],
    ["-t", "-c", "good", "-s", "stop"],
    *(
        ["-t", "-c", "good", "-g", parameter]
        for parameter in (
            "",
            "daemon off;",
            "daemon off",
            "daemon off; daemon on;",
            "pid other;",
            "frobnicate;",
            "events {}",
            "}",
            "user root root;",
            'error_log "stderr;',
            "include parts/2.part;",
            "include bad.part;",
            "include none;",
            "worker_processes none;",
        )
    ),
]
_SIGNALS = [
    [],
    ["", "\n"],
    ["abc\n"],
    ["-5\n"],
    ["1 2\n"],
    ["999999999\n"],
    ["99999999999999999999999999\n"],
]


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30, check=False)


def _without_advice(line: str) -> str:
    """kubelb says in its own words what is wrong, and after a semicolon what would be right."""
    if match := re.fullmatch(r"nginx: \[(?:emerg|crit)\] (.*?)( in \S+:\d+| in command line)?", line):
        same = re.match(r"unexpected |unknown directive \S+\w\"|bind\(\) |.* directive is dup", match[1])
        return "[emerg] " + (match[1][: same.end()] if same else "...") + (match[2] or "")
    return line


def _said(run: subprocess.CompletedProcess[str]) -> tuple[int, str, list[str]]:
    """What is the same for both: not what kubelb accepts but warns of."""
    lines = [_without_advice(line) for line in run.stderr.splitlines() if not line.startswith("nginx: [warn]")]
    return run.returncode, run.stdout, lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "logs").mkdir()
    (folder / "parts").mkdir()
    for name, text in _FILES.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("arguments", _USAGE, ids=" ".join)
def test_wrong_command_lines(arguments: Sequence[str], nginx: str) -> None:
    ours, theirs = _run(KUBELB_NGINX, *arguments), _run(nginx, *arguments)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


@pytest.mark.parametrize("arguments", _VERSIONS, ids=" ".join)
def test_versions(arguments: Sequence[str], nginx: str) -> None:
    ours, theirs = _run(KUBELB_NGINX, *arguments), _run(nginx, *arguments)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
    told = re.sub(r"nginx/[\d.]+", "VERSION", theirs.stderr).replace("/usr/share/nginx/", "/etc/nginx/")
    assert re.sub(r"kubelb/[\d.]+", "VERSION", ours.stderr) == told


@pytest.mark.parametrize("arguments", _TESTS, ids=" ".join)
def test_checks(arguments: Sequence[str], folder: Path, nginx: str) -> None:
    more = ["-p", str(folder), "-e", str(folder / "error.log")]
    ours, theirs = _said(_run(KUBELB_NGINX, *more, *arguments)), _said(_run(nginx, *more, *arguments))
    if arguments[-1] in ("no-events", "few"):
        # These two nginx finds when it has found the syntax to be right.
        assert theirs[2].pop(0) == f"nginx: the configuration file {folder}/{arguments[-1]} syntax is ok"
        ours[2][0] = ours[2][0].partition(" in ")[0]
    assert re.sub(r"kubelb/[\d.]+", "VERSION", repr(ours)) == re.sub(r"nginx/[\d.]+", "VERSION", repr(theirs))


@pytest.mark.parametrize("lines", _SIGNALS, ids=repr)
def test_pid_files_that_tell_no_pid(lines: Sequence[str], folder: Path, nginx: str) -> None:
    pid_file = folder / "nginx.pid"
    pid_file.unlink(missing_ok=True)
    if lines:
        pid_file.write_text("".join(lines))
    for name in ("stop", "quit", "reload", "reopen"):
        arguments = ["-p", str(folder), "-e", str(folder / "error.log"), "-c", "good", "-s", name]
        ours, theirs = _run(KUBELB_NGINX, *arguments), _run(nginx, *arguments)
        assert _said(ours) == _said(theirs)
        assert ours.returncode == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["-tq", "-t", "-T", "good", "-c", "-cgood", "-g", "daemon off;", "-qh", "-q", "-v"])))
def test_any_order(folder: Path, nginx: str, words: list[str]) -> None:
    """Followed by what keeps it from running."""
    arguments = ["-p", str(folder), "-e", str(folder / "error.log"), "-c", "good", *words, "-tq"]
    ours, theirs = _run(KUBELB_NGINX, *arguments), _run(nginx, *arguments)
    assert ours.returncode == theirs.returncode
