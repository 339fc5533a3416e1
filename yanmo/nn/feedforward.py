"""The position-wise feed-forward part (Vaswani et al. 2017, section 3.3) and the activations, by their Hugging Face names."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.nn.linear import Linear

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class GatedFeedForward(nn.Module):
    """A wider layer, multiplied by the activation of another: (..., width) -> (..., width). Shazeer 2020
    (https://arxiv.org/abs/2002.05202). Dropout on the product."""

    def __init__(self, width: int, inner: int, activation: str, *, bias: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.gate = Linear(width, inner, bias=bias)
        self.up = Linear(width, inner, bias=bias)
        self.down = Linear(inner, width, bias=bias)
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.down(self.dropout(self.activation(self.gate(x)) * self.up(x)))
        return result


class FeedForward(nn.Module):
    """Through a wider layer and back: (..., width) -> (..., width). Dropout on the wider one."""

    def __init__(self, width: int, inner: int, activation: str, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = Linear(width, inner, bias=bias)
        self.down = Linear(inner, width, bias=bias)
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.down(self.dropout(self.activation(self.up(x))))
        return result
