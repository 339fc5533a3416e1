"""The linear layer of all families: torch's, through whichever of its two libraries multiplies faster on this processor.

torch multiplies float32 matrices with MKL, which keeps its wide kernels for Intel's processors; oneDNN, which torch carries too, has
them for every processor with AVX-512. The sums are of float32 numbers either way, only their order differs.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from yanmo import machine

_LEAST = 1 << 21  # products; below, a call costs more than it saves


class Linear(nn.Linear):
    """torch's layer, by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def is_linear(module: nn.Module) -> bool:
    """Whether it is a linear layer and nothing else: what derives from one may use its weight in another way."""
    return type(module) in (nn.Linear, Linear)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., inputs), weight (outputs, inputs), bias (outputs,) -> (..., outputs): `torch.nn.functional.linear`.

    Where gradients are taken oneDNN may do it; these can be taken once. Answers stay MKL's: it adds up in blocks, so that they are nearer
    to the exact ones, and to those of others.
    """
    known = x.device.type == weight.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    if (
        not known
        or x.numel() * len(weight) < _LEAST
        or torch.is_autocast_enabled("cpu")
        or not machine.prefers_onednn()
    ):
        return F.linear(x, weight, bias)
    if not torch.is_grad_enabled() or not any(part is not None and part.requires_grad for part in (x, weight, bias)):
        return F.linear(x, weight, bias)
    result: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return result


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Each matrix whole in memory, as it is or turned: the library reads any other far slower."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight)
        return _multiply(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        gradient = gradient.contiguous()  # that of a sum has no strides
        rows, columns = x.flatten(0, -2), gradient.flatten(0, -2)
        of_weight = None
        if (
            for_weight and len(weight) < weight.shape[1]
        ):  # the library is quicker where the result is no wider than high
            of_weight = _multiply(columns.t(), rows.t(), None)
        elif for_weight:
            of_weight = _multiply(rows.t(), columns.t(), None).t()
        return (
            _multiply(gradient, weight.t(), None) if for_x else None,
            of_weight,
            columns.sum(0) if for_bias else None,
        )
