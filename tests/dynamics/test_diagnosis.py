"""A verdict on refusal follows from its evidence, and is withheld where the evidence cannot carry it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sftscope.dynamics import Estimate, Measurement, analyze
from sftscope.dynamics.record import write_measurements
from sftscope.dynamics.refusal.diagnosis import Dose, Evidence, Format, diagnose
from sftscope.dynamics.statistics import intervals


def e(value: float, half: float = 0.05) -> Estimate:
    return Estimate(value, value - half, value + half, 40, "test")


UNKNOWN = Estimate.undefined(0, "test")
NOTHING_BACK = Format(rescue=e(0.0), refused=e(0.0), safe_refused=e(0.0))
LOST = Evidence(
    change=e(-0.95),
    helped=e(0.98),
    gap_base=e(1.0),
    gap_refit=e(1.0),
    refit_causes=True,
    formats={"thinking_empty": NOTHING_BACK, "opening_as_base": NOTHING_BACK},
    restored=e(0.0),
    restored_random=e(0.0),
    doses={f"{name} {dose:g}": Dose(e(0.0), e(0.0)) for name in ("base", "refit") for dose in (0.5, 1, 1.5, 2)},
    works_at_base="base 1",
)
STANDING = replace(LOST, change=e(0.0))
UNREACHED = replace(LOST, gap_base=e(0.1), gap_refit=e(0.2), restored=e(0.95), doses={})
BYPASSED = replace(LOST, formats={"thinking_empty": Format(rescue=e(0.95), refused=e(0.95), safe_refused=e(0.05))})


@pytest.mark.parametrize(
    ("evidence", "state"),
    [
        (STANDING, "intact"),
        (replace(STANDING, change=e(0.3)), "intact"),  # more are refused than before
        (replace(STANDING, gap_base=e(0.0)), "monitor moved"),
        (UNREACHED, "unreached"),
        (replace(UNREACHED, refit_causes=False, gap_refit=e(1.0)), "unreached"),  # a direction that causes nothing
        (LOST, "disconnected"),
        (BYPASSED, "bypassed by format"),
        (replace(BYPASSED, gap_base=e(0.1), gap_refit=e(0.1), restored=e(0.95)), "bypassed by format"),
        (replace(LOST, helped=e(0.02)), "broken"),
        (replace(BYPASSED, helped=e(0.02)), "broken"),
    ],
)
def test_each_verdict_has_its_evidence(evidence, state):
    assert diagnose(evidence).state == state


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        (replace(STANDING, change=e(-0.15, 0.2)), "whether refusals were lost is not settled"),
        (replace(STANDING, change=UNKNOWN), "whether refusals were lost is not settled"),
        (replace(LOST, helped=e(0.5, 0.2)), "harmless compliance may have been lost too"),
        (replace(LOST, helped=None), "harmless compliance was not measured"),
        (replace(UNREACHED, gap_base=e(0.4, 0.2)), "whether the gap along the base's direction fell is open"),
        (replace(UNREACHED, gap_refit=e(0.4, 0.2)), "the gap along it is not shown to have fallen"),
        (replace(UNREACHED, refit_causes=None), "whether the checkpoint's own direction causes refusals"),
        (replace(UNREACHED, restored=e(0.6, 0.2)), "adding the base's gap is not shown to restore"),
        (replace(UNREACHED, restored=UNKNOWN), "adding the base's gap is not shown to restore"),
        (replace(UNREACHED, restored_random=e(0.93)), "no more than a random direction"),
        (replace(UNREACHED, restored=None), "were not measured"),
        (replace(LOST, doses={}), "dose curves were not measured"),
        (replace(LOST, works_at_base=""), "doses prove nothing"),
        (replace(LOST, gap_base=e(0.6, 0.2)), "the gap along the base's direction is not shown to be kept"),
        (replace(LOST, doses=LOST.doses | {"refit 2": Dose(e(0.2, 0.2), e(0.0))}), "some dose may still induce"),
        (replace(LOST, doses=LOST.doses | {"refit 2": Dose(e(0.0), e(0.9))}), "some dose may still induce"),
        (
            replace(LOST, doses={}, formats={"thinking_empty": Format(e(0.5, 0.3), e(0.5), e(0.0))}),
            "whether refusals return in another format is open",
        ),
        (
            # everything is refused so: the format refuses, not the model
            replace(LOST, doses={}, formats={"thinking_empty": Format(e(0.95), e(0.95), e(0.95))}),
            "whether refusals return in another format is open",
        ),
    ],
)
def test_what_the_evidence_does_not_settle_is_unclear(evidence, why):
    diagnosis = diagnose(evidence)
    assert diagnosis.state == "unclear"
    assert why in " ".join(diagnosis.reasons)


def test_a_readout_that_may_have_failed_takes_nothing_from_refusals_that_stand():
    diagnosis = diagnose(replace(STANDING, gap_base=e(0.5, 0.2)))
    assert diagnosis.state == "intact"
    assert diagnosis.reasons == ("whether the base's readout holds is not settled",)
    assert diagnose(replace(STANDING, gap_base=None)).state == "intact"


# ---------------------------------------------------------------- from a run

N, PER_OBJECT = 48, 2


def item_rows(domain: str, values: dict[str, np.ndarray]) -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame(
            {
                "domain": domain,
                "group": "safety",
                "item": [f"{domain}-{i}" for i in range(N)],
                "cluster": [f"object-{i // PER_OBJECT}" for i in range(N)],
                "metric": metric,
                "value": column,
            }
        )
        for metric, column in values.items()
    )


def share(k: int) -> np.ndarray:
    return (np.arange(N) < k).astype(float)


def write_pair(path, step: int, *, refused: int, restored: int, gap: float, ablated: int = 2) -> None:
    """What the causal pair writes at a checkpoint: numbers of requests of 48, and the gap along the base's direction."""
    harmful = {
        "refused_plain": share(refused),
        "refused_thinking_empty": share(refused),
        "refused_added": share(restored),
        "refused_added_random": share(refused),
    }
    rates = {
        ("harmful", "refusal_rate_base"): refused,
        ("harmful", "refusal_rate_ablated"): ablated,
        ("harmful", "refusal_rate_ablated_random"): refused,
        ("harmful", "refusal_rate_thinking_empty"): refused,
        ("safe", "safe_refusal_rate_thinking_empty"): 0,
        ("safe", "refusal_rate_added"): 47,
        ("safe", "refusal_rate_added_refit"): 1,
        ("safe", "refusal_rate_added_random"): 1,
    }
    rows = [
        Measurement(step, "refusal_pair", metric, intervals.proportion(k, N), "share", domain, 1, "last_prompt")
        for (domain, metric), k in rates.items()
    ]
    gaps = {"pair_gap_frozen": gap, "pair_gap_refit": 5.0}
    rows += [
        Measurement(step, "refusal_pair", m, Estimate(g, g - 0.3, g + 0.3, 90, "cluster-t"), "sd of base", "", 1)
        for m, g in gaps.items()
    ]
    items = pd.concat([item_rows("harmful", harmful), item_rows("safe", {"helped_plain": share(46)})])
    write_measurements(path, step, "refusal_pair", key=f"k{step}", settings="s", rows=rows, items=items)


