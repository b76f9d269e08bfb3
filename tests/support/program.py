"""kubelb as a program of the test's own, in whose place another text may be put: an upgrade starts that then.

A text may stop its own process where the test wants it to stand (:meth:`~tests.support.proxy.Proxy.standing` finds
it). A test that stopped it from outside would sometimes come too late.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubelb.config.model.config import Config
from kubelb.config.toml.writer import write_toml
from kubelb.deadlines import Deadlines
from kubelb.snapshot import SocketAddress
from tests.support.proxy import Proxy, a_config, reserved, started

OURS = "from kubelb.cli.app import main\nmain()\n"
STANDING = f"import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n{OURS}"
"""It stands still before it does anything, until it is told to go on."""
_IMPATIENT = """\
import sys
from kubelb.cli.run import run
from kubelb.config.overrides import Overrides
from kubelb.config.sources import Sources
from kubelb.deadlines import Deadlines
sys.exit(run(Sources(config={file!r}), Overrides(runtime_dir={runtime_dir!r}), deadlines={deadlines!r}))
"""


@contextmanager
def a_program(
    directory: Path, servers: Sequence[SocketAddress], code: str = OURS, **settings: Any
) -> Iterator[tuple[Proxy, Path]]:
    """A running kubelb, with :func:`~tests.support.proxy.a_config`, and the file that it runs: it may be changed."""
    program, file = directory / "program.py", directory / "kubelb.toml"
    program.write_text(code)
    with reserved() as listen:
        file.write_text(write_toml(a_config(listen, servers, **settings)))
        command = [sys.executable, str(program), "run"]
        command += ["--runtime-dir", str(directory / "run"), "--config", str(file)]
        with started(command, directory / "run") as proxy:
            yield proxy, program


@contextmanager
def impatient(directory: Path, config: Config, deadlines: Deadlines) -> Iterator[Proxy]:
    """A running kubelb that waits for its processes as long as the test wants it to."""
    with started(impatient_command(directory, config, deadlines), directory / "run") as proxy:
        yield proxy


def impatient_command(directory: Path, config: Config, deadlines: Deadlines) -> list[str]:
    """What runs it, with ``directory``/run as its runtime directory."""
    program, file = directory / "program.py", directory / "kubelb.toml"
    program.write_text(_IMPATIENT.format(file=str(file), runtime_dir=str(directory / "run"), deadlines=deadlines))
    file.write_text(write_toml(config))
    return [sys.executable, str(program)]
