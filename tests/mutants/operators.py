"""What a piece of code may be mistaken for; pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import singledispatch
from typing import NamedTuple, TypeVar

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
"""With the first of two the boundary falls on the other side, with the second the answer is the opposite."""
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}
_FUNCTIONS = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "bisect_left": "bisect_right",
    "bisect_right": "bisect_left",
}
CHECKED = "strict"
"""An argument that only guards against faults of the code that passes it."""

T = TypeVar("T")


class Change(NamedTuple):
    """What stands in a node's place."""

    node: ast.AST
    without: ast.AST | None = None
    """The part of the old node that the new one lacks; None: the change is of another kind."""


@singledispatch
def changes(node: ast.AST) -> Iterator[Change]:
    """Yield everything that could stand in the node's place; nothing of ``node`` itself is changed."""
    yield from ()


@changes.register
def _(node: ast.Return) -> Iterator[Change]:
    if node.value and not _is_none(node.value):
        yield Change(ast.Return(ast.Constant(None)))


@changes.register(ast.If)
@changes.register(ast.While)
@changes.register(ast.IfExp)
def _(node: ast.If | ast.While | ast.IfExp) -> Iterator[Change]:
    for test in _opposite(node.test):
        yield Change(_copy(node, test=test))


@changes.register(ast.Expr)
@changes.register(ast.AugAssign)
@changes.register(ast.Delete)
@changes.register(ast.Raise)
@changes.register(ast.Assert)
def _(node: ast.stmt) -> Iterator[Change]:
    yield Change(ast.Pass(), without=node)


@changes.register
def _(node: ast.Assign) -> Iterator[Change]:
    """A name that is not assigned is a fault that no test is needed for, unlike a part of something."""
    if isinstance(node.targets[0], (ast.Attribute, ast.Subscript)):
        yield Change(ast.Pass(), without=node)


@changes.register
def _(node: ast.Break) -> Iterator[Change]:
    yield Change(ast.Continue())


@changes.register
def _(node: ast.Continue) -> Iterator[Change]:
    yield Change(ast.Break())


@changes.register
def _(node: ast.Compare) -> Iterator[Change]:
    for i, op in enumerate(node.ops):
        for other in _COMPARISONS[type(op)]:
            yield Change(_copy(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]]))


@changes.register
def _(node: ast.BoolOp) -> Iterator[Change]:
    yield Change(_copy(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or()))
    for value, others in _without_each(node.values):
        yield Change(_copy(node, values=others) if len(others) > 1 else others[0], without=value)


@changes.register
def _(node: ast.BinOp) -> Iterator[Change]:
    formats = isinstance(node.left, ast.Constant) and isinstance(node.left.value, (str, bytes))
    if not formats:
        yield Change(_copy(node, op=_ARITHMETIC[type(node.op)]()))


@changes.register
def _(node: ast.UnaryOp) -> Iterator[Change]:
    if isinstance(node.op, (ast.Not, ast.USub)):
        yield Change(node.operand)


@changes.register
def _(node: ast.Call) -> Iterator[Change]:
    if isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        yield Change(_copy(node, func=ast.Name(_FUNCTIONS[node.func.id], ast.Load())))
    for keyword, others in _without_each(node.keywords):
        if keyword.arg != CHECKED:
            yield Change(_copy(node, keywords=others), without=keyword)


@changes.register
def _(node: ast.Dict) -> Iterator[Change]:
    for (key, other_keys), (value, others) in zip(_without_each(node.keys), _without_each(node.values), strict=True):
        yield Change(ast.Dict(other_keys, others), without=key or value)


@changes.register
def _(node: ast.comprehension) -> Iterator[Change]:
    for i, condition in enumerate(node.ifs):
        for test in _opposite(condition):
            yield Change(_copy(node, ifs=[*node.ifs[:i], test, *node.ifs[i + 1 :]]))
    for condition, others in _without_each(node.ifs):
        yield Change(_copy(node, ifs=others), without=condition)


@changes.register
def _(node: ast.Slice) -> Iterator[Change]:
    for bound in ("lower", "upper"):
        if getattr(node, bound):
            yield Change(_copy(node, **{bound: None}))


@changes.register
def _(node: ast.Constant) -> Iterator[Change]:
    yield from map(Change, map(ast.Constant, _other_constants(node.value)))


def _opposite(test: ast.expr) -> Iterator[ast.expr]:
    """Yield the opposite of a condition, unless a change within the condition comes to the same."""
    negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    if not negated and not isinstance(test, (ast.Compare, ast.BoolOp)):
        yield ast.UnaryOp(ast.Not(), test)


def _other_constants(value: object) -> Iterator[str | bytes | int | float]:
    match value:
        case bool():
            yield not value
        case int():
            yield value + 1
            if value > 1:
                yield value - 1
        case float():
            yield value * 2 or 1.0
            if value:
                yield value / 2
        case str():
            yield f"XX{value}"
        case bytes():
            yield b"XX" + value


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _without_each(items: Sequence[T]) -> Iterator[tuple[T, list[T]]]:
    """Yield each item in turn, and all the others."""
    for i, item in enumerate(items):
        yield item, [*items[:i], *items[i + 1 :]]


def _copy(node: ast.AST, **fields: object) -> ast.AST:
    """Return the same node with other values of these fields; its children are shared."""
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})
