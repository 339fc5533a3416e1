"""Masked language modelling (Devlin et al. 2019, section 3.1), masked anew at every visit (Liu et al. 2019, section 4.1).

Of the tokens chosen, 80% become [MASK], 10% another token, 10% stay. Logits are computed at the chosen positions only.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from yanmo.errors import ModelError
from yanmo.models.base import Model
from yanmo.settings import Block
from yanmo.tasks.base import Answer, Loss, Scores, ids_of
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer


class Settings(Block):
    name: Literal["masked"] = "masked"
    max_length: int = Field(128, ge=8, description="documents are cut into rows of at most this many tokens")
    rate: float = Field(0.15, gt=0, lt=1, description="the share of tokens to predict")


class Masked:
    name = "masked"
    head = "masked"
    best = "-loss"

    def __init__(self, settings: Settings, tokenizer: Tokenizer) -> None:
        if tokenizer.mask is None:
            raise ModelError("this tokeniser has no [MASK] token, so masked language modelling can't use it")
        self.settings = settings
        self.tokenizer = tokenizer
        self.mask = tokenizer.mask
        special = set(tokenizer.special)
        # Looked up per token: True where a token may be chosen or put in.
        self.ordinary = np.array([id not in special for id in range(tokenizer.size)])
        self.choices = np.flatnonzero(self.ordinary)

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        if all(example.ids is not None for example in examples):
            return list(examples)
        return self.tokenizer.tokenise(examples, self.settings.max_length)

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        generator = (key or Key(0, 0, len(examples))).generator()
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

    def loss(self, model: Model, batch: Batch) -> Loss:
        assert batch.labels is not None and batch.select is not None  # noqa: S101 (made above)
        logits = model.logits(model.hidden(batch)[batch.select])
        return Loss(F.cross_entropy(logits, batch.labels, reduction="sum"), len(batch.labels))

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        """Per row: the summed loss over its masked tokens, how many there were, and how many were guessed right."""
        assert batch.labels is not None and batch.select is not None  # noqa: S101 (made above)
        logits = model.logits(model.hidden(batch)[batch.select]).float()
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        rows = batch.source.row_of[batch.select]
        columns = torch.stack([losses, torch.ones_like(losses), (logits.argmax(-1) == batch.labels).float()], 1)
        sums = (
            torch.zeros(len(batch.rows), 3, dtype=columns.dtype, device=columns.device)
            .index_add(0, rows, columns)
            .tolist()
        )
        return [{"loss": loss, "tokens": int(tokens), "right": int(right)} for loss, tokens, right in sums]

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        tokens = max(1, sum(a["tokens"] for a in answers))
        loss = sum(a["loss"] for a in answers) / tokens
        right = sum(a["right"] for a in answers) / tokens
        return {"rows": len(answers), "loss": loss, "pseudo_perplexity": math.exp(min(loss, 50.0)), "accuracy": right}

    def calibrate(
        self, train: Sequence[Example], dev: Sequence[Example], answers: Callable[[], Sequence[Answer]]
    ) -> bool:
        return False

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def take(self, tensors: dict[str, Tensor]) -> None:
        pass

    def record(self) -> Mapping[str, Any]:
        return self.settings.model_dump(mode="json")
