"""An exponential moving average of the weights, which is scored and kept in place of the last ones.

Source: Polyak & Juditsky 1992; the decay warms up as min(decay, (1 + n) / (10 + n)) (Tarvainen & Valpola 2017, appendix).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The average of a model's parameters. decay: share of the old average that stays at each step."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.parameters = dict(model.named_parameters())
        self.decay = decay
        self.values = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step`, which counts from 1."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), list(self.parameters.values()), weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The average stands in the model for the length of the block."""
        last = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.put(self.values)
        try:
            yield
        finally:
            self.put(last)

    @torch.no_grad()
    def put(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
