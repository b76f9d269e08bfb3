"""What the tests of real processes and sockets have in common."""

from __future__ import annotations

from tests.support import leaks

no_leaks = leaks.no_leaks
