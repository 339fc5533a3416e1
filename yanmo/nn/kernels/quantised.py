"""Linear layers over 8-bit integers: a quarter of the memory, and integer arithmetic where the processor has it.

A layer holds a rotated weight, rounded to int8 with one scale for each output channel. A row x of the input takes the
same rotation R, so that R x . R w = x . w: a large value in one channel, which would waste the range of its whole row, is
spread over its block of 32 (QuaRot, Ashkboos et al. 2024, arXiv 2404.00456, in small). R is a block-diagonal Hadamard
matrix, its own inverse.

- On an x86 processor (oneDNN): each row of the input is rounded to 7 bits by its own scale and multiplied as integers.
  Seven, because processors without VNNI add two products in 16 bits and would overflow with eight; so every
  machine computes the same sums. A scale for each row, because then no answer depends on the other rows of a batch.
- Elsewhere, and where a gradient must pass: the weight as float32, the input unrounded.

Knows torch and the layout of its own tensors; who saves them, and which layers are worth it, is decided elsewhere.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yanmo.errors import ModelError
from yanmo.nn.linear import is_linear
from yanmo.nn.surgery import swap

BLOCK = 32  # channels that a rotation mixes; more costs time and gains little
ROWS = 512  # so many rows at a time: what lies between the steps then stays in the processor's cache
WEIGHT_LIMIT = 127
INPUT_LIMIT = 63
INPUT_ZERO = 64
TINY = torch.finfo(torch.float32).tiny

CONFIG = {
    "quant_method": "yanmo-int8",
    "bits": 8,
    "scheme": "symmetric, per output channel",
    "rotation": f"hadamard, blocks of gcd(inputs, {BLOCK})",
}
KEPT = "modules_to_not_convert"  # Hugging Face's key for the linear layers that stay as they were


class QuantisedLinear(nn.Module):
    """A linear layer over integers: buffers `weight` int8 (out, in), `scale` float32 (out,), `bias` float32 (out,) or None.

    As built it is empty (zeros), ready for `load_state_dict`. The weight is stored rotated; `dequantised` turns it back.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: torch.device | None = None
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.register_buffer("weight", torch.zeros(out_features, in_features, dtype=torch.int8, device=device))
        self.register_buffer("scale", torch.ones(out_features, device=device))
        self.register_buffer("bias", torch.zeros(out_features, device=device) if bias else None)
        self._packed: _Packed | None = None

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> "QuantisedLinear":
        """Round the weight of `linear`, which itself stays as it is. ModelError if the weight isn't finite."""
        weight = rotate(linear.weight.detach().float())
        if not weight.isfinite().all():
            raise ModelError(f"a weight of shape {tuple(weight.shape)} holds values that are not finite")
        layer = cls(linear.in_features, linear.out_features, linear.bias is not None, linear.weight.device)
        layer.scale.copy_((weight.abs().amax(1) / WEIGHT_LIMIT).clamp_min(TINY))
        layer.weight.copy_((weight / layer.scale[:, None]).round())
        if layer.bias is not None:
            layer.bias.copy_(linear.bias.detach())
        return layer.train(linear.training)

    def dequantised(self) -> Tensor:
        """The float32 weight (out, in) that this layer stands for, in the original basis."""
        return rotate(self.weight * self.scale.float()[:, None])

    def forward(self, x: Tensor) -> Tensor:  # (..., in) -> (..., out), of the input's dtype
        rows = x.reshape(-1, self.in_features).float()
        wants_gradient = torch.is_grad_enabled() and x.requires_grad
        if x.device.type == "cpu" and len(rows) > 0 and not wants_gradient and has_integers():
            y = torch.cat([self._over_integers(rotate(part)) for part in torch.split(rows, ROWS)])
        else:
            y = self._over_floats(rotate(rows))
        return y.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def _over_floats(self, rows: Tensor) -> Tensor:  # (rows, in) -> (rows, out)
        bias = None if self.bias is None else self.bias.float()
        return F.linear(rows, self.weight * self.scale.float()[:, None], bias)

    def _over_integers(self, rows: Tensor) -> Tensor:  # (rows, in) -> (rows, out)
        step = rows.abs().amax(1, keepdim=True).clamp_min_(TINY).div_(INPUT_LIMIT)  # (rows, 1)
        whole = (rows / step).add_(INPUT_ZERO + 0.5).to(torch.uint8)  # cutting off after + 0.5 is rounding
        packed = self._pack()
        sums: Tensor = torch.ops.onednn.qlinear_pointwise(
            whole, 1.0, INPUT_ZERO, packed.weight, self.scale.float(), packed.zeros,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return sums.mul_(step) if self.bias is None else torch.addcmul(self.bias.float(), sums, step)

    def _pack(self) -> "_Packed":
        """oneDNN's own copy of the weight: made at first use, and again when the weight was moved or loaded anew."""
        version = 0 if self.weight.is_inference() else self.weight._version
        if self._packed is None or self._packed.source is not self.weight or self._packed.version != version:
            zeros = torch.zeros(self.out_features, dtype=torch.long)
            packed = torch.ops.onednn.qlinear_prepack(self.weight, None)
            self._packed = _Packed(self.weight, version, packed, zeros)
        return self._packed

    def __getstate__(self) -> dict[str, Any]:
        # The packed copy knows neither deepcopy nor pickle, and is quickly made again.
        return {**self.__dict__, "_packed": None}

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


@dataclass(frozen=True)
class _Packed:
    source: Tensor
    version: int
    weight: Tensor
    zeros: Tensor


def rotate(x: Tensor) -> Tensor:
    """Turn the last dimension, in blocks of gcd(width, 32), by a symmetric Hadamard matrix; twice gives x again."""
    width = x.shape[-1]
    block = math.gcd(width, BLOCK)
    return (x.reshape(-1, block) @ _hadamard(block, x.device)).view(x.shape)


@cache
def _hadamard(size: int, device: torch.device) -> Tensor:  # (size, size), a power of two; Sylvester's construction
    # A tensor born in inference mode could never serve a gradient later.
    with torch.inference_mode(False):
        matrix = torch.ones(1, 1)
        while len(matrix) < size:
            matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
        return (matrix / math.sqrt(size)).to(device)


@cache
def has_integers() -> bool:
    """Whether this processor and this torch multiply integers fast: x86 with AVX2 or better, and oneDNN's operator."""
    onednn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    vectors = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    return onednn and vectors and hasattr(torch.ops.onednn, "qlinear_pointwise")


def describe(model: nn.Module) -> dict[str, Any] | None:
    """What config.json says under `quantization_config`, or None for a model without quantised layers."""
    if not any(isinstance(module, QuantisedLinear) for module in model.modules()):
        return None
    return {**CONFIG, KEPT: [name for name, module in model.named_modules() if is_linear(module)]}


def prepare(model: nn.Module, config: Any) -> list[str]:
    """Put empty quantised layers where `config` (see `describe`) has them, so that the state dict fits; return their names.

    ModelError for a method, or a layout, that is not this one.
    """
    if not isinstance(config, dict):
        raise ModelError(f"quantization_config is {config!r}, expected an object")
    wrong = [
        f"{key} is {config.get(key)!r}, not {value!r}" for key, value in CONFIG.items() if config.get(key) != value
    ]
    if wrong:
        raise ModelError(f"the quantization_config of this model can't be read: {'; '.join(wrong)}")
    kept = set(config.get(KEPT, []))
    return swap(model, lambda name, module: is_linear(module) and name not in kept, _empty)


def _empty(name: str, module: nn.Module) -> nn.Module:
    linear = cast(nn.Linear, module)
    return QuantisedLinear(linear.in_features, linear.out_features, linear.bias is not None, linear.weight.device)
