"""The version of the code that a study depends on: a hash of the definitions it reaches.

Results of a study stay valid while nothing that they rest on changes. A hash of whole modules would throw away hours of
simulation for an edit of a function that the study never calls; this one follows names. Comments, docstrings and
formatting do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]  # the package's own folder
COUNTING = Path(__file__).with_name("cells.py")  # counts what a study draws; no number comes from there
Name = tuple[Path, str | None]  # a top-level name of a module; None: all of the module


def version_of(module: Path) -> str:
    """Hash of a module and of every definition of this package that it reaches, 16 hex digits."""
    seen: set[Name] = set()
    todo: list[Name] = [(module.resolve(), None)]
    while todo:
        at = todo.pop()
        if at in seen or at[0] == COUNTING:
            continue
        seen.add(at)
        todo += _reached(*at)
    texts = sorted(
        f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name}:{name}:{_text(path, name)}"
        for path, name in seen
    )
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


# ---------------------------------------------------------------- parts


class _Module:
    """What a module defines and imports at its top level; what stands there and defines nothing always runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.defined: dict[str, list[ast.stmt]] = {}
        self.runs: list[ast.stmt] = []
        self.imported: dict[str, Name] = {}
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):  # imports inside functions too: where they stand does not matter
            if isinstance(node, ast.ImportFrom) and node.level:
                self._note(node)
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                continue
            names = _names_bound(node)
            for name in names:
                self.defined.setdefault(name, []).append(node)
            if not names and not _is_docstring(node):
                self.runs.append(node)

    def _note(self, node: ast.ImportFrom) -> None:
        folder = self.path.parents[node.level - 1]
        base = folder.joinpath(*(node.module or "").split(".")) if node.module else folder
        for alias in node.names:
            bound = alias.asname or alias.name
            file = base / f"{alias.name}.py"
            if file.is_file():  # `from . import module`
                self.imported[bound] = (file.resolve(), None)
            else:
                source = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
                self.imported[bound] = (source.resolve(), alias.name)


@cache
def _module(path: Path) -> _Module:
    return _Module(path)


def _statements(path: Path, name: str | None) -> list[ast.stmt]:
    module = _module(path)
    if name is None:
        return [s for group in module.defined.values() for s in group] + module.runs
    return module.defined.get(name, []) + module.runs


def _reached(path: Path, name: str | None) -> Iterator[Name]:
    module = _module(path)
    if name is not None and name not in module.defined and name in module.imported:  # passed on from elsewhere
        yield module.imported[name]
    for statement in _statements(path, name):
        of_module = {id(n.value): n.attr for n in ast.walk(statement) if isinstance(n, ast.Attribute)}
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id in module.imported:
                source, what = module.imported[node.id]
                yield source, of_module.get(id(node)) if what is None else what  # `intervals.mean`: that alone
            elif isinstance(node, ast.Name) and node.id in module.defined:
                yield path, node.id


def _text(path: Path, name: str | None) -> str:
    return "\n".join(ast.dump(_bare(s)) for s in _statements(path, name))


def _bare(statement: ast.stmt) -> ast.stmt:
    """The statement without its docstrings."""
    copy = ast.parse(ast.unparse(statement)).body[0]
    for node in ast.walk(copy):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.body and _is_docstring(node.body[0]):
            node.body = node.body[1:] or [ast.Pass()]
    return copy


def _names_bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
