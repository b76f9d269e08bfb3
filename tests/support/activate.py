"""Starts a program with descriptors as systemd passes them: ``activate.py FD=NAME ... -- PROGRAM ARGUMENT ...``."""

from __future__ import annotations

import os
import sys

_FIRST, _ASIDE = 3, 200


def main() -> None:
    split = sys.argv.index("--")
    numbers, _, names = zip(*(argument.partition("=") for argument in sys.argv[1:split]), strict=True)
    # Aside first, so that none is overwritten on its way.
    for index, number in enumerate(numbers):
        os.dup2(int(number), _ASIDE + index)
    for index in range(len(numbers)):
        os.dup2(_ASIDE + index, _FIRST + index)
    os.closerange(_FIRST + len(numbers), _ASIDE + len(numbers))
    passed = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": ":".join(names)}
    program = sys.argv[split + 1 :]
    os.execve(program[0], program, {**os.environ, **passed})


if __name__ == "__main__":
    main()
