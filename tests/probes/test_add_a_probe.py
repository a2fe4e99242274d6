"""The probe of docs/add-a-probe.md is measured as it stands on the page."""

from __future__ import annotations

import re
import types
from pathlib import Path

from sftscope.dynamics.record import Run, create_run
from sftscope.probes.checkpoints import Checkpoint
from sftscope.probes.planner import Planner, ProbeConfig
from sftscope.probes.registry import PROBES

PAGE = Path(__file__).parents[2] / "docs" / "add-a-probe.md"


def test_the_page_s_probe_works_as_written(tmp_path, micro_folder, monkeypatch):
    source = re.search(r"```python\n(# probes/behaviour/hesitation\.py\n.*?)```", PAGE.read_text(), re.S)[1]
    module = types.ModuleType("sftscope.probes.behaviour.hesitation")
    module.__package__ = "sftscope.probes.behaviour"
    exec(compile(source, "hesitation.py", "exec"), module.__dict__)
    monkeypatch.setitem(PROBES, "hesitation", module.Hesitation)

    create_run(tmp_path / "run", {"config_hash": "x"})
    checkpoint = Checkpoint(0, micro_folder)
    config = ProbeConfig(items=6, domains=("countdown", "safe"), probes=("hesitation",), during=())
    rows = Planner(tmp_path / "run", checkpoint, config).measure(checkpoint)
    assert {(r.metric, r.domain, r.status) for r in rows} == {
        ("hedge_rate", "countdown", "ok"),
        ("hedge_rate", "safe", "ok"),
    }
    assert len(Run(tmp_path / "run").items("safe", "hedged")) == 6
