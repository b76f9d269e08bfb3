"""Tests that need Debian packages, on machines without them; pytest itself runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import debian
from tests.support.log import DEADLINE
from tests.support.mounts import apart

NEEDY = f"{Path(__file__).with_name('test_packaging.py')}::test_both_are_content_with_the_file[nginx]"


@debian.NGINX
@pytest.mark.parametrize(("ci", "told", "code"), [("", "SKIPPED", 0), ("true", "ERROR", 1)])
def test_without_its_package_a_test_is_skipped_by_name_and_fails_on_ci(ci: str, told: str, code: int) -> None:
    """What the package has is hidden; for Debian it is installed, so nothing is downloaded."""
    hidden = apart(f"mount --bind /dev/null {debian.provided('nginx')}")
    done = subprocess.run(
        [*hidden, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", NEEDY],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "CI": ci},
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert re.search(f"^{told} .*nginx is missing$", done.stdout, re.MULTILINE)


def test_what_a_test_has_not_said_it_needs_it_does_not_get() -> None:
    with pytest.raises(AssertionError, match="needs wrk and has no mark that says so"):
        debian.provided("wrk")
