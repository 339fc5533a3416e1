"""Norms beside torch's LayerNorm."""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """x / rms(x) * weight, without a mean and a bias: (..., width) -> (..., width). Zhang and Sennrich 2019
    (https://arxiv.org/abs/1910.07467)."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = nn.functional.rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, self.epsilon)
        return result
