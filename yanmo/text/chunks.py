"""How documents are cut into rows for pre-training: the one arithmetic for texts in memory (`Tokenizer.chunks`) and for shards
(`mixture.Rows`)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Cut:
    """Rows of at most `longest` tokens. Each stands between the special tokens; `unbroken`, only a document does, and a row begins with
    the last token of the row before, so that each token of the document is said once from what stands before it.

    before, after: (0 or 1,) int32, the special tokens.
    """

    before: np.ndarray
    after: np.ndarray
    longest: int
    unbroken: bool

    @property
    def marks(self) -> int:
        return len(self.before) + len(self.after)

    @property
    def step(self) -> int:
        """From the beginning of a row to that of the next, in tokens."""
        return self.longest - (1 if self.unbroken else self.marks)

    def counts(self, sizes: np.ndarray) -> np.ndarray:
        """(documents,) tokens of each, without special ones -> (documents,) rows of each; none of one that is empty."""
        covered = sizes + self.marks - 1 if self.unbroken else sizes
        return np.where(sizes > 0, np.maximum(1, -(-covered // self.step)), 0)

    def lengths(self, sizes: np.ndarray) -> np.ndarray:
        """(documents,) tokens of each -> (rows,) tokens of every row."""
        counts = self.counts(sizes)
        found = np.full(int(counts.sum()), self.longest)
        some = counts > 0
        found[np.cumsum(counts)[some] - 1] = sizes[some] + self.marks - (counts[some] - 1) * self.step
        return found

    def row(self, ids: np.ndarray, number: int) -> np.ndarray:
        """Row `number` of a document: (tokens,) int32."""
        start = number * self.step
        before, after = self.before, self.after
        if self.unbroken:
            begin, end = start - len(before), start + self.longest - len(before)
            before, after = before[start:], after[: max(0, end - len(ids))]
            part = ids[max(0, begin) : end]
        else:
            part = ids[start : start + self.step]
        return np.concatenate([before, part, after], dtype=np.int32, casting="unsafe")
