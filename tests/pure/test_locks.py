"""The lock files agree with what setup.cfg and pyproject.toml ask for, and with each other."""

from __future__ import annotations

import configparser
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import tomli
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "packaging" / "lock"
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]


def _compile() -> ModuleType:
    """What ``make lock`` runs; it is in no package."""
    spec = importlib.util.spec_from_file_location("compile", LOCK / "compile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compiler = _compile()


def _setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup


def _asked() -> dict[str, list[str]]:
    """What each lock has to have."""
    by_extra: dict[str, list[str]] = compiler.requirements(_setup())
    asked = {lock: [line for extra in extras for line in by_extra[extra]] for lock, extras in compiler.EXTRAS.items()}
    asked["test"] = [line for lines in by_extra.values() for line in lines]
    asked["build"] = tomli.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    asked["compile"] = compiler.TOOLS
    return asked


def _entries(lock: str) -> list[str]:
    """One text for each package, with its hashes."""
    lines = (LOCK / f"{lock}.txt").read_text().splitlines()
    return re.split(r"\n(?! )", "\n".join(line for line in lines if not line.startswith("#")))


class Locked(NamedTuple):
    version: str
    hashes: str


def _locked(lock: str, python: str) -> dict[str, Locked]:
    """By name, for such a Python on Linux."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
    }
    locked: dict[str, Locked] = {}
    for entry in _entries(lock):
        first, _, hashes = entry.partition(" \\\n")
        one = Requirement(first)
        if one.marker is None or one.marker.evaluate(environment):
            assert one.name not in locked
            locked[canonicalize_name(one.name)] = Locked(str(one.specifier).removeprefix("=="), hashes)
    return locked


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", _asked())
def test_a_lock_has_what_is_asked_for(lock: str, python: str) -> None:
    locked = _locked(lock, python)
    for requirement in map(Requirement, _asked()[lock]):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)].version), requirement


def test_there_is_a_lock_for_everything_and_nothing_else() -> None:
    assert {file.stem for file in LOCK.glob("*.txt")} == _asked().keys()
    assert PYTHONS[0] == _setup()["options"]["python_requires"].removeprefix(">=")


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", [lock for lock in _asked() if lock != "test"])
def test_what_locks_share_is_the_same(lock: str, python: str) -> None:
    everything = _locked("test", python)
    for name, locked in _locked(lock, python).items():
        assert locked == everything.get(name, locked)


@pytest.mark.parametrize("lock", _asked())
def test_a_lock_has_hashes_and_says_nothing_of_where_from(lock: str) -> None:
    for entry in _entries(lock):
        first, *hashes = entry.split(" \\\n")
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; [\w <>=.'!()]+)?", first)
        assert hashes
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", one) for one in hashes)


NAMES = [
    "x-1.0-cp310-cp310-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "x-1.0-cp36-abi3-musllinux_1_2_aarch64.whl",
    "x-1.0-cp315-abi3.abi3t-manylinux_2_17_x86_64.whl",
    "x-1.0-py2.py3-none-any.whl",
    "x-1.0-1-py3-none-linux_armv6l.whl",
    "x-1.0-cp310-cp310-macosx_11_0_arm64.whl",
    "x-1.0-py3-none-win_amd64.whl",
    "x-1.0-pp311-pypy311_pp73-manylinux_2_17_x86_64.whl",
    "x-1.0-cp314-cp314-pyemscripten_2026_0_wasm32.whl",
]


def test_wheels_for_cpython_on_linux_are_taken() -> None:
    wheels = [compiler.wheel(name, name) for name in NAMES]
    assert [wheel.sha256 for wheel in compiler.installable(wheels)] == NAMES[:5]


@pytest.mark.parametrize(
    ("names", "taken"),
    [(NAMES[:5], NAMES[3:4]), (NAMES[:3], NAMES[1:3]), (NAMES[:1], NAMES[:1])],
    ids=["any", "abi3", "neither"],
)
def test_nodes_get_the_wheel_that_is_least_bound(names: list[str], taken: list[str]) -> None:
    wheels = [compiler.wheel(name, name) for name in names]
    assert [wheel.sha256 for wheel in compiler.portable(wheels)] == taken


def test_other_hashes_are_taken_out() -> None:
    lock = "# make lock\na==1 \\\n    --hash=sha256:0 \\\n    --hash=sha256:1\nb==2 \\\n    --hash=sha256:2\n"
    without = "# make lock\na==1 \\\n    --hash=sha256:0\nb==2 \\\n    --hash=sha256:2\n"
    assert compiler.only(lock, frozenset("02")) == without
    assert compiler.only(lock, frozenset("012")) == lock
