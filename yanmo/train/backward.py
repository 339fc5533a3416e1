"""How one batch is learnt from: forward and backward of its summed loss, which leave gradients and change no weight."""

from collections.abc import Callable

import torch
from torch import nn

from yanmo.models.base import Model
from yanmo.tasks.base import Loss, Task
from yanmo.text.batches import Batch

Backward = Callable[[Model, Task, Batch], Loss]


def plain(model: Model, task: Task, batch: Batch) -> Loss:
    """Forward and backward of the summed loss. Private training puts another function in its place."""
    loss = task.loss(model, batch)
    loss.total.backward()  # type: ignore[no-untyped-call]
    return loss


def mixed(model: Model, task: Task, batch: Batch) -> Loss:
    """`plain` with matrix products in bfloat16 (torch's autocast): weights, norms, the sums of residuals, the softmax over the vocabulary
    and the loss stay float32. It has float32's range, so no loss is scaled. Kalamkar et al. 2019, https://arxiv.org/abs/1905.12322."""
    with torch.autocast(batch.source.ids.device.type, torch.bfloat16):
        loss = task.loss(model, batch)
    loss.total.backward()  # type: ignore[no-untyped-call]
    return loss


BY_PRECISION: dict[str, Backward] = {"float32": plain, "bfloat16": mixed}


def fgm(backward: Backward, table: nn.Parameter, size: float) -> Backward:
    """`backward`, and once more with `table` (tokens, width) moved by `size` along the batch's gradient, to where it hurts most. The
    loss is the sum of both over twice the count; the table's weights come back bit for bit. It is the fast gradient method of Miyato et
    al. 2017, https://arxiv.org/abs/1605.07725, on the vectors of tokens instead of those of places."""

    def twice(model: Model, task: Task, batch: Batch) -> Loss:
        before = None if table.grad is None else table.grad.clone()  # of earlier batches of the same step
        first = backward(model, task, batch)
        if table.grad is None:
            return first  # a frozen table
        slope = table.grad if before is None else table.grad - before
        norm = float(slope.norm())
        if not 0 < norm < float("inf"):
            return first
        kept = table.detach().clone()
        with torch.no_grad():
            table.add_(slope, alpha=size / norm)
        try:
            second = backward(model, task, batch)
        finally:
            with torch.no_grad():
                table.copy_(kept)
        return Loss(first.total.detach() + second.total.detach(), first.count + second.count)

    return twice
