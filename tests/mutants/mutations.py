"""Small changes of source code that some test should notice, one at a time."""

from __future__ import annotations

import ast
import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_COMPARED: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
_COMPUTED: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
_NAMED: Final = {"min": "max", "minimum": "maximum", "any": "all", "floor": "ceil"}
_SWAPPED: Final = _NAMED | {new: old for old, new in _NAMED.items()}
# What is said rather than done: annotations, decorators, error messages, texts.
_SKIPPED_FIELDS: Final = {"annotation", "returns", "decorator_list", "type_params"}
_SKIPPED_NODES: Final = (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Assert)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change.

    Args:
        path: of the file, below the folder of sources.
        number: of the change in its file.
        function: the qualified name of what it is in; empty for the module.
        line: where it begins; `end`: likewise.
        before: the source of the changed expression and what it is part of; `after`: likewise.
    """

    path: Path
    number: int
    function: str
    line: int
    end: int
    before: str
    after: str

    @property
    def key(self) -> str:
        """What names it even when lines move."""
        return f"{'/'.join(self.path.parts[-2:])} {self.function or '-'}: {self.before} → {self.after}"

    def rank(self, seed: int) -> str:
        """Return its place in a sample, which changes of other files do not move."""
        return hashlib.sha256(f"{seed} {self.key} {self.number}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Site:
    """Where a node hangs, and below what."""

    parent: ast.AST
    field: str
    index: int | None
    node: ast.AST
    function: str
    whole: ast.AST

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def mutants(path: Path, source: str) -> Iterator[Mutant]:
    """Yield every change of a file."""
    for number, (site, replacement) in enumerate(_changes(ast.parse(source))):
        before = _text(site.whole)
        site.put(replacement)
        after = _text(site.whole if site.whole is not site.node else replacement)
        site.put(site.node)
        line, end = getattr(site.node, "lineno", 0), getattr(site.node, "end_lineno", 0)
        yield Mutant(path, number, site.function, line, end, before, after)


def mutated(source: str, number: int) -> ast.Module:
    """Return the syntax tree with one change."""
    tree = ast.parse(source)
    for found, (site, replacement) in enumerate(_changes(tree)):
        if found == number:
            site.put(replacement)
            return ast.fix_missing_locations(tree)
    raise IndexError(number)


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())


def _changes(tree: ast.Module) -> Iterator[tuple[_Site, ast.AST]]:
    for site in list(_sites(tree, "")):
        for replacement in _replacements(site):
            yield site, replacement


def _sites(parent: ast.AST, function: str, above: ast.AST | None = None) -> Iterator[_Site]:
    for field, value in ast.iter_fields(parent):
        if field in _SKIPPED_FIELDS:
            continue
        several = isinstance(value, list)
        for index, node in enumerate(value if several else [value]):
            if not isinstance(node, ast.AST) or isinstance(node, _SKIPPED_NODES) or getattr(node, "name", "") == "__repr__":
                continue
            named = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            inside = f"{function}.{getattr(node, 'name', '')}".strip(".") if named else function
            plain = isinstance(node, ast.expr) and isinstance(parent, ast.expr | ast.keyword | ast.Return | ast.Assign | ast.AugAssign)
            whole = (parent if plain else node) if above is None else above
            yield _Site(parent, field, index if several else None, node, function, whole)
            yield from _sites(node, inside, whole if isinstance(node, ast.Slice | ast.keyword) else None)


def _replacements(site: _Site) -> Iterator[ast.AST]:
    node = site.node
    match node:
        case ast.Compare(ops=[operator]):
            for other in _COMPARED[type(operator)]:
                yield ast.Compare(node.left, [other()], node.comparators)
        case ast.BinOp() | ast.AugAssign() if type(node.op) in _COMPUTED and site.function:
            changed = copy.copy(node)
            changed.op = _COMPUTED[type(node.op)]()
            yield changed
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Constant(value=bool() | int() | float() as value):
            yield ast.Constant(_other(value))
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None))
        case ast.Attribute(attr=name, ctx=ast.Load()) if name in _SWAPPED:
            yield ast.Attribute(node.value, _SWAPPED[name], node.ctx)
        case ast.Name(id=name, ctx=ast.Load()) if name in _SWAPPED:
            yield ast.Name(_SWAPPED[name], node.ctx)
    if site.field in ("test", "ifs") and isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.NamedExpr):
        yield ast.UnaryOp(ast.Not(), node)


def _other(value: float) -> float:
    """Return another value: of a flag, of an integer, of a float."""
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value * 2 or 1.0
