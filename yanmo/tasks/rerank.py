"""Reranking: a cross-encoder reads a query and a document together and says how relevant the document is, from 0 to 1.

It learns pair by pair (Nogueira & Cho 2019, https://arxiv.org/abs/1901.04085), so that it needs no rows of one query side by side; it is
judged by how it orders the documents of each query. Its folder is one of sentence-transformers' CrossEncoder: a classifier of one label.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch.nn import functional as F

from yanmo.errors import DataError
from yanmo.models.base import Model
from yanmo.settings import Block
from yanmo.tasks.base import Answer, Loss, Scores, Task, ids_of
from yanmo.tasks.metrics.ranking import ranking
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer

LABEL = "LABEL_0"  # as Hugging Face calls the one output, so that the head of another tool's folder is gone on with


class Settings(Block):
    name: Literal["rerank"] = "rerank"
    max_length: int = Field(256, ge=4, description="longer pairs are cut to this many tokens")
    highest: float = Field(
        1.0,
        gt=0,
        description="the grade that is learnt as wholly relevant, as those above it are; lower ones are shares of it",
    )


class Rerank(Task):
    """Binary cross-entropy of one logit, whose sigmoid is the score."""

    name = "rerank"
    head = "classify"
    best = "ndcg@10"
    form = "ranked"
    labelling = "numbers"
    problem = "multi_label_classification"  # how Hugging Face calls sigmoids with that loss
    settings: Settings

    def __init__(self, settings: Settings, tokenizer: Tokenizer, labels: Sequence[str] = ()) -> None:
        self.settings = settings
        self.tokenizer = tokenizer

    @classmethod
    def learnt(cls, settings: Settings, examples: Sequence[Example], where: str) -> list[str]:
        relevant = {_grade(e) > 0 for e in examples}
        if len(relevant) < 2:
            every = "every document is relevant" if True in relevant else "no document is relevant (above 0)"
            raise DataError(f"{where}: {every}, so there is nothing to tell apart. Add rows of the other kind")
        if len({e.texts[0] for e in examples}) == len(examples):
            raise DataError(
                f"{where}: every query has one document, so there is nothing to put in order. For pairs that belong together or not: "
                "task.name=classify or embed"
            )
        return [LABEL]

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        return self.tokenizer.tokenise(examples, self.settings.max_length)

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        graded = all(e.labels for e in examples)
        shares = [min(1.0, max(0.0, _grade(e) / self.settings.highest)) for e in examples] if graded else None
        return Batch(
            pack(ids_of(examples), [e.types for e in examples]),
            labels=None if shares is None else torch.tensor(shares),
            rows=tuple(e.id for e in examples),
        )

    def loss(self, model: Model, batch: Batch) -> Loss:
        assert batch.labels is not None  # noqa: S101 (a batch to be learnt from: the form sees to it)
        logits = model.head(model.hidden(batch), batch.source)[:, 0].float()
        return Loss(F.binary_cross_entropy_with_logits(logits, batch.labels, reduction="sum"), len(batch.labels))

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        logits = model.head(model.hidden(batch), batch.source)[:, 0].float()
        return [{"score": score} for score in logits.sigmoid().tolist()]

    def join(
        self, members: Sequence["Rerank"], opinions: Sequence[Sequence[Answer]], examples: Sequence[Example]
    ) -> list[Answer]:
        means = np.mean([[answer["score"] for answer in each] for each in opinions], 0)
        return [{"score": mean} for mean in means.tolist()]

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        return order(examples, [answer["score"] for answer in answers])


def _grade(example: Example) -> float:
    return float(example.labels[0])


def order(examples: Sequence[Example], scores: Sequence[float]) -> Scores:
    """How well a score for each row puts the documents of each query in order (`rows`: of the distinct queries)."""
    run: dict[str, dict[str, float]] = {}
    grades: dict[str, dict[str, float]] = {}
    for number, (example, score) in enumerate(zip(examples, scores, strict=True)):
        run.setdefault(example.texts[0], {})[str(number)] = score
        grades.setdefault(example.texts[0], {})[str(number)] = _grade(example)
    return ranking(run, grades, cutoffs=(10,))
