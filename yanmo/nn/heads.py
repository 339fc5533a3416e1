"""Heads: what turns a family's hidden states into logits. They take tensors; which head a family has is the family's business."""

from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.nn.feedforward import ACTIVATIONS


class Pooler(nn.Module):
    """BERT's pooler: tanh(dense(first token)); (rows, width) -> (rows, width). Devlin et al. 2019, section 3.2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, first: Tensor) -> Tensor:
        result: Tensor = self.dense(first).tanh()
        return result


class ClassifyHead(nn.Module):
    """Dropout and one linear layer: (rows, width) -> (rows, classes)."""

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, classes)

    def forward(self, pooled: Tensor) -> Tensor:
        result: Tensor = self.output(self.dropout(pooled))
        return result


class MaskedHead(nn.Module):
    """BERT's language-model head: dense, activation, norm, then the vocabulary's matrix (the word embedding where they are tied):
    (n, width) -> (n, vocabulary). Give it only the positions whose logits are wanted."""

    def __init__(self, width: int, vocabulary: int, activation: str, epsilon: float, *, tied: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.decoder = None if tied else nn.Linear(width, vocabulary, bias=False)
        self.bias = nn.Parameter(self.dense.weight.new_zeros(vocabulary))
        self.activation = ACTIVATIONS[activation]

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.norm(self.activation(self.dense(hidden)))
        return F.linear(hidden, embedding if self.decoder is None else self.decoder.weight, self.bias)
