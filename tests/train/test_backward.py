"""FGM against its definition."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from yanmo.tasks.base import Loss
from yanmo.text.batches import Batch, Run
from yanmo.train.backward import fgm, plain


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.word, self.output = nn.Embedding(7, 4).double(), nn.Linear(4, 3).double()

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.output(torch.tanh(self.word(ids)))
        return result


class Guess:
    name, head, best = "guess", "none", "-loss"

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        return Loss(F.cross_entropy(model(batch.source.ids), batch.labels, reduction="sum"), len(batch.source.ids))


def batch(*ids: int) -> Batch:
    return Batch(Run(torch.tensor(ids), (1,) * len(ids)), labels=torch.tensor([number % 3 for number in ids]))


@pytest.mark.parametrize("size", [0.01, 1.0])
def test_the_gradient_is_that_of_both_and_the_weights_stay(size: float) -> None:
    model, other = Words(), Words()
    table = model.word.weight
    before = table.detach().clone()
    told = fgm(plain, table, size)(model, Guess(), batch(1, 2, 3, 3))

    clean = Guess().loss(other, batch(1, 2, 3, 3))
    clean.total.backward()
    slope = other.word.weight.grad.clone()
    expected = {name: p.grad.clone() for name, p in other.named_parameters()}
    other.zero_grad()
    with torch.no_grad():
        other.word.weight += size * slope / slope.norm()
    pushed = Guess().loss(other, batch(1, 2, 3, 3))
    pushed.total.backward()

    assert pushed.total > clean.total  # it hurts
    assert torch.equal(table, before)
    assert told.count == 8 and float(told.total) == pytest.approx(float(clean.total + pushed.total), abs=1e-12)
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, expected[name] + q.grad, rtol=0, atol=1e-12)


def test_each_batch_of_a_step_is_pushed_by_its_own_gradient() -> None:
    model, alone = Words(), Words()
    backward = fgm(plain, model.word.weight, 1.0)
    backward(model, Guess(), batch(1, 2))
    first = {name: p.grad.clone() for name, p in model.named_parameters()}
    backward(model, Guess(), batch(4, 5, 6))
    fgm(plain, alone.word.weight, 1.0)(alone, Guess(), batch(4, 5, 6))
    for (name, p), q in zip(model.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(p.grad, first[name] + q.grad, rtol=0, atol=1e-12)


def test_no_slope_no_push() -> None:
    model = Words()
    nn.init.zeros_(model.output.weight)
    told = fgm(plain, model.word.weight, 1.0)(model, Guess(), batch(1, 2))
    assert told.count == 2
