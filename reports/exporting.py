"""Figures as files for papers and slides: SVG and PNG without a browser, and the numbers drawn as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from ..dynamics.comparison.compare import Comparison
from ..dynamics.errors import ConfigError
from ..dynamics.storage import no_formula, whole_file
from .document import spec_of
from .panels import Figure
from .source import Source

Axis = Literal["step", "epoch", "tokens", "cumulative_lr"]
WIDTH, PANEL, GAP, LEFT, OWN_Y = (
    1000,
    520,
    22,
    60,
    36,
)  # pixels: of a figure, of a panel at most, and what is beside panels
SCALE = 2.0  # pixels of a PNG to one of the figure: sharp in print at half a page's width
VERDICTS = (
    "domain",
    "group",
    "verdict",
    "base",
    "last",
    "last_step",
    "change",
    "lo",
    "hi",
    "smallest_detectable_dip",
    "n",
)


def export_figures(run: Path | str, folder: Path, axis: Axis = "step") -> list[Path]:
    """Write every figure of a run's page as SVG, PNG and CSV, and its verdicts as `verdicts.csv`; gives the paths.

    `axis` is what figures over training have under them. Raises RecordError where there is no run or no analysis of it,
    ConfigError where the run does not know that axis.
    """
    from .gallery import gallery

    source = Source(run)
    written = write_figures(gallery(source), folder, axis)
    return [*written, _write(Path(folder) / "verdicts.csv", csv_text(VERDICTS, verdicts(source)))]


def export_comparison(found: Comparison, folder: Path, axis: Axis = "step") -> list[Path]:
    """Write every figure of a comparison's page as SVG, PNG and CSV; gives the paths. Raises ConfigError as above."""
    from .comparison.gallery import gallery

    return write_figures(gallery(found), folder, axis)


def write_figures(figures: Iterable[Figure], folder: Path, axis: Axis = "step") -> list[Path]:
    """`ID.svg`, `ID.png` and `ID.csv` of each figure."""
    import vl_convert

    specs = {f.id: static_spec(f, axis) for f in figures}
    known = {one["name"] for spec in specs.values() for one in spec["usermeta"].get("axes") or []} | {"step"}
    if axis not in known:
        raise ConfigError(
            f"`--x-axis {axis}`: the record does not place every checkpoint on it; there are {', '.join(sorted(known))}"
        )
    written = []
    for name, spec in specs.items():
        base = Path(folder) / name
        written.append(_write(base.with_suffix(".csv"), csv_text(*data_of(spec))))
        written.append(_write(base.with_suffix(".svg"), vl_convert.vegalite_to_svg(spec)))
        written.append(_write(base.with_suffix(".png"), vl_convert.vegalite_to_png(spec, scale=SCALE)))
    return written


def static_spec(figure: Figure, axis: Axis = "step", width: int = WIDTH) -> dict[str, Any]:
    """A figure's Vega-Lite specification with its panels laid out in so many pixels, black on white, over `axis`.

    What a page's script does in the reader's window. Figures without that axis are left as they are.
    """
    spec = spec_of(figure)
    meta = spec["usermeta"]
    spec["config"]["background"] = "white"
    chosen = next((one for one in meta.get("axes") or [] if one["name"] == axis), None)
    if chosen is not None and axis != "step":
        _exchange(spec, _channel(chosen))
    left, panels = meta.get("axis", LEFT), meta.get("panels")
    if not panels:
        spec["width"] = width - left
        return spec
    side = OWN_Y if meta.get("own_y") else 0
    columns = math.ceil(panels / math.ceil(panels / 4))
    spec["columns"] = columns
    spec["spec"]["width"] = min(PANEL, (width - left - (columns - 1) * (GAP + side)) // columns)
    return spec


def _channel(chosen: dict[str, Any]) -> dict[str, Any]:
    if "x" in chosen:
        return chosen["x"]
    # Checkpoints at even distances: only what stands under them changes.
    places = ", ".join(f"'{step}': {value!r}" for step, value in chosen["at"].items())
    label = f"format({{{places}}}[datum.value], '{chosen['format']}')"
    return {"title": chosen["title"], "axis": {"labelAngle": 0, "labelExpr": label}}


def _exchange(part: dict[str, Any], x: dict[str, Any]) -> None:
    at = part.get("encoding", {}).get("x", {})
    if at.get("field") == "step":
        at.update(x)
    for inner in (part.get("spec"), *part.get("layer", [])):
        if inner:
            _exchange(inner, x)


def data_of(spec: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of what a figure draws, with each row's place on every axis."""
    sets = spec["datasets"]
    rows = sets.get(spec.get("data", {}).get("name")) or max(sets.values(), key=len)
    drawn = [name for name in rows[0] if name not in _DRAWING]
    others = {
        one["name"]: one["at"] for one in spec["usermeta"].get("axes") or [] if "at" in one and one["name"] not in drawn
    }
    table = [[*(_one_line(row[n]) for n in drawn), *(at[str(row["step"])] for at in others.values())] for row in rows]
    return [*drawn, *others], table


_DRAWING = ("colour", "estimate", "name")  # columns that hold no number and name no row


def _one_line(value: Any) -> Any:
    return value.replace("|", ", ") if isinstance(value, str) else value


def verdicts(source: Source) -> list[tuple[Any, ...]]:
    """A row per domain that was judged, of `VERDICTS`; what is unknown is empty."""
    rows = []
    for domain, phase in source.phases.items():
        bands = source.bands[source.bands["domain"] == domain].sort_values("step")
        if not len(bands):
            continue
        first, last = bands.iloc[0], bands.iloc[-1]
        values: dict[str, Any] = {
            "domain": domain,
            "group": source.groups.get(domain, ""),
            "verdict": phase.get("verdict", ""),
            "base": first["score"] if int(first["step"]) == 0 else None,
            "last": last["score"],
            "last_step": int(last["step"]),
            "change": last["diff"],
            "lo": last["diff_lo"],
            "hi": last["diff_hi"],
            "smallest_detectable_dip": last["margin"],
            "n": (phase.get("estimate") or {}).get("n"),
        }
        rows.append(tuple(values[name] for name in VERDICTS))
    return rows


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV (RFC 4180). Undefined numbers are empty, and no text can be taken for a spreadsheet's formula."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return file.getvalue()


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return no_formula(value)


def _write(path: Path, content: str | bytes) -> Path:
    with whole_file(path) as aside:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
