"""Makes `tests/synthetic.py` importable as `synthetic` without putting `tests/` on the path (its folders are named as
ours)."""

import importlib.util
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
