from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.mutate import mutants

_FILES = sorted(Path(__file__).parents[3].glob("kubelb/balance/*.py"))

_MODULE = '''
"""A module."""

from somewhere import T, value

Step = int | None
LIMIT = 10


class Counter:
    """Counts."""

    steps: int = 0

    def count(self, step: int = 1) -> int:
        """Count one more."""
        self.steps += step
        return min(self.steps, LIMIT)
'''


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("a < b", {"a <= b", "a >= b"}),
        ("a < b <= c", {"a <= b <= c", "a >= b <= c", "a < b < c", "a < b > c"}),
        ("a == b", {"a != b"}),
        ("a is None", {"a is not None"}),
        ("a not in b", {"a in b"}),
        ("a and b and c", {"a or b or c", "b and c", "a and c", "a and b"}),
        ("a or b", {"a and b", "a", "b"}),
        ("not a", {"a"}),
        ("-a", {"a"}),
        ("a + b", {"a - b"}),
        ("a % b", {"a // b"}),
        ("b'%d' % a", {"b'XX%d' % a"}),
        ("7", {"8", "6"}),
        ("0", {"1"}),
        ("0.5", {"1.0", "0.25"}),
        ("0.0", {"1.0"}),
        ("True", {"False"}),
        ("'a'", {"'XXa'"}),
        ("b'a'", {"b'XXa'"}),
        ("f'{a:x}'", set()),
        ("a if b else c", {"a if not b else c"}),
        ("max(a)", {"min(a)"}),
        ("f(a, b=c)", {"f(a)"}),
        ("zip(a, b, strict=True)", set()),
        ("{a: b, c: d}", {"{a: b}", "{c: d}"}),
        ("{**a}", {"{}"}),
        ("a[b:c]", {"a[b:]", "a[:c]"}),
        ("[a for a in b if c]", {"[a for a in b]", "[a for a in b if not c]"}),
    ],
)
def test_what_an_expression_may_become(code: str, changed: set[str]) -> None:
    assert {mutant.source.removeprefix("x = ") for mutant in mutants(f"x = {code}")} == changed


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("return a", {"return None"}),
        ("return None", set()),
        ("if a:\n    b", {"if not a:\n    b", "if a:\n    pass"}),
        (
            "while a < b:\n    break",
            {"while a <= b:\n    break", "while a >= b:\n    break", "while a < b:\n    continue"},
        ),
        ("a += b", {"pass"}),
        ("a.b = c", {"pass"}),
        ("a = b", set()),
        ("del a[b]", {"pass"}),
        ("raise a", {"pass"}),
        ("assert a", {"pass"}),
    ],
)
def test_what_a_statement_may_become(code: str, changed: set[str]) -> None:
    assert {mutant.source for mutant in mutants(code)} == changed


def test_a_mutant_is_named_by_its_function_and_its_change_and_what_does_nothing_is_left_alone() -> None:
    assert [(mutant.name, mutant.line) for mutant in mutants(_MODULE)] == [
        ("module: LIMIT = 10 -> LIMIT = 11", 7),
        ("module: LIMIT = 10 -> LIMIT = 9", 7),
        ("Counter: steps: int = 0 -> steps: int = 1", 13),
        ("Counter.count: 1 -> 2", 15),
        ("Counter.count: without self.steps += step", 17),
        ("Counter.count: return min(self.steps, LIMIT) -> return None", 18),
        ("Counter.count: min(self.steps, LIMIT) -> max(self.steps, LIMIT)", 18),
    ]


def test_a_name_stays_when_lines_are_added_elsewhere() -> None:
    moved = _MODULE.replace("class Counter", "OTHER = LIMIT\n\n\nclass Counter")
    assert [mutant.name for mutant in mutants(moved)] == [mutant.name for mutant in mutants(_MODULE)]


def test_the_same_change_in_two_places_has_two_names() -> None:
    names = [mutant.name for mutant in mutants("def f():\n    if a:\n        return b\n    return b")]
    assert [name for name in names if "return" in name] == [
        "f: return b -> return None",
        "f: return b -> return None #2",
    ]


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
def test_each_mutant_is_another_module_and_the_only_one_of_its_name(file: Path) -> None:
    source = file.read_text()
    made = list(mutants(source))
    assert len({mutant.name for mutant in made}) == len({mutant.source for mutant in made}) == len(made)
    assert ast.unparse(ast.parse(source)) not in {mutant.source for mutant in made}
    assert all(1 <= mutant.line <= source.count("\n") for mutant in made)
