"""`sftscope.dynamics` works anywhere: without torch, and at once."""

import subprocess
import sys
import time


def test_importing_dynamics_is_light():
    heavy = ("torch", "transformers", "scipy.stats", "statsmodels", "sklearn", "h5py")
    code = f"import sys, sftscope.dynamics as d; d.analyze; print([m for m in {heavy} if m in sys.modules])"
    best = 99.0
    for _ in range(3):  # the first one may have to compile, and other work may share the cores
        start = time.perf_counter()
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        best = min(best, time.perf_counter() - start)
        assert out.stdout.strip() == "[]"
        if best < 1:
            break
    assert best < 1.5


def test_every_public_name_exists():
    import sftscope.dynamics as dynamics

    assert all(hasattr(dynamics, name) for name in dynamics.__all__)
