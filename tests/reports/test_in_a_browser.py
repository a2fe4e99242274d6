"""Pages in a real browser: silent, self-contained, soon there, open to everyone, and nothing cut or covered."""

from pathlib import Path

import pytest

PAGES = {
    "page": 10,
    "long_page": 10,
    "comparison_page": 5,
}  # fixtures, each of a file, and figures that it has at least
# What is folded away too; of the figures and their tables, which one template makes, the first.
OPEN = "() => document.querySelectorAll('details').forEach((d) => { d.open = !d.querySelector('.data'); })"


@pytest.fixture(params=PAGES)
def file(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("name", PAGES)
def test_it_loads_in_silence_fetches_nothing_and_is_painted_within_two_seconds(name, request, open_page):
    with open_page(request.getfixturevalue(name)) as found:
        assert found.first_paint_ms < 2000
        figures = found.page.locator("figure").count()
        assert figures >= PAGES[name]
        assert found.page.locator('.chart[data-state="drawn"]:has(svg)').count() == figures
        assert not found.console
        assert not found.requests


@pytest.mark.parametrize(
    ("name", "dark"), [*((name, False) for name in PAGES), ("page", True), ("comparison_page", True)]
)
def test_axe_finds_nothing_serious(name, dark, request, open_page):
    with open_page(request.getfixturevalue(name), dark=dark) as found:
        found.page.evaluate(OPEN)
        assert found.grave_findings() == []


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut_or_covered(file, open_page, width):
    with open_page(file, width=width) as found:
        assert found.misplaced() == []


WRITTEN = "() => [...document.querySelectorAll('.chart svg text')].map((t) => t.textContent)"


def test_every_x_axis_is_drawn_with_numbers_alone(page, open_page):
    with open_page(page) as found:
        names = found.page.eval_on_selector_all('[name="x-axis"]', "all => all.map((one) => one.value)")
        assert names == ["step", "epoch", "tokens", "cumulative_lr"]
        for name in [*names[1:], "step"]:
            found.page.check(f'[name="x-axis"][value="{name}"]')
            found.page.wait_for_function(
                f"() => [...document.querySelectorAll('.chart')].every((c) => c.dataset.as.endsWith(' {name}'))"
            )
            written = found.page.evaluate(WRITTEN)
            assert len(written) > 100
            assert not [text for text in written if "NaN" in text or "undefined" in text], name
        assert not found.console


def test_the_checks_find_what_is_wrong(tmp_path, open_page):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<html><body><img src='http://localhost:9/x.png'><h1>a</h1><p style='color:#ccc;background:#fff'>pale</p>"
        "<p style='width:900px'>wide</p><p style='margin-top:-20px'>over</p><script>missing()</script></body></html>"
    )
    with open_page(bad, width=390) as found:
        assert found.requests == ["http://localhost:9/x.png"]
        assert any("missing is not defined" in line for line in found.console)
        assert {"color-contrast", "image-alt"} <= {line.split()[0] for line in found.grave_findings()}
        misplaced = "\n".join(found.misplaced())
        assert 'sticks out: <p> "wide"' in misplaced
        assert 'overlaps "over": <p> "wide"' in misplaced
