"""The Task protocol: Examples -> Batch, model output -> loss, model output -> answers, answers -> scores.

A pre-training objective is a Task whose labels come from the text itself. Training, evaluation, distillation and the engine know
nothing of a task beyond this page; a task knows nothing of them, and of a model only `models.base.Model`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from yanmo.models.base import Model
from yanmo.text.batches import Batch, Drawn, Key
from yanmo.text.sources import Example


@dataclass(frozen=True)
class Loss:
    """A sum and what it is a sum over, so that accumulation, packing and data parallelism add up exactly."""

    total: Tensor  # () the summed loss, with its graph
    count: int  # of rows or tokens


Answer = dict[str, Any]  # one row's answer, ready for JSON
Scores = dict[str, Any]  # names -> numbers, or nested; ready for JSON


class Task(Protocol):
    name: str
    head: str  # the head kind that the model must carry
    best: str  # the score that chooses a checkpoint: the larger the better, or the smaller when it begins with "-"

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        """Tokenise, once. Faults in the rows (an unknown label) are gathered into one DataError."""

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        """Prepared examples -> Batch. All randomness comes from `key`; None asks for the fixed form used in evaluation."""

    def loss(self, model: Model, batch: Batch) -> Loss: ...

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        """An answer per row of the batch, in its order."""

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        """Answers against the labels that the examples carry."""

    def calibrate(
        self, train: Sequence[Example], dev: Sequence[Example], answers: Callable[[], Sequence[Answer]]
    ) -> bool:
        """Fit what the task adds to a trained model (thresholds, a mix), where it adds something: answers() gives the model's own on
        the dev rows. Returns whether answers will be different from now on."""

    def tensors(self) -> dict[str, Tensor]:
        """What the task owns beside the model; kept in heads.safetensors."""

    def take(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave."""

    def record(self) -> Mapping[str, Any]:
        """What a run folder keeps so that `tasks.restore` makes the same task again."""


def lengths(examples: Sequence[Example]) -> np.ndarray:
    """(rows,) the number of tokens of each prepared example."""
    if isinstance(examples, Drawn):
        return examples.lengths
    return np.array([0 if example.ids is None else len(example.ids) for example in examples], np.int64)


def ids_of(examples: Sequence[Example]) -> list[np.ndarray]:
    """The token ids of prepared examples."""
    return [example.ids for example in examples if example.ids is not None]


def better(best: str, new: Scores, old: Scores | None) -> bool:
    """Whether `new` beats `old` by the score named `best` (a leading "-": smaller is better)."""
    if old is None:
        return True
    name = best.removeprefix("-")
    return bool(new[name] < old[name]) if best.startswith("-") else bool(new[name] > old[name])
