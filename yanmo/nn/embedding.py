"""Embeddings beyond one vector a token: n-grams of tokens, looked up in a table of those that were frequent in training."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NgramEmbedding(nn.Module):
    """The vector of the n-gram that ends at each token, 0 where it is not one of the `rows` that the table knows.

    An n-gram is known by one number: its ids as digits to the base `vocabulary`. `keys` holds the known ones, sorted; it is part
    of the saved state and is filled by `learn`.
    """

    keys: Tensor

    def __init__(self, size: int, rows: int, vocabulary: int, width: int) -> None:
        super().__init__()
        self.size, self.vocabulary = size, vocabulary
        self.table = nn.Embedding(rows, width)
        # Keys that no n-gram has, so that an untrained table adds nothing; sorted, as the search needs.
        self.register_buffer("keys", torch.arange(rows) - rows)

    def forward(self, ids: Tensor, positions: Tensor, dropout: float) -> Tensor:
        """(t,) ids and their places in their rows -> (t, width). dropout: the share of n-grams left out in training."""
        key = ids
        for back in range(1, self.size):
            key = key + F.pad(ids, (back, 0))[: len(ids)] * self.vocabulary**back
        place = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
        known = (self.keys[place] == key) & (positions >= self.size - 1)  # no n-gram reaches into the row before
        if self.training and dropout:
            known = known & (torch.rand(known.shape, device=ids.device) >= dropout)
        result: Tensor = self.table(place) * known[:, None]
        return result

    @torch.no_grad()
    def learn(self, rows: Iterable[np.ndarray], special: Sequence[int]) -> None:
        """Know the n-grams that stand in most rows of token ids, and in at least two; none with a special token."""
        counts: Counter[int] = Counter()
        for ids in rows:
            key, plain = ids.astype(np.int64), ~np.isin(ids, special)
            for back in range(1, self.size):
                key[back:] += ids[:-back].astype(np.int64) * self.vocabulary**back
                plain[back:] &= ~np.isin(ids[:-back], special)
            counts.update(np.unique(key[self.size - 1 :][plain[self.size - 1 :]]).tolist())
        frequent = sorted(key for key, count in counts.most_common(len(self.keys)) if count > 1)
        if frequent:
            self.keys[len(self.keys) - len(frequent) :] = torch.tensor(frequent)
