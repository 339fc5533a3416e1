"""Several tasks over one shared encoder: every step learns from rows of all of them, and each answers by a head of its own.

Which rows a step has is drawn by temperature: a task of n rows is drawn in proportion to n^(1/T), so that T=1 takes all rows alike and a
larger T lets small tasks be seen more often (Arivazhagan et al. 2019, https://arxiv.org/abs/1907.05019, section 4.2; Raffel et al. 2020,
https://jmlr.org/papers/v21/20-074.html, section 3.5.2). A batch holds rows of several tasks, so that a step pulls the encoder no one way
(Aghajanyan et al. 2021, https://aclanthology.org/2021.emnlp-main.468, section 3.1): its states are computed once, and each task is shown
those of its own rows. What a row weighs is the same in every task, whatever the task counts its loss by.

Of the model only the encoder is shared, so its folder opens as the bare model everywhere; the heads, all of them generic ones, stand in
heads.safetensors under the names of the tasks.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from yanmo.errors import DataError, ModelError, SettingsError
from yanmo.models.base import Config, Model, task_logits
from yanmo.models.base import answers as outputs
from yanmo.nn.heads import GENERIC
from yanmo.settings import Block, one_of
from yanmo.tasks import answer, classify, embed, rate, relate, rerank, tag
from yanmo.tasks.base import Answer, Loss, Scores, Task, lengths
from yanmo.text.batches import Batch, Drawn, Key, Run
from yanmo.text.mixture import Held, Mixture
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer

# What can be learnt together: what needs no more of a model than the states of its tokens. name -> (settings, task)
JOINED: dict[str, tuple[Any, Any]] = {
    "classify": (classify.Settings, classify.Classify),
    "rate": (rate.Settings, rate.Rate),
    "relate": (relate.Settings, relate.Relate),
    "tag": (tag.Settings, tag.Tag),
    "answer": (answer.Settings, answer.Answering),
    "embed": (embed.Settings, embed.Embed),
    "rerank": (rerank.Settings, rerank.Rerank),
}
MEAN = "mean_score"
_HEAD, _OWN = (
    "head",
    "own",
)  # the parts of a task's module: a head of a kind that families have; what the task owns beside it

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class Settings(Block):
    name: Literal["multitask"] = "multitask"
    temperature: float = Field(
        2.0, ge=1, description="1: tasks are drawn in proportion to their rows; the larger, the more alike"
    )
    tasks: dict[Name, one_of(JOINED)] = Field(  # type: ignore[valid-type]
        default_factory=dict,
        validate_default=True,
        description=f"the name of each task -> its settings (name: {', '.join(JOINED)}, and the keys of that task)",
    )
    labels: dict[str, list[str]] | None = Field(
        None, description="those of each task, in the order of its answers; null: as the training rows have them"
    )

    @field_validator("tasks")
    @classmethod
    def _several(cls, tasks: dict[str, Any]) -> dict[str, Any]:
        if len(tasks) < 2:
            raise ValueError(
                "expected two tasks or more, such as task.tasks.NAME.name=classify task.tasks.OTHER.name=tag"
            )
        return tasks

    @property
    def max_length(self) -> int:
        """Tokens of the longest row."""
        return int(max(each.max_length for each in self.tasks.values()))


@dataclass(frozen=True)
class Mixed(Batch):
    """Rows of several tasks, one task's behind another's: `parts` are their batches, and the places of their rows among those asked for."""

    parts: tuple[tuple[str, tuple[int, ...], Batch], ...] = ()

    def to(self, device: torch.device) -> "Mixed":
        parts = tuple((name, places, part.to(device)) for name, places, part in self.parts)
        return replace(self, source=self.source.to(device), parts=parts)


class Member:
    """One of the tasks: what it says of a model is said of the states by a head of its own."""

    def __init__(self, task: Task, labels: Sequence[str]) -> None:
        self.task, self.labels = task, labels
        self.part: nn.Module | None = None  # its head, where it has a kind that families have

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def attached(self, width: int) -> nn.ModuleDict:
        """What is trained for this task beside an encoder with states of this width."""
        task = self.task
        if task.head != "base":
            number = outputs(Config(id2label=dict(enumerate(self.labels))), task.head)
            # All states of a row speak, since nobody knows which of them the encoder was trained by.
            place = {"place": "mean_max"} if task.head == "classify" else {}
            self.part = GENERIC[task.head](width, number, **place)
        task.module = task.own(width)
        held = {_HEAD: self.part, _OWN: task.module}
        return nn.ModuleDict({key: module for key, module in held.items() if module is not None})

    def one(self, name: str | None) -> "Member":
        return self

    def loss(self, model: Model, batch: Batch, states: Tensor | None = None) -> Loss:
        return self.task.loss(_Seen(model, self.part, states), batch)  # type: ignore[arg-type]  # all of a Model that tasks here ask for

    def predict(self, model: Model, batch: Batch, states: Tensor | None = None) -> list[Answer]:
        return self.task.predict(_Seen(model, self.part, states), batch)  # type: ignore[arg-type]

    def tensors(self) -> dict[str, Tensor]:
        held = {} if self.part is None else {f"{_HEAD}.{key}": t for key, t in self.part.state_dict().items()}
        return held | {f"{_OWN}.{key}": tensor for key, tensor in self.task.tensors().items()}

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Raises ModelError for what does not fit."""
        held: dict[str, dict[str, Tensor]] = {_HEAD: {}, _OWN: {}}
        for key, tensor in tensors.items():
            kind, _, name = key.partition(".")
            held.setdefault(kind, {})[name] = tensor
        if self.part is not None:
            try:
                self.part.load_state_dict(held[_HEAD])
            except RuntimeError as error:
                raise ModelError(f"heads.safetensors does not fit the task '{self.task.name}': {error}") from None
        if self.task.module is not None or held[_OWN]:
            self.task.take(held[_OWN])


