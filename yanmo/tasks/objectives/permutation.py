"""Permutation language modelling with partial prediction (Yang et al. 2019, https://arxiv.org/abs/1906.08237, section 2.3): of a random
order of a row's tokens the last share is predicted, each from all that have an earlier turn. Special tokens are always seen.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from yanmo.models.base import Model
from yanmo.settings import Block
from yanmo.tasks.base import ids_of
from yanmo.tasks.objectives.objective import Objective, generator_of
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example


class Settings(Block):
    name: Literal["permutation"] = "permutation"
    max_length: int = Field(128, ge=8, description="documents are cut into rows of at most this many tokens")
    rate: float = Field(1 / 6, gt=0, lt=1, description="the share of a row's tokens to predict: the last in its order")


class Permutation(Objective):
    """The second column of the labels is each one's turn, from 1; all other tokens have turn 0."""

    name = "permutation"
    head = "permutation"
    perplexity = "pseudo_perplexity"

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        generator = generator_of(key, examples)
        rows = ids_of(examples)
        run = pack(rows)
        select, turns = [], []
        for row, start in zip(rows, run.starts.tolist(), strict=True):
            eligible = np.flatnonzero(self.ordinary[row])
            last = generator.permutation(eligible)[: max(1, round(self.settings.rate * len(eligible)))]
            select.append(start + np.sort(last))
            turns.append(1 + np.argsort(np.argsort(last)))
        places = torch.from_numpy(np.concatenate(select))
        labels = torch.stack([run.ids[places], torch.from_numpy(np.concatenate(turns))], 1)
        return Batch(run, labels=labels, select=places, rows=tuple(e.id for e in examples))

    def states(self, model: Model, batch: Batch) -> Tensor:
        assert batch.labels is not None and batch.select is not None  # noqa: S101 (made above)
        order = torch.zeros_like(batch.source.ids).index_put((batch.select,), batch.labels[:, 1])
        family: Any = model
        states: Tensor = family.permuted(batch.source, order, batch.select)
        return states
