"""Which modules are changed, which tests have to notice that, and which changes make no difference."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import tomli

ROOT = Path(__file__).parents[2]
_CODE, _TESTS = ROOT / "kubelb", ROOT / "tests/pure"
_EQUIVALENT = Path(__file__).with_name("equivalent.toml")

HELD = (
    "balance",
    "health/http",
    "health/machine",
    "health/schedule",
    "relay/flow",
    "supervisor/plan",
    "control/decide",
    "worker/dialplan",
)
"""The modules and folders that decide where clients go: of the changes of each, most have to be noticed."""

Equivalents = Mapping[str, Mapping[str, str]]
"""For each module, the changes that make no difference to anybody, with the reason."""


class Target(NamedTuple):
    """A module, named as in ``balance/eligible``."""

    name: str
    file: Path
    tests: tuple[Path, ...]
    """The files that have to notice its changes, its own first."""
    held: bool

    @property
    def module(self) -> str:
        """Its dotted name."""
        return f"kubelb.{self.name.replace('/', '.')}"


class TargetFault(Exception):
    """There is nothing to change under a name; the text says why."""


def targets(names: Sequence[str]) -> list[Target]:
    """The modules that are named, or lie in the folders that are; without names all that are held."""
    held = set(_modules(HELD))
    chosen = _modules(names or HELD)
    return [Target(name, _file(name), _tests(name), name in held) for name in chosen]


def _modules(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        if _file(name).is_file():
            yield name
        elif (_CODE / name).is_dir():
            yield from (f"{name}/{file.stem}" for file in sorted((_CODE / name).glob("[!_]*.py")))
        else:
            raise TargetFault(f"kubelb/ has no module or folder {name}")


def _file(name: str) -> Path:
    return _CODE / f"{name}.py"


def _tests(name: str) -> tuple[Path, ...]:
    """The pure tests of the module's folder that import it; all of these have to notice its changes together."""
    folder, _, stem = name.rpartition("/")
    own = f"test_{stem}.py"
    files = sorted((_TESTS / folder).glob("test_*.py"), key=lambda file: (file.name != own, file.name))
    importing = tuple(file for file in files if file.name == own or _imports(file, folder, stem))
    if not importing:
        raise TargetFault(f"no test of tests/pure/{folder} imports kubelb/{name}.py")
    return importing


def _imports(file: Path, folder: str, stem: str) -> bool:
    package = ".".join(("kubelb", *filter(None, folder.split("/"))))
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            if node.module == f"{package}.{stem}":
                return True
            if node.module == package and stem in {alias.name for alias in node.names}:
                return True
    return False


def equivalents() -> Equivalents:
    return msgspec.convert(tomli.loads(_EQUIVALENT.read_text()), dict[str, dict[str, str]])
