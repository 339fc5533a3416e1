"""Optimisers, by name, over a model's trainable parameters."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from yanmo.errors import SettingsError, gather


def _uncompiled(kind: Any) -> Any:
    """torch's optimisers import its compiler, for a second and more, to tell it to keep out (torch 2.13, `optim/optimizer.py`). Nothing is
    compiled here; so the methods stand here as they are below that."""
    for name in ("add_param_group", "state_dict", "load_state_dict", "zero_grad"):
        if (method := getattr(getattr(kind, name), "__wrapped__", None)) is not None:
            setattr(method, "__dynamo_disable", method)
    step = getattr(kind.step, "__wrapped__", None)
    return kind if step is None else type(kind.__name__, (kind,), {"step": torch.no_grad()(step)})


ADAMW, ADAM, SGD = (_uncompiled(kind) for kind in (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD))
OPTIMISERS: dict[str, Any] = {
    "adamw": lambda groups, lr: ADAMW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6, fused=True),
    "adam": lambda groups, lr: ADAM(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6, fused=True),
    "sgd": lambda groups, lr: SGD(groups, lr=lr, momentum=0.9),
}

STATES = {"adamw": 2, "adam": 2, "sgd": 1}  # numbers that each keeps of a parameter


def make(
    name: str, model: nn.Module, *, lr: float, weight_decay: float, rates: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), Adam (Kingma & Ba 2015) or SGD with momentum. Decay spares vectors: biases and norms.

    rates: beginning of a parameter's name -> factor on its learning rate. One that begins no name is a SettingsError.
    """
    rates = rates or {}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = next((rates[start] for start in rates if parameter_name.startswith(start)), 1.0)
            groups.setdefault((factor, weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    names = [parameter_name for parameter_name, _ in model.named_parameters()]
    strangers = [start for start in rates if not any(parameter_name.startswith(start) for parameter_name in names)]
    gather(
        [
            f"'{start}'; the names begin with: {', '.join(sorted({n.split('.')[0] for n in names}))}"
            for start in strangers
        ],
        "train.rates: no parameter's name begins with",
        SettingsError,
    )
    listed = [
        {"params": parameters, "weight_decay": decay, "initial_lr": lr * factor}
        for (factor, decay), parameters in groups.items()
    ]
    optimiser: torch.optim.Optimizer = OPTIMISERS[name](listed, lr)
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
