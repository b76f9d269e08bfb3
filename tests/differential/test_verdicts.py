"""nginx and kubelb agree on which configurations are right, and on which line the mistake of a wrong one is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.differential.directives import HTTP_SPECS, SPECS, Spec
from tests.differential.judges import Verdict, by_kubelb, by_nginx
from tests.differential.refused import REFUSED, Refused
from tests.differential.verdicts import Broken, broken, good, mistakes_with, plain_with

_CALM = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
_DIFFERENCES = Path(__file__).parents[2] / "packaging" / "nginx" / "DIFFERENCES.md"


def _written(directory: Path, lines: tuple[str, ...]) -> Path:
    conf = directory / "nginx.conf"
    conf.write_text("".join(f"{line}\n" for line in lines))
    return conf


@settings(max_examples=60, suppress_health_check=_CALM)
@given(lines=good)
def test_right(lines: tuple[str, ...], nginx: str, tmp_path: Path) -> None:
    conf = _written(tmp_path, lines)
    theirs, ours = by_nginx(nginx, conf), by_kubelb(conf)
    assert ours[0] == theirs[0] == Verdict(True), (theirs[1], ours[1])


def _judged_alike(broken: Broken, nginx: str, directory: Path) -> bool:
    """Whether it is taken. nginx does not name the line of everything."""
    conf = _written(directory, broken.lines)
    (theirs, said), (ours, our_words) = by_nginx(nginx, conf), by_kubelb(conf)
    assert ours.taken == theirs.taken, (broken, said, our_words)
    assert theirs.line in (None, ours.line), (broken, said, our_words)
    return ours.taken


@settings(max_examples=200, suppress_health_check=_CALM)
@given(broken=broken())
def test_broken_text(broken: Broken, nginx: str, tmp_path: Path) -> None:
    _judged_alike(broken, nginx, tmp_path)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_mistakes_with(spec: Spec, nginx: str, tmp_path: Path) -> None:
    for mistake in mistakes_with(spec):
        assert not _judged_alike(mistake, nginx, tmp_path), mistake


@pytest.mark.parametrize("spec", HTTP_SPECS, ids=lambda spec: spec.name)
def test_http(spec: Spec, nginx: str, tmp_path: Path) -> None:
    for mistake in mistakes_with(spec):
        assert not _judged_alike(mistake, nginx, tmp_path), mistake
    for context in spec.contexts:
        for arguments in spec.good:
            right = Broken("none", plain_with(context, spec.statement(arguments)))
            assert _judged_alike(right, nginx, tmp_path), right


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.statement)
def test_refused_on_purpose(refused: Refused, nginx: str, tmp_path: Path) -> None:
    conf = _written(tmp_path, plain_with(refused.context, refused.statement))
    (theirs, said), (ours, words) = by_nginx(nginx, conf), by_kubelb(conf)
    assert theirs.taken, said
    line = max(number for number, text in enumerate(conf.read_text().splitlines(), 1) if text == refused.statement)
    assert ours == Verdict(False, line)
    assert refused.reason in words


def test_what_is_refused_is_written_down() -> None:
    rows = set(re.findall(r"^\| ([^|]+?) +\|", _DIFFERENCES.read_text(), re.MULTILINE))
    assert {refused.row for refused in REFUSED} <= rows
