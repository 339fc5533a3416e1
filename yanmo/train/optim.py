"""Optimisers, by name, over a model's trainable parameters; embeddings with sparse gradients get an Adam that touches only their rows."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from yanmo.errors import SettingsError, gather

_BETAS, _EPSILON = (0.9, 0.98), 1e-6
OPTIMISERS: dict[str, Any] = {
    "adamw": lambda groups, lr: torch.optim.AdamW(groups, lr=lr, betas=_BETAS, eps=_EPSILON, fused=True),
    "adam": lambda groups, lr: torch.optim.Adam(groups, lr=lr, betas=_BETAS, eps=_EPSILON, fused=True),
    "sgd": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9),
}
Group = dict[str, Any]


class Optimiser:
    """One optimiser for the dense parameters and one for the sparse ones, seen as one. Each group has its `initial_lr`."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts

    @property
    def groups(self) -> list[Group]:
        return [group for part in self.parts for group in part.param_groups]

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.groups for parameter in group["params"]]

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def state(self) -> dict[Tensor, dict[str, Tensor]]:
        return {parameter: state for part in self.parts for parameter, state in part.state.items()}

    def put(self, parameter: nn.Parameter, key: str, value: Tensor) -> None:
        """Set one value of a parameter's state."""
        owner = next(part for part in self.parts if any(parameter is p for g in part.param_groups for p in g["params"]))
        owner.state[parameter][key] = value.to(parameter.device) if value.ndim else value


class RowAdam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015) for embeddings with sparse gradients: a step costs what its rows cost, not what the table does.

    A row's moments rest while it is not seen (TensorFlow's LazyAdam); no weight decay."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no loss is computed here
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad.coalesce()
                rows, values = gradient.indices()[0], gradient.values()
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros((), dtype=torch.float64)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["step"] += 1
                first = state["exp_avg"][rows].lerp_(values, 1 - _BETAS[0])
                second = state["exp_avg_sq"][rows].mul_(_BETAS[1]).addcmul_(values, values, value=1 - _BETAS[1])
                state["exp_avg"][rows], state["exp_avg_sq"][rows] = first, second
                count = float(state["step"])
                size = group["lr"] / (1 - _BETAS[0] ** count)
                scale = second.div_(1 - _BETAS[1] ** count).sqrt_().add_(_EPSILON)
                parameter.index_add_(0, rows, first.div_(scale), alpha=-size)


def make(
    name: str, model: nn.Module, *, lr: float, weight_decay: float, rates: Mapping[str, float] | None = None
) -> Optimiser:
    """AdamW (Loshchilov & Hutter 2019), Adam (Kingma & Ba 2015) or SGD with momentum. Decay spares vectors: biases and norms.

    rates: beginning of a parameter's name -> factor on its learning rate. One that begins no name is a SettingsError.
    """
    rates = rates or {}
    names = [parameter_name for parameter_name, _ in model.named_parameters()]
    roots = ", ".join(sorted({parameter_name.split(".")[0] for parameter_name in names}))
    strangers = [
        f"'{start}'; the names begin with: {roots}" for start in rates if not any(n.startswith(start) for n in names)
    ]
    gather(strangers, "train.rates: no parameter's name begins with", SettingsError)
    sparse = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse}
    dense_groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    sparse_groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = next((rates[start] for start in rates if parameter_name.startswith(start)), 1.0)
            if id(parameter) in sparse:
                sparse_groups.setdefault((factor, 0.0), []).append(parameter)
            else:
                decay = weight_decay if parameter.ndim > 1 else 0.0
                dense_groups.setdefault((factor, decay), []).append(parameter)

    def listed(groups: dict[tuple[float, float], list[nn.Parameter]]) -> list[Group]:
        return [
            {"params": parameters, "weight_decay": decay, "initial_lr": lr * factor}
            for (factor, decay), parameters in groups.items()
        ]

    parts = [OPTIMISERS[name](listed(dense_groups), lr)] if dense_groups else []
    return Optimiser([*parts, *([RowAdam(listed(sparse_groups), {"lr": lr})] if sparse_groups else [])])


def dense(gradients: Iterable[Tensor]) -> list[Tensor]:
    """What the numbers of the gradients stand in: the tensor itself, or the values of a sparse one (which must be coalesced)."""
    return [gradient.values() if gradient.is_sparse else gradient for gradient in gradients]


@torch.no_grad()
def penalise(parameters: Iterable[nn.Parameter], *, l1: float, l2: float) -> None:
    """Add the gradients of l1 * sum|w| and l2/2 * sum w^2 of the matrices to the gradients that are there; of a sparse one, to its rows."""
    for parameter in parameters:
        if parameter.grad is not None and parameter.ndim > 1:
            sparse = parameter.grad.is_sparse
            weight = parameter[parameter.grad.indices()[0]] if sparse else parameter
            (gradient,) = dense([parameter.grad])
            if l1:
                gradient.add_(weight.sign(), alpha=l1)
            if l2:
                gradient.add_(weight, alpha=l2)
