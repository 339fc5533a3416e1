"""The one residual connection: a layer is a list of these (an encoder's has 2, a cross-attending decoder's 3)."""

from typing import Any

from torch import Tensor, nn


class Residual(nn.Module):
    """x + part(norm(x)) with `pre`, norm(x + part(x)) without; dropout on the part's output. Keyword arguments reach the part."""

    def __init__(self, part: nn.Module, norm: nn.Module, *, pre: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.part = part
        self.norm = norm
        self.dropout = nn.Dropout(dropout)
        self.pre = pre

    def forward(self, x: Tensor, **context: Any) -> Tensor:
        if self.pre:
            result: Tensor = x + self.dropout(self.part(self.norm(x), **context))
        else:
            result = self.norm(x + self.dropout(self.part(x, **context)))
        return result
