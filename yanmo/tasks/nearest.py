"""Classification by sentence vectors: a text gets the label whose words are nearest to it, by an encoder that was trained to put texts that
mean the same near each other. So it answers before it has seen a labelled row.

From few rows it learns in two steps (SetFit: Tunstall et al. 2022, https://arxiv.org/abs/2209.11055): the encoder from all pairs that the
rows of a batch make, a label's words being a row of it: vectors are to be one where the label is the same and at right angles where it is
another; then a logistic regression of the vectors, which stands in heads.safetensors. How much it counts, and how much the nearness to the
words still does, makes the dev rows likeliest (temperature scaling: Guo et al. 2017, https://arxiv.org/abs/1706.04599): the regression is
learnt from rows that the encoder knows by heart, and the words may be worth more than a few rows.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from yanmo.errors import DataError
from yanmo.models.base import Model
from yanmo.tasks import labelled, sentence
from yanmo.tasks.base import Answer, Loss, ids_of
from yanmo.tasks.labelled import Worded
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer

_PENALTY = 10.0  # the regression's C
_SCALES = [
    0.0,
    *(2 ** (power / 4) for power in range(-12, 13)),
]  # few dev rows may all be right, and still nothing is certain


class Settings(labelled.Settings):
    name: Literal["nearest"] = "nearest"
    temperature: float = Field(
        0.05, gt=0, description="what cosines with a label's words are divided by; the lower, the surer the answers"
    )
    pooling: sentence.Choice = None


class Placed(dict[str, Any]):
    """A row's answer, and the vector (width,) that it was made of, which goes nowhere but to `Nearest.calibrate`."""

    vector: np.ndarray


class Nearest(Worded):
    """A batch has the texts, then the words of all labels. `regression`, once it is fitted: weight (labels, width), bias (labels,), and
    what the words count beside it, ()."""

    name = "nearest"
    head = "base"
    bound = ("words", "pooling", "temperature")
    settings: Settings

    def __init__(self, settings: Settings, tokenizer: Tokenizer, labels: Sequence[str]) -> None:
        super().__init__(labels)
        self.settings = settings
        self.tokenizer = tokenizer
        self.pooling = sentence.Pooling(settings.pooling or sentence.Pooling.modes)
        self.regression: dict[str, Tensor] = {}
        words = [Example((settings.words[label],)) for label in self.labels]
        self.words = ids_of(tokenizer.tokenise(words, settings.max_length))

    def inherit(self, folder: Path) -> None:
        if self.settings.pooling is None:
            self.pooling = sentence.Pooling(sentence.read(folder).modes)

    def record(self) -> Mapping[str, Any]:
        return self.settings.model_dump(mode="json") | {"pooling": list(self.pooling.modes)}

    def files(self, width: int) -> Mapping[str, str]:
        return sentence.files(self.pooling.modes, width, self.settings.max_length)

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        self.check(examples)
        return self.tokenizer.tokenise(examples, self.settings.max_length)

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        return Batch(
            source=pack([*ids_of(examples), *self.words], [*(e.types for e in examples), *(None for _ in self.words)]),
            labels=self.wanted(examples),
            rows=tuple(e.id for e in examples),
        )

    def loss(self, model: Model, batch: Batch) -> Loss:
        """The squared distance of cosines from what they should be, of pairs of one label and of two with equal weight. It is the batch's
        own, since no term of it belongs to a row."""
        if batch.labels is None:
            raise DataError(f"rows without a label can't be trained on: {', '.join(batch.rows[:5])}")
        vectors = self._vectors(model, batch)
        numbers = torch.cat([batch.labels, torch.arange(len(self.labels), device=batch.labels.device)])
        first, second = torch.triu_indices(len(numbers), len(numbers), 1, device=numbers.device)
        alike = numbers[first] == numbers[second]
        with torch.autocast(vectors.device.type, enabled=False):
            missed = ((vectors @ vectors.T)[first, second] - alike.float()).square()
        # A row has its label's words beside it, and these those of another label: there are pairs of both kinds in any batch.
        return Loss((missed[alike].mean() + missed[~alike].mean()) / 2, 1)

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        vectors = self._vectors(model, batch)
        rows, words = vectors[: len(batch.rows)], vectors[len(batch.rows) :]
        logits = rows @ words.T / self.settings.temperature
        if self.regression:
            share, weight, bias = (self.regression[name].to(rows.device) for name in ("words", "weight", "bias"))
            logits = share * logits + rows @ weight.T + bias
        answers = [Placed(answer) for answer in self.answers(logits)]
        for answer, vector in zip(answers, rows.cpu().numpy(), strict=True):
            answer.vector = vector
        return [*answers]

    def _vectors(self, model: Model, batch: Batch) -> Tensor:
        """(texts and words, width), normed"""
        return self.pooling(model.hidden(batch).float(), batch.source)

    def calibrate(
        self, train: Sequence[Example], dev: Sequence[Example], answers: Callable[..., Sequence[Answer]]
    ) -> str:
        """Fit the logistic regression on the training rows, and what it and the words count on the dev rows."""
        from sklearn.linear_model import LogisticRegression

        known, held = answers("train"), answers("dev")
        fitted = LogisticRegression(C=_PENALTY, max_iter=1000).fit(_stacked(known), self.truths(train))
        weight, bias = torch.from_numpy(fitted.coef_).float(), torch.from_numpy(fitted.intercept_).float()
        if len(weight) == 1:  # of two labels the second's alone
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        near = torch.from_numpy(self.probabilities(held)).float().clamp(min=1e-9).log()
        logits, truths = torch.from_numpy(_stacked(held)) @ weight.T + bias, torch.from_numpy(self.truths(dev))
        scale, share = min(
            [*product(_SCALES, repeat=2)][1:],  # without the first, by which all labels would be alike
            key=lambda mix: float(F.cross_entropy(mix[0] * logits + mix[1] * near, truths)),
        )
        self.regression = {"words": torch.tensor(share), "weight": (scale * weight).contiguous(), "bias": scale * bias}
        return "nearest_words"

    def tensors(self) -> dict[str, Tensor]:
        return self.regression

    def take(self, tensors: dict[str, Tensor]) -> None:
        self.regression = tensors


def _stacked(answers: Sequence[Answer]) -> np.ndarray:
    """(rows, width) the vectors of answers."""
    return np.stack([answer.vector for answer in answers])  # type: ignore[attr-defined]  # a Placed
