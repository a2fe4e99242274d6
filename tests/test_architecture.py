"""The import table of the project, and what importing a package may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "train": {"train", "dynamics"},
    "probes": {"probes", "dynamics"},
    "reports": {"reports", "dynamics"},
    "dynamics": {"dynamics"},
    "configs": {"configs"},
}
FRONT_DOOR = {"version": "__version__"}  # what any package may take from the top: names that are defined there


def imports_of(file: Path) -> list[tuple[int, str]]:
    """(line, top-level package of ours, or name of a foreign one) for every import in a file, wherever it stands."""
    inside = file.relative_to(ROOT).parent.parts
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((node.lineno, node.module or ""))
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(node.lineno, "ours:" + ".".join((*base, name))) for name in names]
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_what_the_table_allows(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        for line, name in imports_of(file):
            where = f"{file.relative_to(ROOT)}:{line} imports {name}"
            assert not name.startswith("sftscope"), f"{where}: inside the project imports are relative"
            assert name.split(".")[0] not in ALLOWED, f"{where}: relative imports only"
            if name.startswith("ours:"):
                target = name.removeprefix("ours:").split(".")[0]
                assert target in ALLOWED[package] or target in FRONT_DOOR.values(), where


def test_dynamics_never_imports_torch_even_late():
    for file in (ROOT / "dynamics").rglob("*.py"):
        for line, name in imports_of(file):
            assert name.split(".")[0] not in {"torch", "transformers", "accelerate"}, f"{file.name}:{line}"


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(m for m in sys.modules if '.' not in m))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import sftscope",
        "import sftscope.dynamics",
        "import sftscope.reports",
        "import sftscope.cli",
        "from sftscope.train import TrainConfig",
    ],
)
def test_importing_is_light(statement):
    loaded = loaded_by(statement)
    assert not loaded & {"torch", "transformers", "altair", "wandb", "vllm", "transformer_lens"}


def test_packages_listed_for_the_wheel_are_the_ones_there_are():
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {
        ".".join(("sftscope", *p.parent.relative_to(ROOT).parts))
        for top in (*ALLOWED, ".")
        for p in ((ROOT / top).rglob("__init__.py") if top != "." else [ROOT / "__init__.py"])
    }
    assert listed == there
