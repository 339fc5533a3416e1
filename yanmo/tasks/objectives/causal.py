"""Causal language modelling: each token of a row is said from those before it (Bengio et al. 2003; Radford et al. 2019, section 2).

A document stands between the special tokens that the tokeniser has; where it has none for the beginning, its first token is not
predicted. A long document is read in rows that go on from each other: each begins with the last token of the row before and says what
follows, so that every token is said once. A Transformer-XL reads its rows without a memory of the row before.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from yanmo.settings import Block
from yanmo.tasks.base import ids_of
from yanmo.tasks.objectives.objective import Objective
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example


class Settings(Block):
    name: Literal["causal"] = "causal"
    max_length: int = Field(128, ge=8, description="documents are cut into rows of at most this many tokens")


class Causal(Objective):
    name = "causal"
    head = "causal"
    unbroken = True
    counts_characters = True

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        """A row is read without its last token, after which nothing is said; a row of one token is read, and says nothing."""
        rows = ids_of(examples)
        run = pack([row[: max(1, len(row) - 1)] for row in rows])
        select = None
        if any(len(row) == 1 for row in rows):
            select = torch.from_numpy(np.flatnonzero(np.repeat([len(row) > 1 for row in rows], run.lengths)))
        labels = torch.from_numpy(np.concatenate([row[1:] for row in rows]).astype(np.int64))
        return Batch(run, labels=labels, select=select, rows=tuple(e.id for e in examples))
