"""Classification: one label of several for a text, or for a pair of texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from yanmo.errors import DataError, gather, some
from yanmo.models.base import Model
from yanmo.settings import Block
from yanmo.tasks import linear
from yanmo.tasks.base import Answer, Loss, Scores, Task, ids_of
from yanmo.tasks.linear import LinearEvidence
from yanmo.tasks.metrics.classification import classification
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example, label_set
from yanmo.text.tokenizer import Tokenizer


class Settings(Block):
    name: Literal["classify"] = "classify"
    max_length: int = Field(256, ge=4, description="longer texts are cut to this many tokens")
    token_dropout: float = Field(0.0, ge=0, lt=1, description="share of tokens hidden behind [MASK] in training")
    svm: bool = Field(False, description="true: a linear SVM's score is added; how much, the dev rows decide")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="how much of the truth is spread over all labels")


class Classify(Task):
    """Cross-entropy over `labels`. The order of `labels` is the order of the head's outputs."""

    name = "classify"
    head = "classify"
    best = "macro_f1"
    labelling = "classes"
    problem = "single_label_classification"
    settings: Settings

    def __init__(self, settings: Settings, tokenizer: Tokenizer, labels: Sequence[str]) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self.labels = list(labels)
        self.ordinary = ~np.isin(np.arange(tokenizer.size), tokenizer.special)
        self.evidence: LinearEvidence | None = None
        self.numbers = {label: number for number, label in enumerate(labels)}

    @classmethod
    def learnt(cls, settings: Any, examples: Sequence[Example], where: str) -> list[str]:
        return label_set(examples, where)

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        several = [f"{e.where}: {', '.join(e.labels)}" for e in examples if len(e.labels) > 1]
        gather(
            several,
            f"{len(several):,} of {some(len(examples), 'row')} with several labels, and this task knows one a row. Keep one of them, "
            "or name a column of one label (data.columns.label=...):",
            DataError,
        )
        known = ", ".join(self.labels[:10]) + (", ..." if len(self.labels) > 10 else "")
        faults = [
            f"{e.where}: label '{label}' was never seen in training (known: {known})"
            for e in examples
            for label in e.labels
            if label not in self.numbers
        ]
        gather(
            faults,
            f"{len(faults)} rows bear labels that the model can't know; correct them or train on them:",
            DataError,
        )
        return self.tokenizer.tokenise(examples, self.settings.max_length)

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        labelled = all(e.labels for e in examples)
        rows = ids_of(examples)
        if key is not None and self.settings.token_dropout and self.tokenizer.mask is not None:
            generator = key.generator()
            rows = [
                np.where(
                    (generator.random(len(row)) < self.settings.token_dropout) & self.ordinary[row],
                    self.tokenizer.mask,
                    row,
                )
                for row in rows
            ]
        evidence = None
        if key is None and self.evidence is not None:
            evidence = self.evidence.margins([" ".join(e.texts) for e in examples])
        return Batch(
            source=pack(rows, [e.types for e in examples]),
            evidence=evidence,
            labels=torch.tensor([self.numbers[e.labels[0]] for e in examples]) if labelled else None,
            rows=tuple(e.id for e in examples),
        )

    def loss(self, model: Model, batch: Batch) -> Loss:
        if batch.labels is None:
            raise DataError(f"rows without a label can't be trained on: {', '.join(batch.rows[:5])}")
        logits = model.head(model.hidden(batch), batch.source)
        total = F.cross_entropy(logits, batch.labels, reduction="sum", label_smoothing=self.settings.label_smoothing)
        return Loss(total, len(batch.labels))

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        logits = model.head(model.hidden(batch), batch.source).float()
        if self.evidence is not None and batch.evidence is not None:
            logits = self.evidence.join(logits, batch.evidence)
        rows = logits.softmax(-1).tolist()
        return [
            {
                "label": self.labels[max(range(len(row)), key=row.__getitem__)],
                "probabilities": dict(zip(self.labels, row, strict=True)),
            }
            for row in rows
        ]

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        truths = np.array([self.numbers[e.labels[0]] for e in examples])
        guesses = np.array([self.numbers[a["label"]] for a in answers])
        return classification(truths, guesses, self.labels)

    def cells(self, answer: Answer) -> Mapping[str, str | float]:
        return {"label": answer["label"], "probability": max(answer["probabilities"].values())}

    def calibrate(
        self, train: Sequence[Example], dev: Sequence[Example], answers: Callable[[], Sequence[Answer]]
    ) -> bool:
        """With `svm`: fit it on the training rows, and its share in the answers on the dev rows."""
        if not self.settings.svm:
            return False
        truths = [np.array([self.numbers[e.labels[0]] for e in rows]) for rows in (train, dev)]
        texts = [[" ".join(e.texts) for e in rows] for rows in (train, dev)]
        evidence = linear.learn(texts[0], truths[0], len(self.labels))
        shares = torch.tensor([[a["probabilities"][label] for label in self.labels] for a in answers()])
        linear.fit_mix(evidence, shares.clamp(min=1e-9).log(), evidence.margins(texts[1]), torch.from_numpy(truths[1]))
        self.evidence = evidence
        return True

    def tensors(self) -> dict[str, Tensor]:
        return {} if self.evidence is None else self.evidence.tensors

    def take(self, tensors: dict[str, Tensor]) -> None:
        self.evidence = LinearEvidence(tensors)
