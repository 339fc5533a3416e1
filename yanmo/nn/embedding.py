"""Embeddings beyond one vector a token (n-grams of tokens, looked up in a table of those that were frequent in training), and what
becomes of the tensors that have a row a token when the vocabulary grows."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Growth:
    """A vocabulary that grows from `old` to `new` rows, old token ids staying what they are. pieces: new token id -> the old ids that
    stood for it. A family names the method that each of its tensors needs (`Family.vocabulary`)."""

    old: int
    new: int
    pieces: Mapping[int, Sequence[int]]

    def rows(self, tensor: Tensor) -> Tensor:
        """(old, ...) -> (new, ...): a new token's row is the mean of its pieces' rows; every other row that is new is the mean of all.
        A table of fewer rows holds the last ones of the vocabulary (an adaptive embedding's), and of the pieces those count."""
        first = self.old - len(tensor)
        grown = tensor.new_empty(self.new - first, *tensor.shape[1:])
        grown[: len(tensor)] = tensor
        grown[len(tensor) :] = tensor.mean(0)
        for id, pieces in self.pieces.items():
            held = [piece - first for piece in pieces if piece >= first]
            if held and id >= first:
                grown[id - first] = tensor[held].mean(0)
        return grown

    def keys(self, tensor: Tensor) -> Tensor:
        """The keys of n-grams, which are numbers to the base of the vocabulary; they stay sorted, for their digits stay as they are."""
        known = tensor >= 0
        rest, grown, place = torch.where(known, tensor, 0), torch.where(known, 0, tensor), 1
        while rest.any():
            grown = grown + rest % self.old * place
            rest, place = rest // self.old, place * self.new
        return grown


def grow(
    tensors: Mapping[str, Tensor], table: Mapping[str, Callable[[Growth, Tensor], Tensor]], growth: Growth
) -> dict[str, Tensor]:
    """A model's tensors for the larger vocabulary. table: pattern of a whole name -> what becomes of such a tensor."""
    with torch.no_grad():
        return {
            name: next((how(growth, tensor) for pattern, how in table.items() if re.fullmatch(pattern, name)), tensor)
            for name, tensor in tensors.items()
        }


@torch.no_grad()
def set_rows(table: Tensor, ids: np.ndarray, vectors: np.ndarray) -> None:
    """Put (n, width) vectors into the rows `ids` of an embedding, as loud as its rows are: scaled to their deviation."""
    rows = torch.from_numpy(vectors).to(table)
    table[torch.from_numpy(ids)] = rows * (table.std() / rows.std().clamp(min=1e-12))


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

    @torch.no_grad()
    def forget(self) -> None:
        """Know no n-gram, and let those that it learns add nothing until they are trained."""
        self.keys.copy_(torch.arange(len(self.keys)) - len(self.keys))
        self.table.weight.zero_()

    def forward(self, ids: Tensor, positions: Tensor, dropout: float) -> Tensor:
        """(t,) ids and their places in their rows -> (t, width). dropout: the share of n-grams left out in training."""
        key = ids
        for back in range(1, self.size):
            key = key + F.pad(ids, (back, 0))[: len(ids)] * self.vocabulary**back
        place = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
        known = (self.keys[place] == key) & (positions >= self.size - 1)  # no n-gram reaches into the row before
        if self.training and dropout:
            known = known & (torch.rand(known.shape, device=ids.device) >= dropout)
        where = known.nonzero()[:, 0]  # an n-gram that is not looked up leaves every row alone, in the backward too
        vectors: Tensor = self.table(place[where])
        return vectors.new_zeros(len(ids), vectors.shape[1]).index_copy(0, where, vectors)

    @torch.no_grad()
    def learn(self, rows: Sequence[np.ndarray], special: Sequence[int]) -> None:
        """Know the n-grams that stand in most rows of token ids, and in at least two; none with a special token."""
        ids = np.concatenate(rows).astype(np.int64)
        row_of = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        key, whole = ids.copy(), ~np.isin(ids, special)
        for back in range(1, self.size):
            key[back:] += ids[:-back] * self.vocabulary**back
            whole[back:] &= (row_of[back:] == row_of[:-back]) & ~np.isin(ids[:-back], special)
            whole[:back] = False
        key, row_of = key[whole], row_of[whole]
        order = np.lexsort((row_of, key))
        key, row_of = key[order], row_of[order]
        once_a_row = np.ones(len(key), dtype=bool)
        once_a_row[1:] = (key[1:] != key[:-1]) | (row_of[1:] != row_of[:-1])
        found, counts = np.unique(key[once_a_row], return_counts=True)
        frequent = np.lexsort((found, -counts))[: len(self.keys)]
        chosen = np.sort(found[frequent[counts[frequent] > 1]])
        if len(chosen):
            self.keys[len(self.keys) - len(chosen) :] = torch.from_numpy(chosen)


def learn_ngrams(model: nn.Module, rows: Sequence[np.ndarray], special: Sequence[int]) -> None:
    """Fill a model's tables of n-grams from training rows: a family's `learn`."""
    for module in model.modules():
        if isinstance(module, NgramEmbedding):
            module.learn(rows, special)
