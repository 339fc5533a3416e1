"""Relation classification: how the first of two entities that are marked in a sentence is related to the second.

Ordinary signs are put around the entities (@ first @ ... # second #: the "entity marker (punct)" of Zhou & Chen 2022,
https://aclanthology.org/2022.aacl-short.21), so that every tokeniser and every trained model knows them; what is classified are the states
of the signs that open the entities ("entity start", Baldini Soares et al. 2019, https://aclanthology.org/P19-1279) and of the first token,
joined.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.errors import DataError, SettingsError, gather
from yanmo.models.base import Model
from yanmo.nn.linear import Linear
from yanmo.settings import Block
from yanmo.tasks.base import Answer, Loss, Scores, Task, ids_of, mean_of
from yanmo.tasks.metrics.relations import OTHER, relations, semeval
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example, label_set
from yanmo.text.tokenizer import Tokenizer

_SIGNS = ("@", "#")  # around the first entity, around the second
_NONE = (OTHER, "NA", "unknown", "no_relation")  # what data sets call a pair without a relation
_DIRECTED = re.compile(r".+\(e[12],e[12]\)")
_WHOLE = 1 << 30  # tokens


class Settings(Block):
    name: Literal["relate"] = "relate"
    max_length: int = Field(
        256,
        ge=16,
        description="of longer texts the tokens nearest to the entities are kept, this many with their signs",
    )
    none: str | None = Field(
        None, description=f"the label that says there is no relation; null: the first of {', '.join(_NONE)} that is one"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="of the states that are classified")


class Relate(Task):
    """Cross-entropy over `labels`. The order of `labels` is the order of the head's outputs."""

    name = "relate"
    head = "base"
    form = "related"
    labelling = "classes"
    settings: Settings

    def __init__(self, settings: Settings, tokenizer: Tokenizer, labels: Sequence[str]) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self.labels = list(labels)
        self.none = none_of(self.labels, settings)
        self.best = "macro_f1" if directed(self.labels, self.none) else "micro_f1"
        self.numbers = {label: number for number, label in enumerate(labels)}
        unknown = tokenizer.unknown or 0  # for a tokeniser that makes nothing of a sign
        self.signs = [[unknown, *tokenizer.encode(sign, special=False)][-1] for sign in _SIGNS]

    @classmethod
    def learnt(cls, settings: Any, examples: Sequence[Example], where: str) -> list[str]:
        return label_set(examples, where)

    def own(self, width: int) -> nn.Module:
        return nn.Sequential(nn.Dropout(self.settings.dropout), Linear(3 * width, len(self.labels)))

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        """`places`: (3,) the first token, and the signs that open the two entities."""
        faults = [
            f"{e.where}: relation '{label}' was never seen in training (known: {', '.join(self.labels[:10])})"
            for e in examples
            for label in e.labels
            if label not in self.numbers
        ]
        gather(
            faults,
            f"{len(faults)} rows bear relations that the model can't know; correct them or train on them:",
            DataError,
        )
        return [self._signed(e) for e in self.tokenizer.tokenise_marked(examples, _WHOLE)]

    def _signed(self, example: Example) -> Example:
        """A tokenised row with signs around its entities; where it is too long, without the tokens that are farthest from them."""
        assert example.ids is not None and example.places is not None  # noqa: S101 (`tokenise_marked`)
        ids = example.ids
        places = np.maximum(example.places, 0)  # an entity that no token stands for is at the beginning
        if (most := self.settings.max_length - 4) < len(ids):
            kept = _nearest(len(ids), places, most)
            ids, places = ids[kept], np.searchsorted(kept, places)
        order = np.lexsort(([1, 0, 1, 0], places.ravel()))  # where one entity ends and one begins, the end comes first
        after = np.empty(4, np.int64)
        after[order] = places.ravel()[order] + np.arange(4)
        signed = np.insert(ids, places.ravel()[order], np.repeat(self.signs, 2)[order])
        return replace(example, ids=signed, places=np.array([0, after[0], after[2]]))

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        run = pack(ids_of(examples))
        places = np.stack([e.places for e in examples if e.places is not None])
        labelled = all(e.labels for e in examples)
        return Batch(
            source=run,
            select=(run.starts[:, None] + torch.from_numpy(places)).flatten(),
            labels=torch.tensor([self.numbers[e.labels[0]] for e in examples]) if labelled else None,
            rows=tuple(e.id for e in examples),
        )

    def _logits(self, model: Model, batch: Batch) -> Tensor:
        """(rows, labels)"""
        assert self.module is not None  # noqa: S101 (`attach`)
        logits: Tensor = self.module(model.hidden(batch)[batch.select].view(len(batch.source.lengths), -1))
        return logits

    def loss(self, model: Model, batch: Batch) -> Loss:
        if batch.labels is None:
            raise DataError(f"rows without a relation can't be trained on: {', '.join(batch.rows[:5])}")
        return Loss(F.cross_entropy(self._logits(model, batch), batch.labels, reduction="sum"), len(batch.labels))

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        return self._answers(self._logits(model, batch).float().softmax(-1).detach().cpu().numpy())

    def join(
        self, members: Sequence["Relate"], opinions: Sequence[Sequence[Answer]], examples: Sequence[Example]
    ) -> list[Answer]:
        return self._answers(mean_of(opinions, self.labels))

    def _answers(self, rows: np.ndarray) -> list[Answer]:
        """rows: (rows, labels) probabilities"""
        return [
            {"label": self.labels[best], "probabilities": dict(zip(self.labels, row, strict=True))}
            for best, row in zip(rows.argmax(-1).tolist(), rows.tolist(), strict=True)
        ]

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        return scores([e.labels[0] for e in examples], [a["label"] for a in answers], self.labels, self.none)

    def cells(self, answer: Answer) -> Mapping[str, str | float]:
        return {"label": answer["label"], "probability": max(answer["probabilities"].values())}


def none_of(labels: Sequence[str], settings: Settings) -> str | None:
    """The label that says there is no relation. Raises SettingsError where the one that the settings name is none."""
    if settings.none is not None and settings.none not in labels:
        raise SettingsError(
            f"task.none: no training row has the relation '{settings.none}'; they have: {', '.join(labels)}"
        )
    return settings.none or next((label for label in _NONE if label in labels), None)


def directed(labels: Sequence[str], none: str | None) -> bool:
    """Whether relations are named as in SemEval-2010 task 8, "Cause-Effect(e1,e2)", beside its Other: then its official score counts."""
    return none == OTHER and all(map(_DIRECTED.fullmatch, {*labels} - {OTHER}))


def scores(truths: Sequence[str], guesses: Sequence[str], labels: Sequence[str], none: str | None) -> Scores:
    """The official scores of SemEval-2010 task 8 where the relations are `directed`, else those without the label `none`."""
    if directed(labels, none):
        return semeval(truths, guesses)
    numbers = {label: number for number, label in enumerate(labels)}
    true, guessed = (np.array([numbers[label] for label in each]) for each in (truths, guesses))
    return relations(true, guessed, labels, none)


def _nearest(length: int, places: np.ndarray, most: int) -> np.ndarray:
    """(most,) the tokens of a row that are nearest to one of its entities, in their order; its first and last are always among them.
    places: (2, 2) tokens from and to, as everywhere."""
    token = np.arange(length)
    away = np.maximum(places[:, :1] - token, token - places[:, 1:] + 1).min(0)
    away[[0, -1]] = -length
    return np.sort(np.argsort(away, kind="stable")[:most])
