"""``make lock``: writes the lock files beside this one from what setup.cfg and pyproject.toml ask for.

A lock names one version of each package, direct or not, for every Python from the floor on, with the hashes of the
files that may be installed. uv resolves; arguments go to it: ``--upgrade`` takes the newest versions, without it what
is locked stays as long as it fits. Runs with uv and tomli of ``compile.txt``.
"""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tomli

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXTRAS = {"run": ("", "kubeconfig"), "demo": ("", "demo"), "bench": ("", "demo", "bench")}
"""What is installed together, by lock; the extra without a name is kubelb itself. ``test`` takes every extra."""
TOOLS = ["uv>=0.9", "tomli>=2.0"]
"""What this command needs."""
_UV = (
    *(sys.executable, "-m", "uv", "pip", "compile", "--quiet"),
    *("--universal", "--only-binary", ":all:", "--generate-hashes"),
    *("--no-annotate", "--custom-compile-command", "make lock"),
)
_HASH = re.compile(r"--hash=sha256:(\w+)")


class Wheel(NamedTuple):
    """The file name's last three parts (packaging.python.org, Binary distribution format) and the file's hash."""

    python: str
    abi: str
    platform: str
    sha256: str


def wheel(name: str, sha256: str) -> Wheel:
    python, abi, platform = name.removesuffix(".whl").split("-")[-3:]
    return Wheel(python, abi, platform, sha256)


def installable(wheels: Iterable[Wheel]) -> list[Wheel]:
    """Those that CPython 3 on Linux can install; kubelb runs nowhere else."""
    return [
        wheel
        for wheel in wheels
        if re.search(r"\b(cp3|py3)", wheel.python) and (wheel.platform == "any" or "linux" in wheel.platform)
    ]


def portable(wheels: Sequence[Wheel]) -> Sequence[Wheel]:
    """Those that are bound to nothing, else those that are not bound to one minor version of Python, else all."""
    anywhere = [wheel for wheel in wheels if wheel.platform == "any"]
    return anywhere or [wheel for wheel in wheels if wheel.abi.startswith("abi3")] or wheels


def only(lock: str, allowed: frozenset[str]) -> str:
    """The lock without the hashes of other files."""
    kept = [line for line in lock.splitlines() if (found := _HASH.search(line)) is None or found[1] in allowed]
    return re.sub(r" \\\n(?! )", "\n", "\n".join(kept) + "\n")


def requirements(setup: configparser.ConfigParser) -> dict[str, list[str]]:
    """What setup.cfg asks for by extra; kubelb's own, which every lock has, have the name ``""``."""
    extras = {name: text.split("\n") for name, text in setup["options.extras_require"].items()}
    asked = {"": setup["options"]["install_requires"].split("\n"), **extras}
    return {name: [line.strip() for line in lines if line.strip()] for name, lines in asked.items()}


class Resolver(NamedTuple):
    """uv with what is the same for every lock."""

    floor: str
    """The oldest Python."""
    options: Sequence[str]

    def resolve(self, asked: Iterable[str], output: Path, *options: str) -> None:
        """Write ``output``, whose versions stay where they fit if it is there already."""
        command = [*_UV, "--python-version", self.floor, *self.options, *options, "--output-file", str(output), "-"]
        subprocess.run(command, input="\n".join(asked), text=True, check=True)

    def wheels(self, lock: Path) -> Iterator[tuple[str, Wheel]]:
        """The wheels of what is locked, each with its package."""
        with tempfile.TemporaryDirectory() as directory:
            output = Path(directory) / "pylock.toml"
            self.resolve(lock.read_text().splitlines(), output, "--offline", "--format", "pylock.toml")
            locked: Mapping[str, Any] = tomli.loads(output.read_text())
        for package in locked["packages"]:
            for file in package["wheels"]:
                yield package["name"], wheel(file["url"].rpartition("/")[2], file["hashes"]["sha256"])


def names(lock: Path) -> set[str]:
    """The packages of a lock."""
    return set(re.findall(r"^([\w.-]+)==", lock.read_text(), re.MULTILINE))


def reduce(locks: Iterable[Path], resolver: Resolver, shipped: set[str]) -> None:
    """Leave in the locks the hashes of wheels alone, and of what ships to nodes the most portable ones."""
    by_package: dict[str, list[Wheel]] = {}
    locks = list(locks)
    for lock in locks:
        for name, found in resolver.wheels(lock):
            by_package.setdefault(name, []).append(found)
    allowed: set[str] = set()
    for name, found_all in by_package.items():
        usable = installable(found_all)
        allowed.update(found.sha256 for found in (portable(usable) if name in shipped else usable))
    for lock in locks:
        lock.write_text(only(lock.read_text(), frozenset(allowed)))


def main() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    asked = requirements(setup)
    project = tomli.loads((ROOT / "pyproject.toml").read_text())
    resolver = Resolver(setup["options"]["python_requires"].removeprefix(">="), sys.argv[1:])
    everything = HERE / "test.txt"
    resolver.resolve((line for lines in asked.values() for line in lines), everything)
    locks = {name: HERE / f"{name}.txt" for name in ("build", "compile", *EXTRAS)}
    # The others have the same versions of what they share with it.
    same = ("--constraints", str(everything))
    resolver.resolve(project["build-system"]["requires"], locks["build"], *same)
    resolver.resolve(TOOLS, locks["compile"], *same)
    for name, extras in EXTRAS.items():
        # uv has just asked for all of that and keeps the answers.
        lines = [line for extra in extras for line in asked[extra]]
        resolver.resolve(lines, locks[name], "--offline", *same)
    reduce([everything, *locks.values()], resolver, names(locks["run"]))


if __name__ == "__main__":
    main()
