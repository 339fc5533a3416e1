"""What objectives share: a language-model loss at chosen positions, its scores, and rows of documents as they come.

An objective says what a batch is (`batch`) and at which states its labels are said (`states`); all else stands here.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from yanmo.models.base import Model
from yanmo.tasks.base import Answer, Loss, Scores, Task
from yanmo.text.batches import Batch, Key
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer


class Objective(Task):
    """A Task over rows of documents with special tokens. Labels are token ids (n,), or (n, columns) with these in the first."""

    tokens: ClassVar[Sequence[str]] = ()  # special tokens that its tokeniser must have beside the usual ones
    unbroken: ClassVar[bool] = False  # whether a long document's rows go on from each other: see `text.chunks`
    best = "-loss"
    perplexity: ClassVar[str] = "perplexity"  # "pseudo_perplexity" where predictions see what stands behind them
    counts_characters: ClassVar[bool] = (
        False  # whether every character of a text is said, so that bits can be counted by them
    )

    def __init__(self, settings: Any, tokenizer: Tokenizer) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        # Looked up per token: True where a token stands for text.
        self.ordinary = ~np.isin(np.arange(tokenizer.size), tokenizer.special)

    @property
    def row_length(self) -> int:
        """The most tokens that a row of the data may have."""
        length: int = self.settings.max_length
        return length

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        if all(example.ids is not None for example in examples):
            return list(examples)
        return self.tokenizer.tokenise(examples, self.row_length)

    @abstractmethod
    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch: ...

    def states(self, model: Model, batch: Batch) -> Tensor:
        """The states that say the labels: (n, width)."""
        hidden = model.hidden(batch)
        return hidden if batch.select is None else hidden[batch.select]

    def rows(self, batch: Batch) -> Tensor:
        """(n,) the row that each label belongs to."""
        rows = batch.source.row_of
        return rows if batch.select is None else rows[batch.select]

    def loss(self, model: Model, batch: Batch) -> Loss:
        labels = token_labels(batch)
        return Loss(losses(model, self.states(model, batch), labels).sum(), len(labels))

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        """Per row: the summed loss over its labels, how many there were, and how many were guessed right."""
        return self.told(model, self.states(model, batch), token_labels(batch), self.rows(batch), len(batch.rows))

    def told(self, model: Model, states: Tensor, labels: Tensor, rows: Tensor, count: int) -> list[Answer]:
        """The same of labels (n,) that are of these rows (n,), numbers below `count`."""
        logits = model.logits(states).float()
        lost = F.cross_entropy(logits, labels, reduction="none")
        columns = torch.stack([lost, torch.ones_like(lost), (logits.argmax(-1) == labels).float()], 1)
        sums = columns.new_zeros(count, 3).index_add(0, rows, columns).tolist()
        answers: list[Answer] = [{"loss": loss, "tokens": int(n), "right": int(right)} for loss, n, right in sums]
        if self.counts_characters:
            ends = np.cumsum([answer["tokens"] for answer in answers])[:-1]
            parts = np.split(labels.cpu().numpy(), ends)
            texts = self.tokenizer.inner.decode_batch([part.tolist() for part in parts])
            for answer, text in zip(answers, texts, strict=True):
                answer["characters"] = len("".join(text.split()))  # some tokenisers lose spaces, others add them
        return answers

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        def total(name: str) -> float:
            return float(sum(answer[name] for answer in answers))

        tokens = max(1.0, total("tokens"))
        loss = total("loss") / tokens
        scores = {"rows": len(answers), "loss": loss, self.perplexity: math.exp(min(loss, 50.0))}
        if self.counts_characters:
            scores["bits_per_character"] = total("loss") / math.log(2) / max(1.0, total("characters"))
        return scores | {"accuracy": total("right") / tokens}


def token_labels(batch: Batch) -> Tensor:
    """(n,) the tokens to be said."""
    assert batch.labels is not None  # noqa: S101 (an objective made it)
    return batch.labels if batch.labels.dim() == 1 else batch.labels[:, 0]


def losses(model: Model, states: Tensor, labels: Tensor) -> Tensor:
    """(n,) cross-entropies; by a way of the model's own where it has one that is spared the whole vocabulary."""
    own = getattr(model, "language_losses", None)
    found: Tensor = own(states, labels) if own else F.cross_entropy(model.logits(states), labels, reduction="none")
    return found


def generator_of(key: Key | None, examples: Sequence[Example]) -> np.random.Generator:
    """What a batch draws from; for evaluation always the same."""
    return (key or Key(0, 0, len(examples))).generator()
