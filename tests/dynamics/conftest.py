"""Makes `tests/synthetic.py` importable as `synthetic` without putting `tests/` on the path (its folders are named as
ours)."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

if "synthetic" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("synthetic", Path(__file__).parents[1] / "synthetic.py")
    assert _spec is not None
    assert _spec.loader is not None
    sys.modules["synthetic"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["synthetic"])


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic run with the default curves, at 400 items. Tests must not write to it."""
    return sys.modules["synthetic"].make_run(tmp_path_factory.mktemp("runs") / "planted", n=400)


@pytest.fixture(scope="session")
def _small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sys.modules["synthetic"].make_run(tmp_path_factory.mktemp("runs") / "small", n=40, steps=(0, 1, 2, 4))


@pytest.fixture(scope="session")
def _analysed_run(_small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sftscope.dynamics import analyze

    path = Path(shutil.copytree(_small_run, tmp_path_factory.mktemp("analysed") / "small"))
    analyze(path)
    return path


@pytest.fixture
def analysed_run(_analysed_run: Path, tmp_path: Path) -> Path:
    """As `small_run`, analysed."""
    return Path(shutil.copytree(_analysed_run, tmp_path / "small"))


@pytest.fixture
def small_run(_small_run: Path, tmp_path: Path) -> Path:
    """A copy to write to: 40 items, 4 checkpoints."""
    return Path(shutil.copytree(_small_run, tmp_path / "small"))