class _Seen:
    """A model as one of the tasks sees it: its states, computed already or not, and the task's own head."""

    def __init__(self, model: Model, part: nn.Module | None, states: Tensor | None) -> None:
        self._model, self._part, self._states = model, part, states

    def hidden(self, batch: Batch) -> Tensor:
        return self._model.hidden(batch) if self._states is None else self._states

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        return task_logits(self._part, hidden, run)


class Multitask(Task):
    """Its answers and scores are those of its tasks. It is judged by the mean of the scores that they are judged by."""

    name = "multitask"
    head = "base"
    best = MEAN
    settings: Settings

    def __init__(self, settings: Settings, tokenizer: Tokenizer, labels: Sequence[str] = ()) -> None:
        self.settings = settings
        known = settings.labels or {}
        self.members = {
            name: Member(JOINED[each.name][1](each, tokenizer, known.get(name, [])), known.get(name, []))
            for name, each in settings.tasks.items()
        }

    @classmethod
    def parts(cls, settings: Any) -> Mapping[str, Any]:
        return dict(settings.tasks)

    @classmethod
    def settle(cls, settings: Any, examples: Sequence[Example]) -> Any:
        tasks, labels = {}, {}
        for name, (_, rows) in _by_task(examples).items():
            each = settings.tasks[name]
            task = JOINED[each.name][1]
            with speaking_of(name):
                tasks[name] = task.settle(each, rows)
                learnt = task.learnt(tasks[name], rows, rows[0].file)
            labels[name] = (settings.labels or {}).get(name) or learnt or []
        return settings.model_copy(update={"tasks": {name: tasks[name] for name in settings.tasks}, "labels": labels})

    def own(self, width: int) -> nn.Module:
        return nn.ModuleDict({_called(name): member.attached(width) for name, member in self.members.items()})

    def inherit(self, folder: Path) -> None:
        for member in self.members.values():
            member.task.inherit(folder)

    def files(self, width: int) -> Mapping[str, str]:
        return {name: text for member in self.members.values() for name, text in member.task.files(width).items()}

    def one(self, name: str | None) -> Task:
        if name in self.members:
            return self.members[name]  # type: ignore[return-value]  # it says all that its task says
        near = difflib.get_close_matches(name or "", self.members, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        said = (
            "this folder was made for several tasks; say which" if name is None else f"no task is called '{name}'{hint}"
        )
        raise SettingsError(f"task: {said} (task=NAME, one of {', '.join(self.members)})")

    # ---- rows

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        found: list[Example] = [*examples]
        for name, (places, rows) in _by_task(examples).items():
            with speaking_of(name):
                prepared = self.members[name].task.prepare(rows)
            for place, row in zip(places, prepared, strict=True):
                found[place] = row
        return found

    def drawn(self, examples: Sequence[Example]) -> Sequence[Example]:
        """A Mixture, whose weights are shares of tokens."""
        weights: dict[Drawn, float] = {}
        for _, rows in _by_task(examples).values():
            sizes = lengths(rows)
            weights[Held(rows, sizes)] = float(sizes.mean()) * len(rows) ** (1 / self.settings.temperature)
        return Mixture(weights)

    def batch(self, examples: Sequence[Example], key: Key | None) -> Mixed:
        parts = tuple(
            (name, places, self.members[name].task.batch(rows, key))
            for name, (places, rows) in _by_task(examples).items()
        )
        return Mixed(
            source=_joined([part.source for _, _, part in parts]),
            rows=tuple(row for _, _, part in parts for row in part.rows),
            parts=parts,
        )

    # ---- the model

    def _apart(self, model: Model, batch: Batch) -> list[tuple[Member, tuple[int, ...], Batch, Tensor]]:
        """Of each part of a batch the task, the places of its rows, its batch and its states."""
        assert isinstance(batch, Mixed)  # noqa: S101 (`batch` made it)
        sizes = [len(part.source.ids) for _, _, part in batch.parts]
        states = torch.split(model.hidden(batch), sizes)
        return [
            (self.members[name], places, part, own)
            for (name, places, part), own in zip(batch.parts, states, strict=True)
        ]

    def loss(self, model: Model, batch: Batch) -> Loss:
        """Of each task the mean, by what it counts, times the rows that it has here."""
        totals, count = [], 0
        for member, places, part, states in self._apart(model, batch):
            lost = member.loss(model, part, states)
            totals.append(lost.total * (len(places) / max(1, lost.count)))
            count += len(places)
        return Loss(torch.stack(totals).sum(), count)

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        found: list[Answer] = [{}] * len(batch.rows)
        for member, places, part, states in self._apart(model, batch):
            for place, said in zip(places, member.predict(model, part, states), strict=True):
                found[place] = said
        return found

    # ---- scores

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        """Under "tasks" those of each task, with the name of the one that it is judged by; beside them the mean of these, which chooses a
        checkpoint."""
        tasks, chosen = {}, {}
        for name, (places, rows) in _by_task(examples).items():
            task = self.members[name].task
            best = task.judged_by(rows)
            tasks[name] = task.score([answers[place] for place in places], rows)
            chosen[name] = tasks[name][best]
            tasks[name] = {"headline": task.headline or best, **tasks[name]}
        shares = {f"{name}/{tasks[name]['headline']}": tasks[name][tasks[name]["headline"]] for name in tasks}
        return {"rows": len(examples), MEAN: fmean(chosen.values()), **shares, "tasks": tasks}

    def calibrate(
        self, train: Sequence[Example], dev: Sequence[Example], answers: Callable[[], Sequence[Answer]]
    ) -> str:
        learnt, changed = _by_task(train), False
        for name, (places, rows) in _by_task(dev).items():

            def own(places: Sequence[int] = places) -> list[Answer]:
                given = answers()
                return [given[place] for place in places]

            changed |= bool(self.members[name].task.calibrate(learnt[name][1], rows, own))
        return "uncalibrated" if changed else ""

    # ---- what a folder keeps

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"{_called(name)}.{key}": tensor
            for name, member in self.members.items()
            for key, tensor in member.tensors().items()
        }

    def take(self, tensors: dict[str, Tensor]) -> None:
        for name, member in self.members.items():
            begin = f"{_called(name)}."
            member.take({key.removeprefix(begin): t for key, t in tensors.items() if key.startswith(begin)})

    def record(self) -> Mapping[str, Any]:
        tasks = {name: dict(member.task.record()) for name, member in self.members.items()}
        return {**self.settings.model_dump(mode="json"), "tasks": tasks}


