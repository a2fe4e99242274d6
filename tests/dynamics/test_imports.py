"""`sftscope.dynamics` works anywhere: without torch, and at once."""

import resource
import subprocess
import sys


def test_importing_dynamics_is_light():
    heavy = ("torch", "transformers", "scipy.stats", "statsmodels", "sklearn", "h5py")
    code = f"import sys, sftscope.dynamics as d; d.analyze; print([m for m in {heavy} if m in sys.modules])"
    best = 99.0
    for _ in range(3):  # the first one may have to compile
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)  # of CPU: other work may share the cores
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert out.stdout.strip() == "[]"
        if best < 0.6:
            break
    assert best < 1.0


def test_every_public_name_exists():
    import sftscope.dynamics as dynamics

    assert all(hasattr(dynamics, name) for name in dynamics.__all__)
