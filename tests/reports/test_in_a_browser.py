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


def test_in_the_dark_lines_are_lighter_and_on_paper_they_are_not(page, open_page):
    stroke = """() => getComputedStyle(document.querySelector('#figure-scores [stroke="#0072B2"]')).stroke"""
    with open_page(page, dark=True) as found:
        assert found.page.evaluate(stroke) == "rgb(75, 163, 227)"
        found.page.emulate_media(media="print", color_scheme="dark")
        assert found.page.evaluate(stroke) == "rgb(0, 114, 178)"
    with open_page(page) as found:
        assert found.page.evaluate(stroke) == "rgb(0, 114, 178)"


@pytest.mark.parametrize("width", [1280, 390])
def test_a_long_name_pushes_no_verdict_out_of_sight(named_page, open_page, width):
    with open_page(named_page, width=width) as found:
        box = found.page.locator(".verdicts .scroll").evaluate("(e) => [e.scrollWidth, e.clientWidth]")
        assert box[0] <= box[1]
        assert found.page.evaluate("document.documentElement.scrollWidth") <= width
        narrow = "(all) => Math.min(...all.map((e) => e.getBoundingClientRect().width))"
        assert found.page.locator('.verdicts th[scope="row"]').evaluate_all(narrow) > 70


def test_marks_are_told_apart_without_their_colours_and_paper_names_the_item(page, open_page):
    look = """() => Object.fromEntries(['backtrack', 'loop', 'cue', 'repetition'].map((kind) => {
        const style = getComputedStyle(document.querySelector(`.legend mark.${kind}`));
        return [kind, `${style.textDecorationLine} ${style.textDecorationStyle} ${style.borderBottomStyle}`]; }))"""
    with open_page(page, forced_colors="active") as found:
        looks = found.page.evaluate(look)
        assert len(set(looks.values())) == 4, looks
        named = found.page.locator('[data-part="which"]')
        assert not named.is_visible()
        found.page.emulate_media(media="print")
        assert named.is_visible()
        assert named.inner_text().startswith("Countdown, item countdown-")


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
