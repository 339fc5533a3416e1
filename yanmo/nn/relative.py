"""Relative positions: a query meets a key by how far back it lies, not by its place (Dai et al. 2019, section 3.3,
https://arxiv.org/abs/1901.02860), which is what lets the hidden states of earlier segments be used again.

The score of query i and key j is ((q_i + u) k_j + (q_i + v) r_(i-j)) / sqrt(d): u and v are learnt, r_(i-j) is a projection of the
sinusoids of the distance. The second term is worked out once for each distance, then brought to each key's own: `shift`, `pick`.
Shapes: b rows, h heads, l queries, s keys, n distances, d width of a head. Rectangles only, since the bias depends on content.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from yanmo.nn.attention import attend
from yanmo.nn.linear import Linear


def sinusoids(before: int, after: int, width: int, *, clamp: int, like: Tensor) -> Tensor:
    """(before + 1 + after, width): sines, then cosines, of the distances from `before` tokens back to `after` tokens ahead.

    clamp: the farthest distance that is told apart; 0 or less: all are. like: whose device and dtype the answer has. width is even.
    """
    distance = torch.arange(before, -after - 1, -1, dtype=torch.float32, device=like.device)
    if clamp > 0:
        distance = distance.clamp(-clamp, clamp)
    speeds = 10000.0 ** (-torch.arange(0, width, 2, device=like.device) / width)
    angle = distance[:, None] * speeds
    return torch.cat([angle.sin(), angle.cos()], -1).to(like.dtype)


def shift(scores: Tensor, keys: int) -> Tensor:
    """(..., l, n) scores by distance, from s = `keys` tokens back on -> (..., l, s) scores by key, for queries that are the last l
    of the keys. Where no key after its query is seen, the distances may end at 0: what stands at those keys has no meaning then.

    Query i and key j are s - l + i - j apart, which is column l - i + j. Read as one line, from place l on and in rows of n - 1, each
    row begins where its first key's distance stands (appendix B).
    """
    *_, queries, distances = scores.shape
    line = scores.flatten(-2)[..., queries:]
    return line.view(*line.shape[:-1], queries, distances - 1)[..., :keys]


def pick(scores: Tensor, keys: int, places: Tensor) -> Tensor:
    """The same for queries that are no keys, at `places` (b, p) among the last l keys or just after: (b, h, p, n) -> (b, h, p, s)."""
    column = keys - places[..., None] + torch.arange(keys, device=places.device)
    return scores.gather(-1, column[:, None].expand(-1, scores.shape[1], -1, -1))


class RelativeBiases(nn.Module):
    """What a query adds to itself where it meets a key's content (u), and where it meets its distance (v): (heads, d) each."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.content = nn.Parameter(torch.zeros(heads, width))
        self.distance = nn.Parameter(torch.zeros(heads, width))


class SegmentScores(nn.Module):
    """What a key of the query's own segment scores, and what one of another: queries (b, h, l, d), and whether a key is of another
    segment (b, 1, l, s), -> (b, h, l, s). Yang et al. 2019, section 2.5."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(heads, width))
        self.vectors = nn.Parameter(torch.zeros(2, heads, width))

    def forward(self, q: Tensor, other: Tensor) -> Tensor:
        own, others = ((q + self.bias[:, None]) @ self.vectors.permute(1, 2, 0)).chunk(2, -1)
        return torch.where(other, others, own)


class RelativeAttention(nn.Module):
    """Attention to a memory (b, m, width) and to the tokens themselves by how far back they lie: (b, l, width) -> (b, l, width). No
    projection has a bias."""

    def __init__(self, width: int, heads: int, head_width: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.scale, self.dropout = heads, head_width**-0.5, dropout
        self.query = Linear(width, heads * head_width, bias=False)
        self.key = Linear(width, heads * head_width, bias=False)
        self.value = Linear(width, heads * head_width, bias=False)
        self.distance = Linear(width, heads * head_width, bias=False)
        self.output = Linear(heads * head_width, width, bias=False)

    def forward(
        self,
        x: Tensor,
        *,
        memory: Tensor,
        waves: Tensor,
        biases: RelativeBiases,
        places: Tensor | None = None,
        more: Callable[[Tensor], Tensor] | None = None,
        **sight: Any,
    ) -> Tensor:
        """waves (n, width): `sinusoids` from m + l tokens back on. more: queries (b, h, l, d) -> further scores (b, h, l, s). sight:
        `attend`'s mask, causal, window.

        places (b, p): the last p of x see and are not seen, and stand at these places among the keys (`pick`).
        """
        tokens = x.shape[1] - (0 if places is None else places.shape[1])
        source = torch.cat([memory, x[:, :tokens]], 1)
        q, k, v = (
            layer(part).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, part in ((self.query, x), (self.key, source), (self.value, source))
        )
        r = self.distance(waves).unflatten(-1, (self.heads, -1)).permute(1, 2, 0)  # (h, d, n)
        far = (q + biases.distance[:, None]) @ r
        bias = shift(far[:, :, :tokens], k.shape[2])
        if places is not None:
            bias = torch.cat([bias, pick(far[:, :, tokens:], k.shape[2], places)], 2)
        if more is not None:
            bias = bias + more(q)
        drop = self.dropout if self.training else 0.0
        near = q + biases.content[:, None]
        mixed = attend(near, k, v, bias=self.scale * bias, scale=self.scale, dropout=drop, **sight)
        result: Tensor = self.output(mixed.transpose(1, 2).flatten(-2))
        return result
