"""The Task protocol: Examples -> Batch, model output -> loss, model output -> answers, answers -> scores.

A pre-training objective is a Task whose labels come from the text itself. Training, evaluation, distillation and the engine know
nothing of a task beyond this page; a task knows nothing of them, and of a model only `models.base.Model`. A task's class derives from
Task, and says only what is different with it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn

from yanmo.errors import ModelError, SettingsError
from yanmo.models.base import Model
from yanmo.settings import Block
from yanmo.tasks.metrics.significance import Score
from yanmo.text.batches import Batch, Drawn, Key
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Loss:
    """A sum and what it is a sum over, so that accumulation, packing and data parallelism add up exactly."""

    total: Tensor  # () the summed loss, with its graph
    count: int  # of rows or tokens


Answer = dict[str, Any]  # one row's answer, ready for JSON
Scores = dict[str, Any]  # names -> numbers, or nested; ready for JSON


class Statistics(NamedTuple):
    """What the score that a run is judged by is made of: score(counts.sum(0)) is that score, and that of some of the rows their score."""

    counts: (
        np.ndarray
    )  # (units, k): a unit is a row, or where rows are judged together (the documents of a query) all of these
    score: Score
    first: np.ndarray | None = None  # (units,) the number of the row that a unit begins with; None: each row is one


# What the labels of a task's rows are: each of a set that a row bears, a tag of a set for each word, a number, words of a text, or none.
Labelling = Literal["classes", "tags", "numbers", "words", "none"]


class Task(Protocol):
    name: str
    head: str  # the head kind that the model must carry
    best: str  # the score that chooses a checkpoint: the larger the better, or the smaller when it begins with "-"
    headline: str = ""  # the score that a run is judged by, where it is another than `best`
    form: str = "labelled"  # of the rows that it reads (a key of `text.forms.FORMS`)
    labelling: Labelling = "none"
    problem: str | None = None  # what Hugging Face calls it (`problem_type`), where its head is "classify"
    labels: Sequence[str] = ()  # of its answers, in the order of the head's outputs
    # What of its record the weights were made for, so that only weights with the same can be averaged.
    bound: tuple[str, ...] = ()
    settings: Block
    module: nn.Module | None = None  # what `own` made, once the task has a model

    @classmethod
    def parts(cls, settings: Any) -> Mapping[str, Any]:
        """Name -> settings of the tasks that this one is made of; none of one that learns from its own rows."""
        return {}

    @classmethod
    def settle(cls, settings: Any, examples: Sequence[Example]) -> Any:
        """The settings with what the training rows decide filled in, where a null leaves it to them. Raises SettingsError for what does
        not fit the rows."""
        return settings

    @classmethod
    def learnt(cls, settings: Any, examples: Sequence[Example], where: str) -> list[str] | None:
        """The labels that the head answers with, by the training rows of a file; None for a head that answers with none. Raises
        DataError for rows that can't be learnt from."""
        return None

    def own(self, width: int) -> nn.Module | None:
        """Parameters of the task's own, trained with the model's, whose states have this width."""
        return None

    def inherit(self, folder: Path) -> None:
        """Take over what the folder of the model that training begins with says of this task. Raises ModelError."""

    def files(self, width: int) -> Mapping[str, str]:
        """Name -> content of what other tools read of this task beside a model whose states have this width."""
        return {}

    def one(self, name: str | None) -> "Task":
        """The task that answers: of several the one of this name. Raises SettingsError for a name that is none's."""
        if name is not None:
            raise SettingsError(f"task: this folder was made for one task alone ({self.name}); leave task={name} out")
        return self

    def judged_by(self, examples: Sequence[Example]) -> str:
        """`best` of these rows, where another score is possible of others."""
        return self.best

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        """Tokenise, once. Faults in the rows (an unknown label) are gathered into one DataError."""

    def drawn(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Prepared training rows as epochs have them, where they have not each row once."""
        return examples

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        """Prepared examples -> Batch. All randomness comes from `key`; None asks for the fixed form used in evaluation."""

    def loss(self, model: Model, batch: Batch) -> Loss: ...

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        """An answer per row of the batch, in its order."""

    def opinions(self, model: Model, batch: Batch) -> list[Any]:
        """What a member of an ensemble says of each row of the batch, for `join`: its answers, or what they are made of."""
        return self.predict(model, batch)

    def join(
        self, members: Sequence[Any], opinions: Sequence[Sequence[Any]], examples: Sequence[Example]
    ) -> list[Answer]:
        """The answers of an ensemble, one a row: the mean of the members' opinions. members: tasks of this class with the same labels,
        perhaps in another order, of which this is the first. Raises ModelError where a task has no ensembles."""
        raise ModelError(f"answers of the task '{self.name}' can't be averaged")

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        """Answers against the labels that the examples carry. An "interval" is [low, high] of the score that a run is judged
        by, which in a task for labelled rows is the larger the better."""

    def comparable(self, examples: Sequence[Example]) -> bool:
        """Whether answers of several models to these rows can be scored together: not where each has a space of its own."""
        return True

    def statistics(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Statistics | None:
        """What the headline score of these answers is made of; None for a score that is no function of sums over rows."""
        return None

    def wrongness(self, answers: Sequence[Answer], examples: Sequence[Example]) -> np.ndarray | None:
        """(rows,) how wrong each answer is: 0 is right, the larger the worse, in a unit of the task's own. None: no answer is wrong."""
        return None

    def cells(self, answer: Answer) -> Mapping[str, str | float]:
        """An answer as the columns of a table, which also make its one line of plain text."""
        return {name: value for name, value in answer.items() if isinstance(value, (str, int, float))}

    def calibrate(
        self, train: Sequence[Example], dev: Sequence[Example], answers: Callable[..., Sequence[Answer]]
    ) -> str:
        """Fit what the task adds to a trained model (thresholds, a mix), where it adds something: answers() gives the model's own on
        the dev rows, answers("train") those on the training rows. Returns what the score of the answers before is to be called; ""
        where answers will be the same from now on."""
        return ""

    def tensors(self) -> dict[str, Tensor]:
        """What the task owns beside the model; kept in heads.safetensors. By default its module's."""
        return {} if self.module is None else dict(self.module.state_dict())

    def take(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` gave. Raises ModelError for what does not fit."""
        if self.module is not None:
            try:
                self.module.load_state_dict(tensors)
            except RuntimeError as error:
                raise ModelError(f"heads.safetensors does not fit the task '{self.name}': {error}") from None

    def record(self) -> Mapping[str, Any]:
        """What a run folder keeps so that `tasks.restore` makes the same task again."""
        return self.settings.model_dump(mode="json")


OWN = "task_own"  # what a task's module is called in a model


def attach(model: nn.Module, task: Task, width: int) -> None:
    """Make what the task owns a part of the model, so that it goes wherever the model's parameters go: to the device, the optimiser, the
    average, the training state. A folder keeps it apart (`Task.tensors`)."""
    task.module = task.own(width)
    if task.module is not None:
        model.add_module(OWN, task.module)


def mean_of(opinions: Sequence[Sequence[Answer]], labels: Sequence[str]) -> np.ndarray:
    """(rows, labels) the mean of the "probabilities" that several members give to each label, by its name."""
    found: np.ndarray = np.mean(
        [[[a["probabilities"][label] for label in labels] for a in each] for each in opinions], 0
    )
    return found


def lengths(examples: Sequence[Example]) -> np.ndarray:
    """(rows,) the number of tokens of each prepared example."""
    if isinstance(examples, Drawn):
        return examples.lengths
    return np.array([0 if example.ids is None else len(example.ids) for example in examples], np.int64)


def ids_of(examples: Sequence[Example]) -> list[np.ndarray]:
    """The token ids of prepared examples."""
    return [example.ids for example in examples if example.ids is not None]


def begins(examples: Sequence[Example]) -> np.ndarray:
    """(distinct first texts,) the number of the row in which each stands first: where the rows of a query are judged together."""
    first = {example.texts[0]: row for row, example in reversed([*enumerate(examples)])}
    return np.array(sorted(first.values()))


def hide(rows: list[np.ndarray], share: float, key: Key | None, tokenizer: Tokenizer) -> list[np.ndarray]:
    """Rows of ids with a share of their tokens behind [MASK], none of the special ones; all randomness comes from `key`. As they were
    where there is no key or no [MASK]."""
    if key is None or not share or tokenizer.mask is None:
        return rows
    ids = np.concatenate(rows)
    hidden = (key.generator().random(len(ids)) < share) & ~np.isin(ids, tokenizer.special)
    return np.split(np.where(hidden, tokenizer.mask, ids), np.cumsum([len(row) for row in rows])[:-1])


def better(best: str, new: Scores, old: Scores | None) -> bool:
    """Whether `new` beats `old` by the score named `best` (a leading "-": smaller is better)."""
    if old is None:
        return True
    name = best.removeprefix("-")
    return bool(new[name] < old[name]) if best.startswith("-") else bool(new[name] > old[name])