@contextmanager
def speaking_of(name: str) -> Iterator[None]:
    """What the work on a task's rows may raise: its message names the keys of this task."""
    try:
        yield
    except (DataError, SettingsError) as error:
        raise type(error)(_KEY.sub(rf"\1.tasks.{name}.", str(error))) from None


_KEY = re.compile(r"\b(data|task)\.(?!tasks\.)(?=[\w.]+=)")


def _called(name: str) -> str:
    """What a task is called among a module's parts, whose names may not be those that every module has ("train", "type")."""
    return f"for_{name}"


def _by_task(examples: Sequence[Example]) -> dict[str, tuple[tuple[int, ...], list[Example]]]:
    """task -> the places of its rows, and these."""
    found: dict[str, tuple[list[int], list[Example]]] = {}
    for place, example in enumerate(examples):
        places, rows = found.setdefault(example.task, ([], []))
        places.append(place)
        rows.append(example)
    return {name: (tuple(places), rows) for name, (places, rows) in found.items()}


def _joined(runs: Sequence[Run]) -> Run:
    """Runs end to end."""
    types = None
    if any(run.types is not None for run in runs):
        types = torch.cat([torch.zeros_like(run.ids) if run.types is None else run.types for run in runs])
    return Run(torch.cat([run.ids for run in runs]), tuple(n for run in runs for n in run.lengths), types)
