"""Convolutions over packed rows."""

import torch
from torch import Tensor, nn

from yanmo.nn.feedforward import ACTIVATIONS


class NeighbourConv(nn.Module):
    """Every channel mixes a token with its neighbours (a depthwise convolution), then norm, activation and one linear layer:
    (t, width) packed rows -> (t, width). Nothing flows between rows."""

    def __init__(self, width: int, kernel: int, activation: str, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(kernel, width))
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.output = nn.Linear(width, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor, *, row_of: Tensor) -> Tensor:
        reach = len(self.weight) // 2
        # Every row is moved apart by `reach` zeros, so that a window never sees another row.
        place = torch.arange(len(x), device=x.device) + reach * (row_of + 1)
        apart = x.new_zeros(int(place[-1]) + 1 + reach, x.shape[1]).index_copy(0, place, x)
        mixed = sum(
            (apart[j : len(apart) - 2 * reach + j] * weight for j, weight in enumerate(self.weight)), x.new_zeros(())
        )
        result: Tensor = self.output(self.activation(self.norm(mixed[place - reach])))
        return result
