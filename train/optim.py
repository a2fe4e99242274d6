"""The optimiser: AdamW with decoupled weight decay on matrices only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..dynamics.errors import ConfigError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class OptimConfig:
    """AdamW (Loshchilov & Hutter 2019). The defaults suit full fine-tuning; pretraining wants a larger `lr`."""

    lr: float = 1e-5  # peak
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01  # on parameters of two or more dimensions
    clip: float | None = 1.0  # L2 norm of the gradient of all parameters together; null: no clipping

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ConfigError(f"`optim.lr` is {self.lr}: give a learning rate above 0, such as 1e-5")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"`optim.betas` is {list(self.betas)}: give two numbers in [0, 1), such as [0.9, 0.999]")
        if not self.eps > 0 or self.weight_decay < 0:
            raise ConfigError(
                f"`optim.eps` is {self.eps}, `optim.weight_decay` {self.weight_decay}: neither may be negative"
            )
        if self.clip is not None and not self.clip > 0:
            raise ConfigError(f"`optim.clip` is {self.clip}: give a norm above 0, such as 1.0, or null for no clipping")


def make_optimizer(model: torch.nn.Module, config: OptimConfig, *, fused: bool) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of `model`; biases and norm gains do not decay."""
    import torch

    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)
