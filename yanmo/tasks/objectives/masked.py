"""Masked language modelling (Devlin et al. 2019, section 3.1), masked anew at every visit (Liu et al. 2019, section 4.1) or always
alike, as BERT was.

Of the tokens chosen, 80% become [MASK], 10% another token, 10% stay. Logits are computed at the chosen positions only.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from yanmo.errors import ModelError
from yanmo.settings import Block
from yanmo.tasks.base import ids_of
from yanmo.tasks.objectives.objective import Objective, generator_of
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer


class Settings(Block):
    name: Literal["masked"] = "masked"
    max_length: int = Field(128, ge=8, description="documents are cut into rows of at most this many tokens")
    rate: float = Field(0.15, gt=0, lt=1, description="the share of tokens to predict")


class Masked(Objective):
    name = "masked"
    head = "masked"
    perplexity = "pseudo_perplexity"

    def __init__(self, settings: Settings, tokenizer: Tokenizer) -> None:
        super().__init__(settings, tokenizer)
        if tokenizer.mask is None:
            raise ModelError("this tokeniser has no [MASK] token, so masked language modelling can't use it")
        self.mask = tokenizer.mask
        self.choices = np.flatnonzero(self.ordinary)  # what may be put in

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        generator = generator_of(key, examples)
        run = pack(ids_of(examples))
        ids = run.ids.numpy()
        eligible = np.flatnonzero(self.ordinary[ids])
        count = max(1, round(self.settings.rate * len(eligible)))
        select = np.sort(generator.permutation(eligible)[:count])
        labels = ids[select]
        fate = generator.random(len(select))
        changed = np.where(fate < 0.8, self.mask, labels)
        other = generator.choice(self.choices, len(select))
        masked = ids.copy()
        masked[select] = np.where(fate >= 0.9, other, changed)
        return Batch(
            source=type(run)(torch.from_numpy(masked), run.lengths),
            labels=torch.from_numpy(labels),
            select=torch.from_numpy(select),
            rows=tuple(e.id for e in examples),
        )