@pytest.fixture
def probed(tmp_path):
    from sftscope.dynamics.record import create_run

    create_run(tmp_path / "run", {"config_hash": "x"})
    return tmp_path / "run"


def finding_of(path):
    return {f.id: f for f in analyze(path)}.get("mechanism:refusal-diagnosis")


def test_the_finding_names_numbers_bounds_and_what_would_overturn_it(probed):
    write_pair(probed, 0, refused=47, restored=48, gap=6.0)
    write_pair(probed, 5, refused=46, restored=48, gap=5.8)
    write_pair(probed, 10, refused=2, restored=46, gap=1.0)
    finding = finding_of(probed)
    assert finding.verdict == "unreached"
    assert finding.step == 10
    assert finding.details["steps"] == {"0": "intact", "5": "intact", "10": "unreached"}
    assert "harmful ones refused 0.98" in finding.sentence
    assert "within the subspace tested: layer 1" in finding.sentence
    assert finding.would_overturn
    rescued = finding.details["numbers"]["rescued by the base's gap"]
    assert 0.5 < rescued["lo"] < rescued["value"] < rescued["hi"]
    assert rescued["value"] == pytest.approx(44 / 45)
    assert finding.estimate.value == rescued["value"]
    assert all((probed / f).is_file() for f in finding.evidence)
    assert finding_of(probed) == finding  # read back from findings.json


def test_no_diagnosis_where_the_direction_only_recognises_harm(probed):
    write_pair(probed, 0, refused=47, restored=48, gap=6.0, ablated=45)  # ablating it removes nothing
    write_pair(probed, 10, refused=2, restored=46, gap=1.0)
    assert finding_of(probed) is None
    assert "no diagnosis of refusal" in {f.id: f for f in analyze(probed)}["mechanism:refusal-direction"].sentence


def test_no_diagnosis_without_the_base_or_without_a_later_checkpoint(probed):
    write_pair(probed, 10, refused=2, restored=46, gap=1.0)
    assert finding_of(probed) is None
    write_pair(probed, 0, refused=47, restored=48, gap=6.0)
    assert finding_of(probed).verdict == "unreached"
    for kind in ("measurements", "items"):
        for file in (probed / kind / "step-000010").glob("*"):
            file.unlink()
    assert finding_of(probed) is None


def test_a_gap_is_a_share_of_the_base_with_the_bounds_of_both(probed):
    from sftscope.dynamics.record import Run
    from sftscope.dynamics.refusal.diagnosis_evidence import evidence_at

    write_pair(probed, 0, refused=47, restored=48, gap=6.0)
    write_pair(probed, 10, refused=2, restored=46, gap=-1.0)
    gap = evidence_at(Run(probed), 10).gap_base
    assert gap.value == pytest.approx(-1 / 6)
    assert (gap.lo, gap.hi) == (pytest.approx(-1.3 / 5.7), pytest.approx(-0.7 / 6.3))
