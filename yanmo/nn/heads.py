"""Heads: what turns a family's hidden states into logits. They take tensors; which head a family has is the family's business.

The head of a task is given all states (t, width) of packed rows, and where each row's first and last token stand.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from yanmo.nn.feedforward import ACTIVATIONS
from yanmo.nn.linear import Linear, linear


def _mean_and_largest(hidden: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    lengths = ends - starts + 1
    return torch.cat([torch.segment_reduce(hidden, how, lengths=lengths) for how in ("mean", "max")], -1)


# What a row's one state is: (hidden (t, width), starts, ends) -> (rows, width, or twice that for "mean_max").
PLACES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "first": lambda hidden, starts, ends: hidden[starts],
    "last": lambda hidden, starts, ends: hidden[ends],
    "max": lambda hidden, starts, ends: torch.segment_reduce(hidden, "max", lengths=ends - starts + 1),
    "mean_max": _mean_and_largest,
}


class Pooler(nn.Module):
    """BERT's pooler, activation(dense(state of a row)): (rows, width) -> (rows, width). Devlin et al. 2019, section 3.2."""

    def __init__(self, width: int, activation: str = "tanh", dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = Linear(width, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, state: Tensor) -> Tensor:
        return self.activation(self.dense(self.dropout(state)))


class RowHead(nn.Module):
    """One answer a row: its state at `place`, through `pool`, dropout and one linear layer -> (rows, classes)."""

    def __init__(
        self,
        width: int,
        classes: int,
        *,
        place: str = "first",
        pool: nn.Module | None = None,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.place = PLACES[place]
        self.pool = pool or nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.output = Linear(2 * width if place == "mean_max" else width, classes, bias=bias)

    def forward(self, hidden: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
        result: Tensor = self.output(self.dropout(self.pool(self.place(hidden, starts, ends))))
        return result


class TokenHead(nn.Module):
    """One answer a token: dropout and one linear layer -> (t, classes)."""

    def __init__(self, width: int, classes: int, *, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = Linear(width, classes, bias=bias)

    def forward(self, hidden: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
        result: Tensor = self.output(self.dropout(hidden))
        return result


# For a family that has none of this kind: (width, answers, ...) -> the part.
GENERIC: dict[str, Callable[..., nn.Module]] = {"classify": RowHead, "tag": TokenHead, "span": TokenHead}


class LanguageHead(nn.Module):
    """The vocabulary's matrix, which is the word embedding where they are tied: (n, width) -> (n, vocabulary). Give it only the
    positions whose logits are wanted."""

    def __init__(self, width: int, vocabulary: int, *, tied: bool, bias: bool = False) -> None:
        super().__init__()
        self.output = None if tied else Linear(width, vocabulary, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocabulary)) if bias else None

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        return linear(hidden, embedding if self.output is None else self.output.weight, self.bias)


class MaskedHead(nn.Module):
    """BERT's language-model head: dense, activation, norm, then the vocabulary's matrix: (n, width) -> (n, vocabulary). Give it only
    the positions whose logits are wanted."""

    def __init__(self, width: int, vocabulary: int, activation: str, epsilon: float, *, tied: bool) -> None:
        super().__init__()
        self.dense = Linear(width, width)
        self.activation = ACTIVATIONS[activation]
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.decoder = LanguageHead(width, vocabulary, tied=tied, bias=True)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        result: Tensor = self.decoder(self.norm(self.activation(self.dense(hidden))), embedding)
        return result
