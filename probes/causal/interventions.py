"""Directional ablation and addition: what a direction does, beside what a random one of equal length does (2406.11717)."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def add(vector_D: torch.Tensor) -> Edit:
    """Add a vector at every position."""

    def edit(resid_BTD: torch.Tensor) -> torch.Tensor:
        return resid_BTD + vector_D.to(resid_BTD)

    return edit
