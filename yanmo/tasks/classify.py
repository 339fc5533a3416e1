"""Classification: for a text, or a pair of texts, one label of several, or any number of them (independent yes-or-no answers).

Where a row may bear several labels each is given from a threshold of its own on, which the dev rows decide; it stands in
heads.safetensors.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from yanmo.errors import DataError, SettingsError, gather, some
from yanmo.models.base import Model
from yanmo.progress import say
from yanmo.settings import Block
from yanmo.tasks import linear
from yanmo.tasks.base import Answer, Loss, Scores, Task, hide, ids_of, mean_of
from yanmo.tasks.linear import LinearEvidence
from yanmo.tasks.metrics.calibration import calibration
from yanmo.tasks.metrics.classification import classification, confusion, matthews
from yanmo.tasks.metrics.multilabel import average_precision, multilabel, thresholds
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example, label_set
from yanmo.text.tokenizer import Tokenizer

_SEVERAL = 0.05  # share of the rows with several labels up to which these are a mistake


class Settings(Block):
    name: Literal["classify"] = "classify"
    max_length: int = Field(256, ge=4, description="longer texts are cut to this many tokens")
    several: bool | None = Field(
        None, description="true: a row may bear several labels; false: one alone; null: as the training rows do"
    )
    class_weights: Literal["balanced"] | dict[str, float] | None = Field(
        None,
        description="label: how much its rows count; balanced: as much in sum as those of any other label; null: all rows the same",
    )
    focal: float = Field(
        0.0,
        ge=0,
        description="gamma of the focal loss: rows count the less the surer the answer to them is; 0: all the same",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="how much of the truth is spread over all labels")
    token_dropout: float = Field(0.0, ge=0, lt=1, description="share of tokens hidden behind [MASK] in training")
    svm: bool = Field(False, description="true: a linear SVM's score is added; how much, the dev rows decide")


class Classify(Task):
    """Cross-entropy over `labels`, or over yes and no of each. The order of `labels` is the order of the head's outputs."""

    name = "classify"
    head = "classify"
    best = "macro_f1"
    labelling = "classes"
    bound = ("several",)
    settings: Settings

    def __init__(self, settings: Settings, tokenizer: Tokenizer, labels: Sequence[str]) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self.labels = list(labels)
        self.several = bool(settings.several)
        if self.several:  # whatever the thresholds will be
            self.best, self.headline = "average_precision", "macro_f1"
        self.problem = "multi_label_classification" if self.several else "single_label_classification"
        self.evidence: LinearEvidence | None = None
        self.thresholds = torch.full((len(self.labels),), 0.5)
        self.numbers = {label: number for number, label in enumerate(labels)}
        asked = settings.class_weights
        self.weights = torch.tensor([asked.get(label, 1.0) for label in labels]) if isinstance(asked, dict) else None

    @classmethod
    def settle(cls, settings: Any, examples: Sequence[Example]) -> Any:
        counts = Counter(label for example in examples for label in example.labels)
        several, weights = settings.several, settings.class_weights
        if several is None:
            many = sum(len(example.labels) > 1 for example in examples)
            several = many > _SEVERAL * len(examples)
            if several:
                say(
                    f"{many:,} of {some(len(examples), 'row')} bear several labels, so each label is a question of its own (task.several)"
                )
        if weights == "balanced" and several:  # of a label: those that bear it count as much as those that do not
            weights = {label: (len(examples) - count) / count for label, count in counts.items()}
        elif weights == "balanced":
            weights = {label: len(examples) / (len(counts) * count) for label, count in counts.items()}
        elif isinstance(weights, dict) and (strangers := sorted({*weights} - {*counts})):
            known = ", ".join(sorted(counts)[:10])
            raise SettingsError(f"task.class_weights: no row bears {', '.join(map(repr, strangers))}; known: {known}")
        return settings.model_copy(update={"several": several, "class_weights": weights})

    @classmethod
    def learnt(cls, settings: Any, examples: Sequence[Example], where: str) -> list[str]:
        return label_set(examples, where)

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        several = [f"{e.where}: {', '.join(e.labels)}" for e in examples if len(e.labels) > 1 and not self.several]
        gather(
            several,
            f"{len(several):,} of {some(len(examples), 'row')} with several labels, and this task knows one a row. Keep one of them, "
            "name a column of one label (data.columns.label=...), or learn them all (task.several=true):",
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
        rows = hide(ids_of(examples), self.settings.token_dropout, key, self.tokenizer)
        evidence = None
        if key is None and self.evidence is not None:
            evidence = self.evidence.margins([" ".join(e.texts) for e in examples])
        return Batch(
            source=pack(rows, [e.types for e in examples]),
            evidence=evidence,
            labels=torch.from_numpy(self._truths(examples)) if labelled else None,
            rows=tuple(e.id for e in examples),
        )

    def _truths(self, examples: Sequence[Example]) -> np.ndarray:
        """(rows,) the number of each row's label; (rows, labels) booleans where it may bear several."""
        if not self.several:
            return np.array([self.numbers[e.labels[0]] for e in examples], np.int64)
        return self._borne([e.labels for e in examples])

    def _borne(self, labels: Sequence[Sequence[str]]) -> np.ndarray:
        found = np.zeros((len(labels), len(self.labels)), bool)
        for row, each in enumerate(labels):
            found[row, [self.numbers[label] for label in each]] = True
        return found

    def loss(self, model: Model, batch: Batch) -> Loss:
        if batch.labels is None:
            raise DataError(f"rows without a label can't be trained on: {', '.join(batch.rows[:5])}")
        logits = model.head(model.hidden(batch), batch.source)
        weights = None if self.weights is None else self.weights.to(logits.device)
        lost = _lost_of_several if self.several else _lost_of_one
        asked = self.settings
        total = lost(logits.float(), batch.labels, weights, asked.label_smoothing, asked.focal).sum()
        return Loss(total, len(batch.labels))

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        logits = model.head(model.hidden(batch), batch.source).float()
        if self.evidence is not None and batch.evidence is not None:
            logits = self.evidence.join(logits, batch.evidence)
        return self._answers((logits.sigmoid() if self.several else logits.softmax(-1)).cpu(), self.thresholds)

    def join(
        self, members: Sequence["Classify"], opinions: Sequence[Sequence[Answer]], examples: Sequence[Example]
    ) -> list[Answer]:
        """Where a row may bear several labels, the mean of a label's probabilities is held against that of its thresholds."""
        thresholds = [m.thresholds[[m.numbers[label] for label in self.labels]] for m in members]
        return self._answers(torch.from_numpy(mean_of(opinions, self.labels)), torch.stack(thresholds).mean(0))

    def _answers(self, found: Tensor, thresholds: Tensor) -> list[Answer]:
        """found: (rows, labels) probabilities"""
        rows = [dict(zip(self.labels, row, strict=True)) for row in found.tolist()]
        if not self.several:
            return [{"label": max(row, key=row.__getitem__), "probabilities": row} for row in rows]
        given = (found >= thresholds).tolist()
        return [
            {
                "labels": [label for label, is_given in zip(self.labels, each, strict=True) if is_given],
                "probabilities": row,
            }
            for row, each in zip(rows, given, strict=True)
        ]

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        truths, probabilities = self._truths(examples), self._probabilities(answers)
        if not self.several:
            guesses = np.array([self.numbers[a["label"]] for a in answers])
            return classification(truths, guesses, self.labels) | _calibrated(truths, probabilities)
        guesses = self._borne([a["labels"] for a in answers])
        cells = probabilities.ravel()
        return (
            multilabel(truths, guesses, self.labels)
            | {"average_precision": average_precision(truths, probabilities)}
            | {"mcc": matthews(confusion(truths.ravel(), guesses.ravel(), 2))}
            | _calibrated(truths.ravel().astype(int), np.stack([1 - cells, cells], 1))
        )

    def _probabilities(self, answers: Sequence[Answer]) -> np.ndarray:
        """(rows, labels)"""
        return np.array([[a["probabilities"][label] for label in self.labels] for a in answers])

    def cells(self, answer: Answer) -> Mapping[str, str | float]:
        shares = answer["probabilities"]
        if not self.several:
            return {"label": answer["label"], "probability": max(shares.values())}
        given = answer["labels"]
        return {"labels": "; ".join(given), "probabilities": "; ".join(f"{shares[label]:.4f}" for label in given)}

    def calibrate(
        self, train: Sequence[Example], dev: Sequence[Example], answers: Callable[[], Sequence[Answer]]
    ) -> str:
        """With `svm`: fit it on the training rows, and its share in the answers on the dev rows. With several labels: their thresholds."""
        if self.settings.svm:
            texts = [[" ".join(e.texts) for e in rows] for rows in (train, dev)]
            evidence = linear.learn(texts[0], self._truths(train), len(self.labels))
            shares = torch.from_numpy(self._probabilities(answers())).float()
            logits = shares.logit(1e-9) if self.several else shares.clamp(min=1e-9).log()
            linear.fit_mix(evidence, logits, evidence.margins(texts[1]), torch.from_numpy(self._truths(dev)))
            self.evidence = evidence
        if self.several:
            self.thresholds = torch.from_numpy(thresholds(self._truths(dev), self._probabilities(answers()))).float()
        return "network_alone" if self.settings.svm else "without_thresholds" if self.several else ""

    def tensors(self) -> dict[str, Tensor]:
        own = {"thresholds": self.thresholds} if self.several else {}
        return own if self.evidence is None else {**own, **self.evidence.tensors}

    def take(self, tensors: dict[str, Tensor]) -> None:
        self.thresholds = tensors.get("thresholds", self.thresholds)
        if evidence := {name: tensor for name, tensor in tensors.items() if name != "thresholds"}:
            self.evidence = LinearEvidence(evidence)


def _calibrated(truths: np.ndarray, probabilities: np.ndarray) -> Scores:
    """Whether probabilities (rows, classes) mean what they say."""
    found = calibration(truths, probabilities, resamples=1)  # without its interval, which takes its time
    return {"ece": found["ece"], "brier": found["brier"], "calibration": found["bins"]}


def _lost_of_one(logits: Tensor, truths: Tensor, weights: Tensor | None, smoothing: float, focal: float) -> Tensor:
    """(rows,) the cross-entropy of logits (rows, labels) with class numbers (rows,), times the weight of the class, times
    (1 - p)^focal for the probability p of the true one (Lin et al. 2017, https://arxiv.org/abs/1708.02002, section 3.2)."""
    lost = F.cross_entropy(logits, truths, weights, reduction="none", label_smoothing=smoothing)
    return lost if not focal else _unsure(logits.softmax(-1).gather(1, truths[:, None])[:, 0], focal) * lost


def _lost_of_several(logits: Tensor, truths: Tensor, weights: Tensor | None, smoothing: float, focal: float) -> Tensor:
    """(rows,) the same of booleans (rows, labels), summed over the labels, each of which is a class beside its absence; a weight is
    that of its presence."""
    spread = truths.float() * (1 - smoothing) + smoothing / 2
    lost = F.binary_cross_entropy_with_logits(logits, spread, reduction="none", pos_weight=weights)
    if focal:
        lost = _unsure(torch.where(truths, logits, -logits).sigmoid(), focal) * lost
    return lost.sum(1)


def _unsure(probability: Tensor, focal: float) -> Tensor:
    return (1 - probability).clamp(min=1e-6) ** focal  # a power below 1 has no slope at 0
