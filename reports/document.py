"""One self-contained HTML file: its template, its figures, its scripts, and the policy that lets no other run."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import __version__
from .panels import Figure
from .responses import kinds_of
from .text import code, embed_json, shown

_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")  # for the name of a file
TEMPLATES = Path(__file__).parent / "templates"


def document(template: str, *, scripts: Sequence[str] = ("report.js",), **values: Any) -> str:
    """The page that a template makes of these values, with look, scripts and policy; the library comes with its drawing."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kinds"] = kinds_of
    environment.filters["code"] = code
    running = [*([_library()] if "report.js" in scripts else []), *map(_asset, scripts)]
    return environment.get_template(template).render(
        version=__version__,
        saved=_UNFIT.sub("-", str(values.get("name", ""))).strip("-.")[:60] or "figure",
        policy=_policy(*running, compiles="report.js" in scripts),
        css=Markup(_asset("report.css")),
        scripts=[Markup(script) for script in running],
        **values,
    )


def sections(figures: Iterable[Figure]) -> list[dict[str, Any]]:
    """Neighbouring figures of one section together: name, figures as the templates' `figure` takes them."""
    return [
        {"name": name, "figures": [figure_view(f) for f in group]}
        for name, group in groupby(figures, key=lambda f: f.section)
    ]


def figure_view(figure: Figure) -> dict[str, Any]:
    """A figure as the templates' `figure` takes it."""
    spec = spec_of(figure)
    del spec["title"]  # the heading says it
    return {
        "id": figure.id,
        "title": figure.title,
        "description": spec["description"],
        "shows": figure.shows,
        "omits": figure.omits,
        "table": figure.table,
        "spec": embed_json(spec),
    }


def spec_of(figure: Figure) -> dict[str, Any]:
    """A figure's Vega-Lite specification, its data in it."""
    import altair as alt

    with alt.data_transformers.enable("default", max_rows=None):  # altair's limit is for notebooks
        spec = figure.chart.to_dict()
    del spec["$schema"]  # an address, which nothing needs
    spec.get("config", {}).setdefault("legend", {})
    return spec


# ---------------------------------------------------------------- scripts


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed as one script, in a scope of its own."""
    import vl_convert

    bundle = (
        vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
        .replace("</script", "<\\/script")
        .replace("<!--", "<\\!--")
    )
    return f"(()=>{{{bundle}}})();"


def _policy(*scripts: str, compiles: bool) -> str:
    """A content security policy: these scripts and no other run, nothing is loaded. (Vega compiles its expressions: eval.)"""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    allowed = f"{hashes} 'unsafe-eval'" if compiles else hashes
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
