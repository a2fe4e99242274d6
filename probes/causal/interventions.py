"""Directional ablation and addition: edits of the residual stream along a direction (arXiv 2406.11717)."""

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


def at_last_prompt(edit: Edit) -> Edit:
    """The edit at the last prompt token alone: where the direction and the harmless mean were measured.

    Pinned to that mean at every position, an organism lost its harmless compliance too (1.00 to 0.00), since other positions
    have means of their own; at the site it keeps it. The prompt is what comes in more than one position at once (left-padded,
    so it ends at -1); cached decoding then feeds single tokens.
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
