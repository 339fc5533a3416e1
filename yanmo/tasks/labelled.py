"""What tasks share whose rows bear one label of a set: its numbers, the answer of a row, the scores, and what labels are called in words
where a task learns from few rows, or from none."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from yanmo.errors import DataError, SettingsError, gather, some
from yanmo.settings import Block
from yanmo.tasks.base import Answer, Scores, Statistics, Task, mean_of
from yanmo.tasks.metrics import classification as one_label
from yanmo.tasks.metrics.calibration import calibrated
from yanmo.tasks.metrics.classification import classification
from yanmo.text.sources import Example, label_set


class Labelled(Task):
    """The order of `labels` is the order of the head's outputs."""

    best = "macro_f1"
    labelling = "classes"
    stranger, remedy = "was never seen in training", "correct them or train on them"  # what is said of an unknown label

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self.numbers = {label: number for number, label in enumerate(labels)}

    @classmethod
    def learnt(cls, settings: Any, examples: Sequence[Example], where: str) -> list[str]:
        return label_set(examples, where)

    def check(self, examples: Sequence[Example]) -> None:
        """Raises DataError for rows with labels that are none of these."""
        known = ", ".join(self.labels[:10]) + (", ..." if len(self.labels) > 10 else "")
        faults = [
            f"{e.where}: label '{label}' {self.stranger} (known: {known})"
            for e in examples
            for label in e.labels
            if label not in self.numbers
        ]
        gather(
            faults,
            f"{some(len(faults), 'row')} with labels that the model can't know; {self.remedy}:",
            DataError,
        )

    def truths(self, examples: Sequence[Example]) -> np.ndarray:
        """(rows,) the number of each row's label."""
        return np.array([self.numbers[e.labels[0]] for e in examples], np.int64)

    def wanted(self, examples: Sequence[Example]) -> Tensor | None:
        """The same for a batch; None where a row has no label."""
        return torch.from_numpy(self.truths(examples)) if all(e.labels for e in examples) else None

    def answers(self, logits: Tensor) -> list[Answer]:
        """(rows, labels) -> the likeliest label of each row, and how likely all are."""
        return self._likeliest(logits.softmax(-1).tolist())

    def join(
        self, members: Sequence[Any], opinions: Sequence[Sequence[Answer]], examples: Sequence[Example]
    ) -> list[Answer]:
        return self._likeliest(mean_of(opinions, self.labels).tolist())

    def _likeliest(self, found: list[list[float]]) -> list[Answer]:
        rows = [dict(zip(self.labels, row, strict=True)) for row in found]
        return [{"label": max(row, key=row.__getitem__), "probabilities": row} for row in rows]

    def probabilities(self, answers: Sequence[Answer]) -> np.ndarray:
        """(rows, labels)"""
        return np.array([[a["probabilities"][label] for label in self.labels] for a in answers])

    def guesses(self, answers: Sequence[Answer]) -> np.ndarray:
        """(rows,) the number of the label that each row was given."""
        return np.array([self.numbers[a["label"]] for a in answers], np.int64)

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        truths, probabilities = self.truths(examples), self.probabilities(answers)
        return classification(truths, self.guesses(answers), self.labels) | calibrated(truths, probabilities)

    def statistics(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Statistics:
        counted = one_label.statistics(self.truths(examples), self.guesses(answers), len(self.labels))
        return Statistics(counted, one_label.score)

    def wrongness(self, answers: Sequence[Answer], examples: Sequence[Example]) -> np.ndarray:
        """The probability that was kept from the true label of a wrong row."""
        truths, shares = self.truths(examples), self.probabilities(answers)
        return np.where(self.guesses(answers) == truths, 0.0, 1 - shares[np.arange(len(truths)), truths])

    def cells(self, answer: Answer) -> Mapping[str, str | float]:
        return {"label": answer["label"], "probability": max(answer["probabilities"].values())}


# ---- labels in words


def _each_its_own(given: Any) -> Any:
    return {str(label): in_words(str(label)) for label in given} if isinstance(given, list) else given


def in_words(label: str) -> str:
    """A label as it would stand in a sentence."""
    return " ".join(re.split(r"[\s_]+", label.strip()))


class Settings(Block):
    max_length: int = Field(256, ge=4, description="longer texts are cut to this many tokens")
    words: Annotated[dict[str, str], BeforeValidator(_each_its_own)] = Field(
        default_factory=dict,
        description="label: what it is called in words; a list of labels, or none where rows are trained on: their own words",
    )


class Worded(Labelled):
    """A task that knows its labels by their words, so that it answers before it has seen a row. It is made of a base with its head, without
    training, by `zero_shot`'s labels."""

    settings: Any
    stranger, remedy = "has no words and no training row", "correct them or give them words (task.words.LABEL=...)"

    @classmethod
    def zero_shot(cls, settings: Any) -> list[str]:
        """The labels that are told apart by their words alone. Raises SettingsError for fewer than two."""
        if len(settings.words) < 2:
            raise SettingsError(
                f"task.words: {len(settings.words)} labels named, but to answer untrained at least two are needed: "
                "task.words.positive=great task.words.negative=bad, or task.words=[sports, business]"
            )
        return [*settings.words]

    @classmethod
    def settle(cls, settings: Any, examples: Sequence[Example]) -> Any:
        """With the labels' own words where none are given."""
        known = {label: None for example in examples for label in example.labels}
        if strangers := [label for label in settings.words if label not in known]:
            told = ", ".join(sorted(known)[:10])
            raise SettingsError(f"task.words: no row bears {', '.join(map(repr, strangers))}; known: {told}")
        words = {label: settings.words.get(label, in_words(label)) for label in known}
        return settings.model_copy(update={"words": words})

    def check(self, examples: Sequence[Example]) -> None:
        several = [f"{e.where}: {', '.join(e.labels)}" for e in examples if len(e.labels) > 1]
        gather(
            several,
            f"{some(len(several), 'row')} with several labels, and this task knows one a row; learn them with task.name=classify:",
            DataError,
        )
        super().check(examples)
