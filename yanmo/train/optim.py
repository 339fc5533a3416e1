"""Optimisers, by name, over a model's trainable parameters."""

import re
from collections.abc import Iterable, Mapping, Sequence
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
    name: str,
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    rates: Mapping[str, float] | None = None,
    layer_decay: float = 1.0,
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), Adam (Kingma & Ba 2015) or SGD with momentum. Decay spares vectors: biases and norms.

    rates: beginning of a parameter's name -> factor on its learning rate. One that begins no name is a SettingsError.
    layer_decay: the same from each layer to the one below it, as `depths` counts them.
    """
    rates = rates or {}
    below = depths([parameter_name for parameter_name, _ in model.named_parameters()]) if layer_decay < 1 else {}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = next((rates[start] for start in rates if parameter_name.startswith(start)), 1.0)
            factor *= layer_decay ** below.get(parameter_name, 0)
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


_LAYER = re.compile(r"((?:.*\.)?layers)\.(\d+)\.")


def depths(names: Sequence[str]) -> dict[str, int]:
    """Of the names of a model's parameters, in its order -> how many layers stand above each: 0 for what follows a stack of layers (a norm,
    a head), 1 for its top layer, one more than there are layers for what stands before it (embeddings). The layers of an encoder and of a
    decoder are two stacks. Raises SettingsError where there are no layers.

    Source: discriminative fine-tuning (Howard & Ruder 2018, https://arxiv.org/abs/1801.06146, section 3.2).
    """
    layers = {name: (found[1], int(found[2])) for name in names if (found := _LAYER.match(name))}
    heights: dict[str, int] = {}
    for stack, number in layers.values():
        heights[stack] = max(heights.get(stack, 0), number + 1)
    if not heights:
        raise SettingsError("train.layer_decay: this model has no layers above each other; leave it out")
    begun: set[str] = set()
    found_depths: dict[str, int] = {}
    for name in names:
        if name in layers:
            stack, number = layers[name]
            begun.add(stack)
            found_depths[name] = heights[stack] - number
        else:  # of the stack that it belongs to by its name, or of all
            own = [stack for stack in heights if "." in stack and name.startswith(stack.removesuffix("layers"))] or [
                *heights
            ]
            before = not begun.intersection(own)
            found_depths[name] = 1 + max(heights[stack] for stack in own) if before else 0
    return found_depths


@torch.no_grad()
def penalise(parameters: Iterable[nn.Parameter], *, l1: float, l2: float) -> None:
    """Add the gradients of l1 * sum|w| and l2/2 * sum w^2 of the matrices to the gradients that are there."""
    for parameter in parameters:
        if parameter.grad is not None and parameter.ndim > 1:
            if l1:
                parameter.grad.add_(parameter.sign(), alpha=l1)
            if l2:
                parameter.grad.add_(parameter, alpha=l2)
