"""Rating: a number for a text, or for a pair of texts: any number, or one of few levels in order.

Any number is learnt by squared error, measured from the training labels' mean by their standard deviation. Levels are learnt as answers to
the questions "is it above this level?" of every level but the last (Frank & Hall 2001, https://doi.org/10.1007/3-540-44795-4_13), all of
them read off one distribution over the levels, so that they never contradict each other; what is answered is its mean.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from yanmo.errors import DataError, gather
from yanmo.models.base import Model
from yanmo.settings import Block
from yanmo.tasks.base import Answer, Loss, Scores, Task, hide, ids_of, mean_of
from yanmo.tasks.metrics.rating import rating
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer

_MOST_LEVELS = 10  # whole numbers from the smallest to the largest label; of more it is a scale


class Settings(Block):
    name: Literal["rate"] = "rate"
    max_length: int = Field(256, ge=4, description="longer texts are cut to this many tokens")
    levels: list[float] | None = Field(
        None,
        description="the numbers that a rating can be; []: any; null: as the training rows have it (few whole numbers are levels)",
    )
    middle: float | None = Field(
        None, description="what any number is measured from; null: the mean of the training rows"
    )
    spread: float | None = Field(None, gt=0, description="and by; null: the standard deviation of the training rows")
    token_dropout: float = Field(0.0, ge=0, lt=1, description="share of tokens hidden behind [MASK] in training")


class Rate(Task):
    """`settings` say all: levels, or middle and spread."""

    name = "rate"
    head = "classify"
    best = "spearman"
    form = "rated"
    labelling = "numbers"
    bound = ("levels", "middle", "spread")
    settings: Settings

    def __init__(self, settings: Settings, tokenizer: Tokenizer, labels: Sequence[str]) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self.levels = [*(settings.levels or ())]
        self.labels = [f"{level:g}" for level in self.levels]
        self.problem = "single_label_classification" if self.levels else "regression"
        self.middle, self.spread = settings.middle or 0.0, settings.spread or 1.0

    @classmethod
    def settle(cls, settings: Any, examples: Sequence[Example]) -> Any:
        numbers = _numbers(examples)
        low, high = float(numbers.min()), float(numbers.max())
        levels = settings.levels
        if levels is None:
            whole = bool((numbers == np.round(numbers)).all()) and 0 < high - low < _MOST_LEVELS
            levels = [float(level) for level in range(int(low), int(high) + 1)] if whole else []
        found = {
            "levels": sorted(levels),
            "middle": float(numbers.mean()) if settings.middle is None else settings.middle,
            "spread": float(numbers.std()) or 1.0 if settings.spread is None else settings.spread,
        }
        return settings.model_copy(update=found)

    @classmethod
    def learnt(cls, settings: Any, examples: Sequence[Example], where: str) -> list[str]:
        if len({example.labels for example in examples}) < 2:
            raise DataError(
                f"{where}: every row has the same rating ({', '.join(examples[0].labels)}); there is nothing to learn"
            )
        return [f"{level:g}" for level in settings.levels] or ["rating"]

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        numbers = _numbers([example for example in examples if example.labels])
        strangers = [
            f"{example.where}: {example.labels[0]}"
            for example, number in zip([e for e in examples if e.labels], numbers, strict=True)
            if self.levels and number not in self.levels
        ]
        named = ", ".join(f"{level:g}" for level in self.levels)
        gather(strangers, f"ratings that are none of the levels {named} (task.levels; []: any number):", DataError)
        return self.tokenizer.tokenise(examples, self.settings.max_length)

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        rows = hide(ids_of(examples), self.settings.token_dropout, key, self.tokenizer)
        labels = None
        if all(example.labels for example in examples):
            numbers = _numbers(examples)
            labels = torch.from_numpy(
                np.searchsorted(self.levels, numbers) if self.levels else (numbers - self.middle) / self.spread
            )
        return Batch(pack(rows, [e.types for e in examples]), labels=labels, rows=tuple(e.id for e in examples))

    def loss(self, model: Model, batch: Batch) -> Loss:
        if batch.labels is None:
            raise DataError(f"rows without a rating can't be trained on: {', '.join(batch.rows[:5])}")
        logits = model.head(model.hidden(batch), batch.source).float()
        lost = lost_of_levels(logits, batch.labels) if self.levels else (logits[:, 0] - batch.labels.float()).square()
        return Loss(lost.sum(), len(batch.labels))

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        """In the unit of the labels; of levels also the probability of each."""
        logits = model.head(model.hidden(batch), batch.source).double().cpu()
        if not self.levels:
            return [{"rating": value} for value in (logits[:, 0] * self.spread + self.middle).tolist()]
        return self._answers(logits.softmax(-1).detach().numpy())

    def join(
        self, members: Sequence["Rate"], opinions: Sequence[Sequence[Answer]], examples: Sequence[Example]
    ) -> list[Answer]:
        if self.levels:
            return self._answers(mean_of(opinions, self.labels))
        means = np.mean([[answer["rating"] for answer in each] for each in opinions], 0)
        return [{"rating": mean} for mean in means.tolist()]

    def _answers(self, shares: np.ndarray) -> list[Answer]:
        """shares: (rows, levels)"""
        return [
            {"rating": mean, "probabilities": dict(zip(self.labels, row, strict=True))}
            for mean, row in zip((shares @ np.array(self.levels)).tolist(), shares.tolist(), strict=True)
        ]

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        return rating(_numbers(examples), np.array([a["rating"] for a in answers]), self.levels or None)

    def cells(self, answer: Answer) -> Mapping[str, str | float]:
        return {"rating": answer["rating"]}


def _numbers(examples: Sequence[Example]) -> np.ndarray:
    """(rows,) float64 ratings. Raises one DataError for all that are none."""
    found, faults = [], []
    for example in examples:
        try:
            [label] = example.labels
            value = float(label)
        except ValueError:
            value = float("nan")
        if np.isfinite(value):
            found.append(value)
        else:
            faults.append(f"{example.where}: '{', '.join(example.labels)}'")
    gather(
        faults,
        f"{len(faults):,} of {len(examples):,} rows have a rating that is no number; for words: task.name=classify:",
        DataError,
    )
    return np.array(found)


def lost_of_levels(logits: Tensor, truths: Tensor) -> Tensor:
    """(rows, levels), (rows,) level numbers -> (rows,) the sum of the log losses of "is it above level k?", for every level but the last. A
    sum of proper scores, so that honest probabilities lose least."""
    shares = logits.log_softmax(-1)
    below = shares.logcumsumexp(-1)[:, :-1]  # log P(at most level k)
    above = shares.flip(-1).logcumsumexp(-1).flip(-1)[:, 1:]  # log P(above level k)
    is_above = truths[:, None] > torch.arange(below.shape[1], device=truths.device)
    return -torch.where(is_above, above, below).sum(-1)
