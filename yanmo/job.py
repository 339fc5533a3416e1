"""What there is to fit: a model, a task and rows; and what follows from them and the settings alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from yanmo.checkpoint import Checkpoint
from yanmo.errors import SettingsError
from yanmo.tasks.base import Task, lengths
from yanmo.text import batches
from yanmo.text.batches import Batch, Cursor
from yanmo.text.sources import Example
from yanmo.train import optim
from yanmo.train.backward import BY_PRECISION, Backward, fgm
from yanmo.train.settings import Train


@dataclass
class Job:
    """What there is to fit."""

    title: str
    checkpoint: Checkpoint  # family, tokenizer and a model that holds the beginning; after `fit`, the best weights
    task: Task
    train: Sequence[Example]  # prepared
    dev: Sequence[Example]  # prepared
    settings: Train
    seed: int
    device: torch.device
    language: str  # of the texts, for the card
    workers: int = 0  # threads that make batches ahead
    precision: str = "auto"  # of matrix products; see `train.precision`
    write: Callable[[], list[dict[str, str]]] | None = None  # what the model writes by now: {"prompt", "text"} of each

    def batches(self, cursor: Cursor) -> Iterator[tuple[Batch, Cursor]]:
        """The training batches from a cursor on, without end, each with the cursor behind it."""
        rows, budget = self.train, self.settings.batch_tokens
        return batches.stream(
            rows, lengths(rows), self.task.batch, budget=budget, seed=self.seed, cursor=cursor, workers=self.workers
        )

    @property
    def best(self) -> str:
        """The score that chooses a checkpoint."""
        return self.task.judged_by(self.dev)

    @property
    def batches_per_epoch(self) -> int:
        rows = batches.drawn(self.train, self.seed, 0)
        return len(batches.plan(lengths(self.train), self.settings.batch_tokens, self.seed, 0, rows))

    @property
    def steps_per_epoch(self) -> float:
        return self.batches_per_epoch / self.settings.accumulate

    def optimiser(self) -> torch.optim.Optimizer:
        asked = self.settings
        return optim.make(
            asked.optimiser,
            self.checkpoint.model,
            lr=asked.lr,
            weight_decay=asked.weight_decay,
            rates=asked.rates,
            layer_decay=asked.layer_decay,
        )

    def backward(self, precision: str) -> Backward:
        """How a batch is learnt from. Raises SettingsError where the family has no vectors of tokens to push."""
        usual, opened = BY_PRECISION[precision], self.checkpoint
        if self.settings.fgm is None:
            return usual
        if not opened.family.embedding:
            raise SettingsError(
                f"train.fgm: a '{opened.family.model_type}' has no table of token vectors; leave it out"
            )
        return fgm(usual, opened.model.get_parameter(opened.family.embedding), self.settings.fgm)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.checkpoint.model.parameters())
