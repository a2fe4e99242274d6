"""Analysed synthetic runs and pages of them, made once; a headless browser where there is one."""

import importlib.util
import json
import math
import os
import shutil
import sys
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sftscope.dynamics import Estimate, Measurement, analyze
from sftscope.dynamics.record import write_measurements

os.environ.setdefault("WANDB_MODE", "offline")

if "synthetic" not in sys.modules:  # by path: `tests/` holds folders named as ours, so it must not be on the path
    _spec = importlib.util.spec_from_file_location("synthetic", Path(__file__).parents[1] / "synthetic.py")
    assert _spec is not None
    assert _spec.loader is not None
    sys.modules["synthetic"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["synthetic"])

UNRELIABLE = 4  # the layer whose later cosines are undefined
PLAN = {"total_steps": 256, "steps_per_epoch": 128, "warmup_steps": 26}


def add_what_synthetic_runs_lack(run: Path) -> None:
    """A plan, the null of the cosine, undefined cells, the causal pair as the probe names it, costs, a failed probe."""
    file = run / "run.json"
    info = json.loads(file.read_text())
    info |= {
        "plan": PLAN,
        "data": {"path": "records.jsonl", "rows": 4096, "sha256": "ab" * 32},
        "base": {"path": "organism"},
    }
    file.write_text(json.dumps(info))
    steps = sys.modules["synthetic"].STEPS
    for step in steps:
        cosine = Estimate(math.nan if step > 60 else 0.8, math.nan, math.nan, 64, "jackknife")
        null = Estimate(0.41, math.nan, math.nan, 2000, "null")
        helpful = Estimate(0.9, 0.85, 0.94, 200, "wilson")
        rows = [
            Measurement(step, "extra", "refusal_cosine_to_base", cosine, "cosine", layer=UNRELIABLE),
            Measurement(step, "extra", "refusal_cosine_null_p99", null, "cosine", layer=1),
            Measurement(step, "extra", "helpful_rate", helpful, "share", "safe"),
        ]
        write_measurements(run, step, "extra", key=f"e{step}", settings="s", rows=rows)
        held = [
            Measurement(
                step, "heldout", "heldout_loss", Estimate(1.0, 0.9, 1.1, 64, "jackknife-t"), "nats per token", name
            )
            for name in ("path", "their_math")
        ]
        write_measurements(run, step, "heldout", key=f"h{step}", settings="s", rows=held)
        cost = [
            Measurement(
                step, "cost", "seconds", Estimate(1.5, math.nan, math.nan, 1, "clock"), "s", position="generate"
            ),
            Measurement(
                step, "cost", "tokens", Estimate(1000.0, math.nan, math.nan, 1, "clock"), "tokens", position="generate"
            ),
        ]
        write_measurements(run, step, "cost", key=f"c{step}", settings="cost", rows=cost)
    failed = [Measurement.failure(8, "broken_probe", "it met a <b>wall</b>")]
    write_measurements(run, 8, "broken_probe", key="f", settings="s", rows=failed)


@pytest.fixture(scope="session")
def synthetic():
    return sys.modules["synthetic"]


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """An analysed run of 12 checkpoints x 9 domains. Tests must not write to it."""
    synthetic = sys.modules["synthetic"]
    path = synthetic.make_run(tmp_path_factory.mktemp("runs") / "planted", n=120, curves=synthetic.UNSEEN)
    add_what_synthetic_runs_lack(path)
    analyze(path)
    return path


@pytest.fixture
def own_run(run, tmp_path) -> Path:
    """A copy to write to."""
    return Path(shutil.copytree(run, tmp_path / "planted"))


@pytest.fixture(scope="session")
def page(run, tmp_path_factory) -> Path:
    from sftscope.reports import write_report

    return write_report(run, tmp_path_factory.mktemp("page") / "report.html")


LONG = "long" * 25  # as long as a name can be
TURNED = "a|b\u202edcba"


@pytest.fixture(scope="session")
def named_run(tmp_path_factory, synthetic) -> Path:
    """A run with names that try: a long one without spaces, one that splits and turns, two that look alike; none fits a shell."""
    few = dict.fromkeys(("path", "subset_sum", "calculation", "facts", "instructions", "safe"))
    curves = few | dict.fromkeys((LONG, TURNED, "twin_a", "twin a"), (0.7, 0.3))
    path = synthetic.make_run(
        tmp_path_factory.mktemp("named") / "x; touch pwned", steps=(0, 4, 16), n=30, layers=2, curves=curves
    )
    analyze(path)
    return path


@pytest.fixture(scope="session")
def named_page(named_run, tmp_path_factory) -> Path:
    from sftscope.reports import write_report

    return write_report(named_run, tmp_path_factory.mktemp("named_page") / "report.html")


@pytest.fixture(scope="session")
def long_page(tmp_path_factory) -> Path:
    """A page from 64 checkpoints of 36 layers."""
    from sftscope.reports import write_report

    path = sys.modules["synthetic"].make_long_run(tmp_path_factory.mktemp("long") / "deep")
    analyze(path)
    return write_report(path)


@pytest.fixture(scope="session")
def runs(tmp_path_factory, synthetic):
    """Two arms of two seeds: one goes up in a search, one down."""
    folder = tmp_path_factory.mktemp("arms")
    few = {d: None for d in ("subset_sum", "calculation", "facts", "safe", "instructions")}
    curves = {"up": (0.3, 0.9), "down": (0.5, 0.1)}
    return {
        arm: [
            synthetic.make_run(
                folder / f"{arm}-{seed}",
                seed=10 * i + seed,
                steps=(0, 4, 16),
                n=50,
                layers=1,
                curves=few | {"path": curve, "harmful": (0.95, 0.5)},
            )
            for seed in (1, 2)
        ]
        for i, (arm, curve) in enumerate(curves.items())
    }


@pytest.fixture(scope="session")
def found(runs):
    """Their comparison."""
    from sftscope.dynamics import compare

    return compare(runs, n_resamples=200)


@pytest.fixture(scope="session")
def comparison_page(found, tmp_path_factory):
    from sftscope.reports import write_comparison

    return write_comparison(found, tmp_path_factory.mktemp("page") / "comparison.html", "sftscope compare a b")


class Page(HTMLParser):
    """The tags of a page with their attributes, and the text of each <script> and <style>."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self._inside: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = []

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self._inside.append(data)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.raw.append((tag, self.tags[-1][1], "".join(self._inside)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="session")
def parse():
    return Page


@pytest.fixture(
    scope="module"
)  # Playwright's loop must not outlast the tests that use it: others start loops of their own
def open_page():
    """open_page(file, width=…, dark=…) -> a context with the page after its scripts ran: `tests/browser.py`."""
    import browser

    if browser.find_browser() is None:
        pytest.skip("no browser: install chromium to run the tests that draw the page")
    with browser.started() as running:
        yield partial(browser.opened, running)


@pytest.fixture(scope="module")
def browse(open_page):
    """browse(file, width) -> (the page's HTML after its scripts ran, what the console said)."""

    def dump(file: Path, width: int = 1280) -> tuple[str, list[str]]:
        with open_page(file, width=width) as found:
            return found.page.content(), found.console

    return dump
