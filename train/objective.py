"""The loss and what is read off the logits beside it, as sums over tokens, so that any split of a batch adds up."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .data import IGNORED

CHUNK = 2048  # labelled tokens whose distribution is held at once beside the graph


def token_sums(logits_BTV: torch.Tensor, labels_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed negative log-likelihood (nats, with gradient), and detached float32 [nll, entropy, correct, tokens].

    Position t predicts label t + 1; labels of -100 carry nothing. With no label at all the sums are 0 and the gradient
    is zero. The entropy is the predictive distribution's, in nats; `correct` counts greedy hits.
    """
    targets = labels_BT[:, 1:]
    kept = targets != IGNORED
    target_N = targets[kept]
    return sums_over_tokens(logits_BTV[:, :-1][kept], target_N)


def sums_over_tokens(logits_NV: torch.Tensor, target_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for labelled tokens only: a row of logits and a target each."""
    # float32: bf16 keeps under three digits of a log-probability
    logp_NV = F.log_softmax(logits_NV.float(), dim=-1)
    nll = -logp_NV.gather(1, target_N[:, None]).sum()
    with torch.no_grad():
        entropy = correct = nll.new_zeros(())
        for logp, target in zip(logp_NV.split(CHUNK), target_N.split(CHUNK), strict=True):
            # 0 * log 0 is 0: a probability that underflows has a finite log-softmax unless the logit itself is -inf.
            entropy = entropy - (logp.exp() * logp.clamp_min(-1e4)).sum()
            correct = correct + (logp.argmax(-1) == target).sum()
        sums = torch.stack([nll.detach(), entropy, correct, nll.new_tensor(len(target_N))]).float()
    return nll, sums
