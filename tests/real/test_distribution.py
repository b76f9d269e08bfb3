"""What is built from a copy of the project: a wheel for who runs it, an sdist for who goes on from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kubelb import __version__

ROOT = Path(__file__).parents[2]
NAME = f"kubelb-{__version__}"
BUILT = ("build", "dist", "__pycache__", "*.egg-info", "PKG-INFO", ".*")
"""What is no source of ours, where git does not say it."""
DEADLINE = 250
"""Seconds that a command may take; all here write many files."""
pytestmark = pytest.mark.timeout(300)


def run(*command: str, directory: Path) -> str:
    """What it says. Nothing of this Python's packages but what pip and setuptools need, and no network."""
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources() -> set[str]:
    """The files of the project: those that git knows or would know; an sdist that was unpacked is one by itself."""
    if (ROOT / ".git").exists():
        asked = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        return {name for name in names if name and (ROOT / name).exists()}
    found = {file.relative_to(ROOT) for file in ROOT.rglob("*") if file.is_file()}
    kept = {file for file in found if file.parts[0] in (".ci", ".gitignore") or not any(map(_is_built, file.parts))}
    return {str(file) for file in kept}


def _is_built(part: str) -> bool:
    return any(Path(part).match(pattern) for pattern in BUILT)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy in which an earlier build has left a module that has gone since."""
    directory = tmp_path_factory.mktemp("tree")
    for name in sources():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, directory / name)
    left = directory / "build" / "lib" / "kubelb" / "gone.py"
    left.parent.mkdir(parents=True)
    left.touch()
    return directory


def wheel_of(tree: Path, directory: Path) -> Path:
    pip = (sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", str(directory), str(tree), directory=tree)
    (wheel,) = directory.iterdir()
    return wheel


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked."""
    directory = tmp_path_factory.mktemp("sdist")
    build = "import sys; sys.path.insert(0, 'packaging'); import backend; backend.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, str(directory), directory=tree)
    run("tar", "xzf", f"{NAME}.tar.gz", directory=directory)
    return directory / NAME


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_of(tree, tmp_path_factory.mktemp("wheel"))


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_kubelb_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"{NAME}-py3-none-any.whl"
    about = {name for name in contents(wheel) if name.startswith(f"{NAME}.dist-info/")}
    assert contents(wheel) - about == {name for name in sources() if name.startswith("kubelb/")}
    assert f"{NAME}.dist-info/licenses/LICENSE" in about


def test_the_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    run(
        sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(tmp_path), str(wheel), directory=tmp_path
    )
    for program in ("kubelb", "kubelb-nginx"):
        assert (tmp_path / "bin" / program).exists()
    said = run(sys.executable, "-c", "import kubelb.cli.app; print(kubelb.__file__)", directory=tmp_path)
    assert said == f"{tmp_path}/kubelb/__init__.py\n"
    assert run(sys.executable, "-m", "kubelb", "--version", directory=tmp_path).endswith(f" {__version__}\n")


def test_the_sdist_has_all_of_the_project(sdist: Path) -> None:
    found = {str(file.relative_to(sdist)) for file in sdist.rglob("*") if file.is_file()}
    assert {name for name in found if not name.startswith("kubelb.egg-info/")} == sources() | {"PKG-INFO"}


def test_the_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    assert contents(wheel_of(sdist, tmp_path)) == contents(wheel)


def test_the_sdists_own_tests_can_be_run(sdist: Path) -> None:
    """One file stands for all: the sdist has each of them."""
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/pure/test_locks.py")
    assert " passed" in run(*command, directory=sdist)
