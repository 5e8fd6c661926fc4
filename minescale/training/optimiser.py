"""Optimisers, and the running mean of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from minescale.training.config import OptimiserConfig


def make_optimiser(network: nn.Module, settings: OptimiserConfig) -> torch.optim.Optimizer:
    """The optimiser of the settings over the weights that are trained; only matrices and kernels are decayed."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0)
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.lr)


class Mean:
    """The exponential mean of a network's weights; early steps weigh more, so that random weights are soon gone."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step, from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            kept = self.state[name]
            if kept.is_floating_point():
                kept.lerp_(tensor, 1 - decay)
            else:
                kept.copy_(tensor)


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Copies of a network's tensors."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
