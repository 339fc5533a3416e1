"""The loop against plain PyTorch: accumulation, clipping, penalties, schedules, non-finite numbers."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from yanmo.errors import SettingsError, TrainingError
from yanmo.tasks.base import Loss
from yanmo.text.batches import Batch, Cursor, Run
from yanmo.train import loop, optim, schedule
from yanmo.train.average import Average
from yanmo.train.backward import plain
from yanmo.train.settings import Train


class Regression:
    """The smallest task: ids are the inputs, labels what to predict. Batch's `labels` are (rows,)."""

    name, head, best = "regression", "none", "-loss"

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        predicted = model(batch.source.ids.double()[:, None]).squeeze(-1)
        return Loss(((predicted - batch.labels) ** 2).sum(), len(batch.labels))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()


def batches(sizes: list[int], bad: int | None = None) -> Iterator[tuple[Batch, Cursor]]:
    generator = torch.Generator().manual_seed(1)
    for number, size in enumerate(sizes):
        ids = torch.randint(0, 5, (size,), generator=generator)
        labels = ids.double() * 0.5
        if number == bad:
            labels[0] = float("nan")
        yield (
            Batch(Run(ids, (1,) * size), labels=labels, rows=tuple(f"r{number}.{i}" for i in range(size))),
            Cursor(0, number + 1),
        )


def plan(steps: int, **values: object) -> loop.Plan:
    return loop.Plan(steps, lambda step: 1.0, torch.device("cpu"), **values)


def sgd(net: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    return optim.make("sgd", net, lr=lr, weight_decay=0.0)


def test_accumulation_equals_one_large_batch() -> None:
    """Batches of unequal sizes add up exactly: sums are divided once."""
    small, large = model(), model()
    list(loop.steps(small, Regression(), batches([3, 7, 2]), sgd(small), plan(1, accumulate=3)))
    parts = [batch for batch, _ in batches([3, 7, 2])]
    joined = Batch(
        Run(torch.cat([b.source.ids for b in parts]), (1,) * 12), labels=torch.cat([b.labels for b in parts]), rows=()
    )
    list(loop.steps(large, Regression(), iter([(joined, Cursor())]), sgd(large), plan(1)))
    for a, b in zip(small.parameters(), large.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7)


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("name", list(optim.OPTIMISERS))
def test_equals_plain_pytorch(name: str, clip: float | None) -> None:
    ours, theirs = model(), model()
    steps = list(
        loop.steps(
            ours, Regression(), batches([4] * 6), optim.make(name, ours, lr=0.05, weight_decay=0.1), plan(6, clip=clip)
        )
    )
    optimiser = optim.make(name, theirs, lr=0.05, weight_decay=0.1)
    for step, (batch, _) in zip(steps, batches([4] * 6), strict=True):
        optimiser.zero_grad()
        loss = ((theirs(batch.source.ids.double()[:, None]).squeeze(-1) - batch.labels) ** 2).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip or 1e9)
        optimiser.step()
        assert step.loss == pytest.approx(float(loss), rel=1e-5)
        assert step.norm == pytest.approx(float(norm), rel=1e-4)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_penalties_are_their_gradients() -> None:
    net = model()
    (batch, _), *_ = batches([4])
    weight = net[0].weight
    before = weight.detach().clone()
    list(loop.steps(net, Regression(), batches([4]), sgd(net, lr=1.0), plan(1, clip=None, l1=0.3, l2=0.2)))
    moved = before - weight.detach()
    plain_net = model()
    loss = Regression().loss(plain_net, batch)
    (loss.total / loss.count + 0.3 * sum(p.abs().sum() for p in plain_net.parameters() if p.ndim > 1)
     + 0.1 * sum((p**2).sum() for p in plain_net.parameters() if p.ndim > 1)).backward()  # fmt: skip
    assert torch.allclose(moved, plain_net[0].weight.grad, atol=1e-6)


def test_decay_spares_vectors_and_rates_scale() -> None:
    net = model()
    groups = optim.make("adamw", net, lr=0.1, weight_decay=0.5, rates={"2.": 3.0}).param_groups
    found = {
        name: (group["weight_decay"], group["initial_lr"])
        for group in groups
        for name, parameter in net.named_parameters()
        if any(parameter is p for p in group["params"])
    }
    assert found == {
        "0.weight": (0.5, 0.1),
        "0.bias": (0.0, 0.1),
        "2.weight": (0.5, pytest.approx(0.3)),
        "2.bias": (0.0, pytest.approx(0.3)),
    }
    with pytest.raises(SettingsError, match=r"no parameter's name begins with[\s\S]*'head'"):
        optim.make("adamw", net, lr=0.1, weight_decay=0.5, rates={"head": 2.0})


def test_r7_non_finite_stops_before_a_weight_changes() -> None:
    net = model()
    optimiser = sgd(net)
    done = loop.steps(net, Regression(), batches([4, 4, 4], bad=1), optimiser, plan(3))
    next(done)
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(TrainingError, match=r"step 2: the loss is nan.*learning rate 1\.00e-01.*Rows: r1\.0"):
        next(done)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_progress_and_cursor() -> None:
    seen: list[float] = []

    def spy(net: nn.Module, task: Regression, batch: Batch) -> Loss:
        seen.append(batch.progress)
        return plain(net, task, batch)

    net = model()
    steps = list(loop.steps(net, Regression(), batches([2] * 4), sgd(net), plan(4), backward=spy))
    assert seen == [0.0, 0.25, 0.5, 0.75]
    assert [step.cursor.index for step in steps] == [1, 2, 3, 4]
    assert all(p.grad is not None for p in net.parameters())  # alive until the next turn


def test_linear_schedule() -> None:
    factors = [schedule.linear(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == 1.0
    assert factors[10] == 1.0 and factors[55] == pytest.approx(0.5) and factors[99] == pytest.approx(1 / 90)
    assert [schedule.linear(0, 1, 0.0), schedule.linear(0, 3, 0.0)] == [1.0, 1.0]


def test_cosine_schedule() -> None:
    factors = [schedule.cosine(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5) and factors[25] == pytest.approx((1 + math.cos(math.pi / 6)) / 2)
    assert factors[99] == pytest.approx((1 - math.cos(math.pi / 90)) / 2)


def test_warm_up_stable_decay_schedule() -> None:
    factors = [schedule.wsd(step, 100, 0.1) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert set(factors[9:91]) == {1.0}  # the fall begins at step 90, with nothing passed
    assert [factors[step] for step in (91, 95, 99)] == pytest.approx([1 - math.sqrt(n / 10) for n in (1, 5, 9)])


@pytest.mark.parametrize("name", schedule.SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.06, 0.95])
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
def test_every_schedule_rises_and_falls_once(name: str, warmup: float, steps: int) -> None:
    """Also where there is hardly a step for each part; the settings name all of the table."""
    factors = [schedule.SCHEDULES[name](step, steps, warmup) for step in range(steps)]
    top = factors.index(max(factors))
    assert max(factors) == 1.0 and min(factors) > 0
    assert factors[: top + 1] == sorted(factors[: top + 1]) and factors[top:] == sorted(factors[top:], reverse=True)
    assert Train(schedule=name).schedule == name


def test_average_follows_its_formula() -> None:
    net = model()
    average = Average(net, 0.5)
    expected = net[0].weight.detach().clone()
    for step in range(1, 4):
        with torch.no_grad():
            net[0].weight.add_(1.0)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * net[0].weight.detach()
    last = net[0].weight.detach().clone()
    with average.applied():
        assert torch.allclose(net[0].weight, expected, atol=1e-6)
    assert torch.equal(net[0].weight, last)
