"""The nginx.conf files that kubelb is to take and to refuse.

Beside a valid ``NAME.conf`` lies ``NAME.toml``, what ``kubelb convert`` makes of it. Beside an invalid one lies
``NAME.fault``: the faults, seen from its folder, and a last line in brackets where nginx itself accepts the file.
"""

from __future__ import annotations

from pathlib import Path

_CORPUS = Path(__file__).parent.parent / "corpus" / "nginx"
_ACCEPTED = "(nginx accepts this)"
_NEWER = "# nginx 1.27"
"""The first line of a valid file that older ones refuse."""

VALID = sorted((_CORPUS / "valid").glob("*.conf"))
INVALID = sorted((_CORPUS / "invalid").glob("*.conf"))


def expected_faults(conf: Path) -> list[str]:
    return [line for line in _lines(conf) if line != _ACCEPTED]


def nginx_accepts(conf: Path) -> bool:
    return _ACCEPTED in _lines(conf)


def takes_newer_nginx(conf: Path) -> bool:
    return conf.read_text().startswith(_NEWER)


def _lines(conf: Path) -> list[str]:
    return conf.with_suffix(".fault").read_text().splitlines()
