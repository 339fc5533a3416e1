"""Two segments in one row: does the second follow the first (next sentence, Devlin et al. 2019, section 3.1), or do they stand in their
order (sentence order, Lan et al. 2020, https://arxiv.org/abs/1909.11942, section 3.1)? Half of the rows say yes.

A row of a document is parted where a sentence ends, if one does, else anywhere. A false second segment is that of another document of
the batch; a batch of one document has none. The answers are BERT's: 0 for yes, 1 for no.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from yanmo.models.base import Model
from yanmo.settings import Block
from yanmo.tasks.base import Answer, Loss, Scores
from yanmo.tasks.objectives.objective import Objective, generator_of
from yanmo.tasks.objectives.spans import inner, sentence_ends
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer

_NOTHING = -100  # the label of a row that is too short to be parted


class Settings(Block):
    name: Literal["next"] = "next"
    max_length: int = Field(
        128, ge=8, description="documents are cut into rows of two segments, of at most this many tokens"
    )


class OrderSettings(Settings):
    name: Literal["order"] = "order"  # type: ignore[assignment]


class Pairs:
    """Rows of documents -> rows of two segments."""

    def __init__(self, tokenizer: Tokenizer, kind: str, longest: int) -> None:
        """kind: "next" or "order". longest: of the rows that are made, in tokens."""
        self.tokenizer, self.swaps, self.longest = tokenizer, kind == "order", longest
        self.ends = sentence_ends(tokenizer)
        self.before = np.array([id for id in (tokenizer.cls,) if id is not None], np.int64)
        self.after = np.array([id for id in (tokenizer.sep,) if id is not None], np.int64)

    @property
    def row_length(self) -> int:
        """Of the rows that are given: one end is added."""
        return self.longest - len(self.after)

    def __call__(
        self, examples: Sequence[Example], generator: np.random.Generator
    ) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        """The rows, the segment of each token, and the labels (rows,)."""
        parts = [self._parted(inner(e.ids, self.tokenizer), generator) for e in examples if e.ids is not None]
        wrong = generator.random(len(parts)) < 0.5
        labels = np.where([len(second) > 0 for _, second in parts], wrong, _NOTHING).astype(np.int64)
        rows, types = [], []
        for number, (first, second) in enumerate(parts):
            if labels[number] == 1 and self.swaps:
                first, second = second, first
            elif labels[number] == 1:
                other = self._other(examples, parts, number, int(generator.integers(len(parts))))
                labels[number] = int(other is not None)
                second = second if other is None else parts[other][1]
            room = self.longest - len(self.before) - 2 * len(self.after) - len(first)
            sides = (
                np.concatenate([self.before, first, self.after]),
                np.concatenate([second[:room], self.after]),
            )
            rows.append(np.concatenate(sides))
            types.append(np.repeat([0, 1], [len(side) for side in sides]))
        return rows, types, labels

    def _parted(self, ids: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if len(ids) < 2:
            return ids, ids[:0]
        places = 1 + np.flatnonzero(self.ends[ids[:-1]])
        place = int(generator.choice(places if len(places) else np.arange(1, len(ids))))
        return ids[:place], ids[place:]

    def _other(
        self, examples: Sequence[Example], parts: Sequence[tuple[np.ndarray, np.ndarray]], number: int, start: int
    ) -> int | None:
        """The first row from `start` on, round the batch, that is of another document and has two parts."""
        own = (examples[number].file, examples[number].line)
        for step in range(len(examples)):
            other = (start + step) % len(examples)
            if (examples[other].file, examples[other].line) != own and len(parts[other][1]):
                return other
        return None


class NextSentence(Objective):
    name = "next"
    head = "next"

    def __init__(self, settings: Settings, tokenizer: Tokenizer) -> None:
        super().__init__(settings, tokenizer)
        self.pairs = Pairs(tokenizer, settings.name, settings.max_length)

    @property
    def row_length(self) -> int:
        return self.pairs.row_length

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        rows, types, labels = self.pairs(examples, generator_of(key, examples))
        return Batch(pack(rows, types), labels=torch.from_numpy(labels), rows=tuple(e.id for e in examples))

    def loss(self, model: Model, batch: Batch) -> Loss:
        return pair_loss(model, model.hidden(batch), batch, batch.labels)

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        return pair_answers(model, model.hidden(batch), batch, batch.labels)

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        return {"rows": len(answers), **pair_scores(answers)}


class SentenceOrder(NextSentence):
    name = "order"


def pair_loss(model: Model, hidden: Tensor, batch: Batch, labels: Any) -> Loss:
    logits = model.head(hidden, batch.source)
    total = F.cross_entropy(logits, labels, reduction="sum", ignore_index=_NOTHING)
    return Loss(total, int((labels != _NOTHING).sum()))


def pair_answers(model: Model, hidden: Tensor, batch: Batch, labels: Any) -> list[Answer]:
    logits = model.head(hidden, batch.source).float()
    lost = F.cross_entropy(logits, labels, reduction="none", ignore_index=_NOTHING)
    right = logits.argmax(-1) == labels
    return [
        {"pair_loss": loss, "pairs": int(label != _NOTHING), "pair_right": int(hit)}
        for loss, label, hit in zip(lost.tolist(), labels.tolist(), right.tolist(), strict=True)
    ]


def pair_scores(answers: Sequence[Answer]) -> dict[str, float]:
    pairs = max(1, sum(answer["pairs"] for answer in answers))
    loss, right = (sum(answer[name] for answer in answers) / pairs for name in ("pair_loss", "pair_right"))
    return {"loss": loss, "accuracy": right}
