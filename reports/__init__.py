"""Reports: findings in, pages out. HTML, Markdown, the terminal, and W&B; all are mirrors of the run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison.markdown import write_comparison_markdown
    from .comparison.page import write_comparison
    from .exporting import export_comparison, export_figures
    from .markdown import write_markdown
    from .page import write_report
    from .terminal import show
    from .tracking import push

__all__ = [
    "export_comparison",
    "export_figures",
    "push",
    "show",
    "write_comparison",
    "write_comparison_markdown",
    "write_markdown",
    "write_report",
]

_HOMES = {
    "export_comparison": "exporting",
    "export_figures": "exporting",
    "push": "tracking",
    "show": "terminal",
    "write_comparison": "comparison.page",
    "write_comparison_markdown": "comparison.markdown",
    "write_markdown": "markdown",
    "write_report": "page",
}


def __getattr__(name: str) -> Any:  # altair, jinja2 and wandb are imported when they are used
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
