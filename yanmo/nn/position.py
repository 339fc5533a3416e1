"""Position by rotation: q and k are turned by an angle that grows with the token's place, so that their product knows the distance.

Source: Su et al. 2021 (https://arxiv.org/abs/2104.09864), in the form that turns the two halves of a head against each other.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Rotate = Callable[[Tensor], Tensor]


class Rotary(nn.Module):
    """(t,) positions -> a function that turns (t, heads, d). Slowest wave: 2 pi * base tokens."""

    def __init__(self, width: int, base: float) -> None:
        super().__init__()
        self.width, self.base = width, base

    def forward(self, positions: Tensor) -> Rotate:
        half = self.width // 2
        speed = self.base ** (-torch.arange(half, device=positions.device, dtype=torch.float32) / half)
        angle = positions[:, None, None] * speed  # (t, 1, d/2)
        cos, sin = angle.cos(), angle.sin()

        def rotate(x: Tensor) -> Tensor:
            a, b = x.chunk(2, -1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)

        return rotate
