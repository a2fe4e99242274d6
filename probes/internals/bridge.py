"""TransformerBridge on a model that must not notice: the bridge rewires the model it is given, so it gets a shell.

The shell is a second module of the same class that shares the live model's parameters (no copy, follows training), built
from a copied config, because the bridge also flips the config's attention implementation. This file is the one place that
touches transformer-lens' builder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ..protocol import Edit, Edits

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def shell_of(model: PreTrainedModel) -> PreTrainedModel:
    """A module of the same class that shares `model`'s parameters; wrapping or hooking it leaves `model` as it is."""
    config = type(model.config).from_dict(model.config.to_dict())
    config._attn_implementation = model.config._attn_implementation
    with torch.random.fork_rng(
        devices=[]
    ):  # building a module initialises it: the live run's random state must not move
        shell = type(model)(config)
    shell.load_state_dict(model.state_dict(), assign=True)
    shell.tie_weights()
    torch.nn.Module.to(shell, device=model.device)  # buffers, which are not shared
    return shell.eval()


class BridgedModel:
    """A parameter-sharing shell inside a TransformerBridge: `model` runs (and generates) as Hugging Face's, with hook points.

    `bridge` is the TransformerBridge for whoever wants more than this class offers.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

        self.model = shell_of(model)
        self.n_layers = int(self.model.config.get_text_config().num_hidden_layers)
        self.bridge = build_bridge_from_module(self.model, type(model).__name__, hf_config=self.model.config)

    @contextmanager
    def editing(self, edits: Edits) -> Iterator[PreTrainedModel]:
        """Within the context the residual stream after block i (`blocks.{i}.hook_resid_post`) is replaced by `edits[i]` of it."""

        def as_hook(edit: Edit) -> Callable:
            return lambda value, hook: edit(value)

        hooks = [(f"blocks.{layer}.hook_resid_post", as_hook(edit)) for layer, edit in edits.items()]
        with self.bridge.hooks(fwd_hooks=hooks):
            yield self.model
