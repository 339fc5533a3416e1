"""A task over examples -> answers and scores."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from yanmo.tasks.base import Answer, Scores, Task, lengths
from yanmo.text.batches import once
from yanmo.text.sources import Example

BUDGET = 16_384  # tokens of one batch: larger gains nothing on a CPU, and memory stays small


def answers(
    model: nn.Module,
    task: Task,
    examples: Sequence[Example],
    *,
    device: torch.device,
    advance: Callable[[int], None] = lambda rows: None,
) -> list[Answer]:
    """The answers for prepared examples, in their order. `advance` hears how many rows were done."""
    found: list[Answer | None] = [None] * len(examples)
    training = model.training
    model.eval()
    with torch.inference_mode():
        for batch, rows in once(examples, lengths(examples), task.batch, budget=BUDGET):
            for row, answer in zip(rows, task.predict(model, batch.to(device)), strict=True):  # type: ignore[arg-type]
                found[row] = answer
            advance(len(rows))
    model.train(training)
    return [answer for answer in found if answer is not None]


def evaluate(model: nn.Module, task: Task, examples: Sequence[Example], *, device: torch.device) -> Scores:
    """The scores of prepared, labelled examples."""
    return task.score(answers(model, task, examples, device=device), examples)
