"""Directional ablation and addition: edits of the residual stream along a direction (arXiv 2406.11717)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from ...dynamics.errors import ConfigError
from ..protocol import Edit

if TYPE_CHECKING:
    import torch


def ablate(unit_D: torch.Tensor, offset: float) -> Edit:
    """Set the coordinate along a unit direction to `offset`, the harmless mean's own coordinate there.

    Affine ablation (2411.09003): the harmless state, not the origin, is what "no refusal signal" looks like.
    """

    def edit(resid_BTD: torch.Tensor) -> torch.Tensor:
        unit = unit_D.to(resid_BTD)
        coordinate = resid_BTD @ unit
        return resid_BTD + (offset - coordinate).unsqueeze(-1) * unit

    return edit


_columns_after_prompt: ContextVar[int | None] = ContextVar("columns after the prompt's last token", default=0)


@contextmanager
def prompt_ends_before(columns: int | None) -> Iterator[None]:
    """Within the context a pass of several columns holds so many after the last prompt token; None: unlike many in its rows."""
    token = _columns_after_prompt.set(columns)
    try:
        yield
    finally:
        _columns_after_prompt.reset(token)


def at_last_prompt(edit: Edit, offset: int = -1) -> Edit:
    """The edit at the last prompt token alone: where the direction and the harmless mean were measured.

    `offset`: another token of the prompt, counted from its end (-1: the last; prompts are at least as long).

    Pinned to that mean at every position, an organism lost its harmless compliance too (1.00 to 0.00), since other positions
    have means of their own; at the site it keeps it. The prompt is what comes in more than one position at once (left-padded,
    so that it ends in one column: the last, or as `prompt_ends_before` says); cached decoding then feeds single tokens.
    Raises ConfigError where turns were made to begin with unlike many tokens, so that prompts end in no one column.
    """

    def edit_site(resid_BTD: torch.Tensor) -> torch.Tensor:
        if resid_BTD.shape[1] == 1:
            return resid_BTD
        columns = _columns_after_prompt.get()
        if columns is None:
            raise ConfigError("to edit the last prompt token all turns have to begin with equally many tokens")
        site = resid_BTD.shape[1] + offset - columns
        edited = resid_BTD.clone()
        edited[:, site : site + 1] = edit(resid_BTD[:, site : site + 1])
        return edited

    return edit_site


def at_last_given(edit: Edit) -> Edit:
    """The edit at the last token before the model's own: of the prompt, or of what the turn was made to begin with.

    Given tokens come in more than one position at once, left-padded, so that they end in the last column.
    """

    def edit_site(resid_BTD: torch.Tensor) -> torch.Tensor:
        if resid_BTD.shape[1] == 1:
            return resid_BTD
        edited = resid_BTD.clone()
        edited[:, -1:] = edit(resid_BTD[:, -1:])
        return edited

    return edit_site


def add(vector_D: torch.Tensor) -> Edit:
    """Add a vector."""

    def edit(resid_BTD: torch.Tensor) -> torch.Tensor:
        return resid_BTD + vector_D.to(resid_BTD)

    return edit
