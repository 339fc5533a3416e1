"""The training loop, as a generator: it yields after each optimiser step and the caller decides what happens next.

Accumulation, clipping, penalties and the guard against numbers that must not reach the weights live inside. Logging, evaluation,
saving and stopping do not: they are the caller's. Gradients stay alive until the next turn.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from yanmo.errors import TrainingError
from yanmo.tasks.base import Task
from yanmo.text.batches import Batch, Cursor
from yanmo.train import guard
from yanmo.train.backward import Backward, plain
from yanmo.train.optim import penalise


class Fault(TrainingError):
    """A step whose numbers must not reach the weights, which stand as they did before it. cursor: of the batch after it."""

    def __init__(self, message: str, cursor: Cursor) -> None:
        super().__init__(message)
        self.cursor = cursor


def _finite(loss: float, norm: float) -> str | None:
    return guard.fault(loss, norm, (), None)


@dataclass(frozen=True)
class Plan:
    """What the loop must know of a run."""

    steps: int
    factor: Callable[[int], float]  # step -> share of the initial learning rate
    device: torch.device
    start: int = 0  # the first step to do, when a run goes on
    accumulate: int = 1  # batches per step
    clip: float | None = 1.0  # largest norm of all gradients together
    l1: float = 0.0
    l2: float = 0.0
    fault: Callable[[float, float], str | None] = _finite  # (loss, gradient norm) -> why the step must not be taken
    skip: bool = False  # a faulty step is passed over; else it is raised


@dataclass(frozen=True)
class Step:
    """One optimiser step that has been done, or passed over."""

    number: int  # from 1
    loss: float  # mean per row or token
    tokens: int
    norm: float  # of all gradients, before clipping
    lr: float
    cursor: Cursor  # of the next batch
    skipped: str | None = None  # what was wrong, when no weight was changed


def steps(
    model: nn.Module,
    task: Task,
    batches: Iterator[tuple[Batch, Cursor]],
    optimiser: torch.optim.Optimizer,
    plan: Plan,
    backward: Backward = plain,
) -> Iterator[Step]:
    """Train from `plan.start` to `plan.steps`. Raises Fault before a number that must not reach a weight does, or passes over that step."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for number in range(plan.start, plan.steps):
        factor = plan.factor(number)
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor
        optimiser.zero_grad(set_to_none=True)
        if not model.training:
            model.train()  # it goes through every part
        rows: list[str] = []
        total, count, tokens = 0.0, 0, 0
        for _ in range(plan.accumulate):
            batch, cursor = next(batches)
            batch = replace(batch, progress=number / plan.steps).to(plan.device)
            loss = backward(model, task, batch)  # type: ignore[arg-type]  # a family's module is a Model
            total += float(loss.total.detach())
            count += loss.count
            tokens += len(batch.source.ids)
            rows += batch.rows
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients)) / max(1, count)
        lr = optimiser.param_groups[0]["lr"]
        loss_mean = total / max(1, count)
        if why := plan.fault(loss_mean, norm):
            more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
            message = (
                f"step {number + 1}: the loss is {loss_mean:.6g} and the gradient norm {norm:.6g} (learning rate {lr:.2e}): {why}. "
                f"No weight was changed. Rows: {', '.join(rows[:5])}{more}."
            )
            if not plan.skip:
                raise Fault(message, cursor)
            yield Step(number + 1, loss_mean, tokens, norm, lr, cursor, message)
            continue
        clipped = 1.0 if plan.clip is None or norm <= plan.clip else plan.clip / (norm + 1e-6)
        # The losses are sums: dividing the gradients once makes them means over all batches of the step.
        torch._foreach_mul_(gradients, clipped / max(1, count))
        if plan.l1 or plan.l2:
            penalise(parameters, l1=plan.l1, l2=plan.l2)
        optimiser.step()
        yield Step(number + 1, loss_mean, tokens, norm, lr, cursor)
