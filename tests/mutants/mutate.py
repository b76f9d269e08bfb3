"""A module with one small change at a time, as somebody could make it by mistake; pure.

A change is known by the function that it is in and by how the code reads before and after, not by its line: it keeps
its name while the code around it comes and goes. What does nothing when the module runs is left alone: docstrings,
annotations, type aliases, decorators and imports.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.mutants.operators import CHECKED, Change, changes

_LONGEST_CONTEXT = 60
"""Characters of the code around a small change that are shown with it."""
_IGNORED_FIELDS = {"annotation", "returns", "decorator_list", "format_spec", "bases"}


class Mutant(NamedTuple):
    """A module with one change."""

    name: str
    """Says which function the change is in, and what it is; no two of a module have the same."""
    line: int
    source: str


@dataclass(frozen=True)
class _Place:
    """Where a node hangs in its tree: ``index`` is None where the field holds the node and no list."""

    parent: ast.AST
    field: str
    index: int | None
    scope: str
    """The dotted name of the function around it."""

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def mutants(source: str) -> Iterator[Mutant]:
    """Yield the module whose text is ``source`` with each of its changes, in the order of the text."""
    tree = ast.parse(source)
    seen = Counter[str]()
    for place, node in list(_places(tree, "")):
        for change in changes(node):
            name = f"{place.scope or 'module'}: {_words(place, node, change)}"
            seen[name] += 1
            place.put(change.node)
            yield Mutant(name if seen[name] == 1 else f"{name} #{seen[name]}", _line(node), ast.unparse(tree))
            place.put(node)


def _places(node: ast.AST, scope: str) -> Iterator[tuple[_Place, ast.AST]]:
    """Yield every node below this one that may be changed, with its place."""
    for field, value in ast.iter_fields(node):
        if field in _IGNORED_FIELDS or (field == "keys" and isinstance(node, ast.Dict)):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not _is_left_alone(child):
                yield _Place(node, field, index, scope), child
                yield from _places(child, _below(scope, child))


def _below(scope: str, node: ast.AST) -> str:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return f"{scope}.{node.name}" if scope else node.name
    return scope


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]):
            return _is_type(name)
        case ast.If(test=ast.Name(id=name)):
            return name == "TYPE_CHECKING"
        case ast.keyword(arg=name):
            return name == CHECKED
        case _:
            return False


def _is_type(name: str) -> bool:
    """Return whether a name is that of a type, like ``Step``, or of a variable for types, like ``T``."""
    return name[0].isupper() and (len(name) == 1 or not name.isupper())


def _line(node: ast.AST) -> int:
    return next(inner.lineno for inner in ast.walk(node) if isinstance(inner, (ast.stmt, ast.expr)))


def _words(place: _Place, node: ast.AST, change: Change) -> str:
    """Return how the code reads before and after, with a little of what is around it where the change is small."""
    if change.without is node:
        return f"without {_text(node)}"
    if change.without is not None:
        return f"{_outline(node)} without {_text(change.without)}"
    if not _is_small(node) or not _fits(place.parent):
        return f"{_text(node)} -> {_text(change.node)}"
    before = _text(place.parent)
    place.put(change.node)
    after = _text(place.parent)
    place.put(node)
    return f"{before} -> {after}"


def _outline(node: ast.AST) -> str:
    match node:
        case ast.Call(func=func):
            return f"{_text(func)}(...)"
        case ast.Dict():
            return "{...}"
        case _:
            return _text(node).strip()


def _is_small(node: ast.AST) -> bool:
    return isinstance(node, (ast.Constant, ast.UnaryOp, ast.Slice))


def _fits(node: ast.AST) -> bool:
    simple = isinstance(node, (ast.expr, ast.keyword, ast.stmt)) and not hasattr(node, "body")
    return (simple or isinstance(node, ast.IfExp)) and len(_text(node)) <= _LONGEST_CONTEXT


def _text(node: ast.AST) -> str:
    """Return the code of a node, of a statement with a body only its head."""
    return ast.unparse(node).partition("\n")[0]
