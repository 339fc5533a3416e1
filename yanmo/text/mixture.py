"""Token shards -> training rows: `Rows` cuts documents into rows as `Tokenizer.chunks` does, each made when it is asked for; `Mixture`
draws from several corpora by weight, and from the rows of several tasks (`Held`)."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np

from yanmo.text.batches import Drawn, Key
from yanmo.text.sources import Example
from yanmo.text.tokens import Shards


class Rows(Drawn):
    """Documents of shards as rows of at most `longest` tokens: what `Tokenizer.chunks` gives."""

    def __init__(
        self, shards: Shards, documents: np.ndarray, longest: int, source: str, *, unbroken: bool = False
    ) -> None:
        """documents: their numbers, in order. source: the name that the rows' ids begin with."""
        self._shards, self._documents, self._source = shards, documents, source
        self._cut = shards.tokenizer.cut(longest, unbroken=unbroken)
        sizes = shards.sizes[documents]
        self._ends = np.cumsum(self._cut.counts(sizes))  # of each document, in rows
        self.lengths = self._cut.lengths(sizes)

    def make(self, row: int) -> Example:
        document = int(self._ends.searchsorted(row, "right"))
        local = row - int(self._ends[document - 1] if document else 0)
        ids = self._cut.row(self._shards.ids(int(self._documents[document])), local)
        number = document + 1
        return Example((), (), f"{self._source}:{number}+{local * self._cut.step}", self._source, number, ids)

    def draw(self, seed: int, epoch: int) -> np.ndarray:
        """The rows of an epoch: all of them."""
        return np.arange(len(self))


class Held(Drawn):
    """Prepared rows that are at hand already."""

    def __init__(self, examples: Sequence[Example], lengths: np.ndarray) -> None:
        self._examples, self.lengths = examples, lengths

    def make(self, row: int) -> Example:
        return self._examples[row]

    def draw(self, seed: int, epoch: int) -> np.ndarray:
        return np.arange(len(self))


class Mixture(Drawn):
    """Rows of several corpora. An epoch has as many tokens as they have together, each corpus by its weight's share."""

    def __init__(self, weights: Mapping[Drawn, float]) -> None:
        self._parts, self._weights = list(weights), list(weights.values())
        self._bases = [0, *accumulate(len(part) for part in self._parts[:-1])]
        self.lengths = np.concatenate([part.lengths for part in self._parts])

    def make(self, row: int) -> Example:
        part = bisect_right(self._bases, row) - 1
        return self._parts[part].make(row - self._bases[part])

    def draw(self, seed: int, epoch: int) -> np.ndarray:
        """The rows of an epoch, a pure function of (seed, epoch). Each corpus is an endless run of shuffles of its rows, each in an
        order of its own; an epoch takes the next stretch of it, so that no row comes twice before every other has come."""
        rows = []
        for number, (part, weight, base) in enumerate(zip(self._parts, self._weights, self._bases, strict=True)):
            quota = float(self.lengths.sum()) * weight / sum(self._weights)
            first, last, size = epoch * quota, (epoch + 1) * quota, int(part.lengths.sum())
            for turn in range(int(first // size), int(last // size) + 1):
                order = Key(seed, turn, _SHUFFLES - number).generator().permutation(len(part))
                ends = np.cumsum(part.lengths[order]) + turn * size
                starts = ends - part.lengths[order]
                rows.append(base + order[(starts >= first) & (starts < last)])
        return np.concatenate(rows)


_SHUFFLES = 2**32 - 2  # an index that no batch has; the one above is that of `batches.plan`
