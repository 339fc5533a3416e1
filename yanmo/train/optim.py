"""Optimisers, by name, over a model's trainable parameters."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

OPTIMISERS: dict[str, Any] = {
    "adamw": lambda groups, lr: torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6, fused=True),
    "adam": lambda groups, lr: torch.optim.Adam(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6, fused=True),
    "sgd": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9),
}


def make(name: str, model: nn.Module, *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), Adam (Kingma & Ba 2015) or SGD with momentum. Decay spares vectors: biases and norms."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay, "initial_lr": lr},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0, "initial_lr": lr},
    ]
    optimiser: torch.optim.Optimizer = OPTIMISERS[name]([group for group in groups if group["params"]], lr)
    return optimiser


@torch.no_grad()
def penalise(parameters: Iterable[nn.Parameter], *, l1: float, l2: float) -> None:
    """Add the gradients of l1 * sum|w| and l2/2 * sum w^2 of the matrices to the gradients that are there."""
    for parameter in parameters:
        if parameter.grad is not None and parameter.ndim > 1:
            if l1:
                parameter.grad.add_(parameter.sign(), alpha=l1)
            if l2:
                parameter.grad.add_(parameter, alpha=l2)
