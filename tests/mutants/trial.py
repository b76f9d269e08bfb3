"""Whether tests notice a change: they run against the changed module in a process that is forked for them.

The process that forks has imported pytest, hypothesis and msgspec, which is most of what a run of a few pure tests
costs, but no module of ours: the child imports these, the changed one among them. The time that it has is that of the
CPU, so that a busy machine changes no verdict.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import signal
import sys
from collections.abc import Sequence
from enum import Enum
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple, NoReturn

import msgspec  # noqa: F401
import pytest
from hypothesis import HealthCheck, Phase, settings, stateful, strategies  # noqa: F401

QUICK, THOROUGH = "mutants-quick", "mutants-thorough"
"""Profiles of hypothesis: the first few examples notice most changes."""
for _name, _examples in ((QUICK, 20), (THOROUGH, 200)):
    settings.register_profile(
        _name,
        max_examples=_examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
_OPTIONS = (
    *("-q", "-x", "--tb=no", "--timeout=0", "-Wignore::pytest.PytestAssertRewriteWarning"),
    *("-ppytest_timeout", "-p_hypothesis_pytestplugin", "-pno:cacheprovider"),
)
_MEMORY = 2 << 30
"""Bytes of address space that a child may use: a change may make a list grow for ever."""
_BLOCKED = 600
"""Seconds after which a child is ended that neither ends nor uses the CPU; pure code cannot do that."""
_BROKEN = 70


class Verdict(Enum):
    SURVIVED = "survived"
    KILLED = "killed"
    ENDLESS = "endless"
    """The tests used up the time that they had; that counts as noticed."""


class Changed(NamedTuple):
    """What the tests import instead of a module of ours."""

    module: str
    """The dotted name."""
    source: str


class Run(NamedTuple):
    verdict: Verdict
    cpu_seconds: float


class RunFault(Exception):
    """The tests could not be run; the text says how that went."""


def run(files: Sequence[Path], profile: str, changed: Changed | None, cpu_seconds: int) -> Run:
    """Run the tests of these files in their order until one fails; ``changed`` None: with the code as it is."""
    pid = os.fork()
    if not pid:
        _child(files, profile, changed, cpu_seconds)
    _, status, usage = os.wait4(pid, 0)
    return Run(_verdict(os.waitstatus_to_exitcode(status)), usage.ru_utime + usage.ru_stime)


def _verdict(status: int) -> Verdict:
    """Return what the child's exit status means; a negative one is the signal that ended it."""
    if status == pytest.ExitCode.OK:
        return Verdict.SURVIVED
    # A module that cannot be imported interrupts the collection.
    if status in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        return Verdict.KILLED
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return Verdict.ENDLESS
    raise RunFault(f"pytest ended with {status}")


def _child(files: Sequence[Path], profile: str, changed: Changed | None, cpu_seconds: int) -> NoReturn:
    status = _BROKEN
    try:
        _restrict(cpu_seconds)
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        if changed is not None:
            sys.meta_path.insert(0, _Finder(changed))
        status = int(pytest.main([*_OPTIONS, f"--hypothesis-profile={profile}", *map(str, files)]))
    finally:
        os._exit(status)


def _restrict(cpu_seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    signal.alarm(_BLOCKED)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)


class _Finder(MetaPathFinder):
    """Finds one module: the changed one."""

    def __init__(self, changed: Changed) -> None:
        self._changed = changed

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._changed.module or not path:
            return None
        file = Path(path[0]) / f"{fullname.rpartition('.')[2]}.py"
        loader = _Loader(fullname, str(file), self._changed.source)
        return importlib.util.spec_from_file_location(fullname, file, loader=loader)


class _Loader(SourceFileLoader):
    """Loads a module as its file has it, but for its code."""

    def __init__(self, fullname: str, path: str, source: str) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)
