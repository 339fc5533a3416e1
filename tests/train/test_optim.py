"""The optimisers are torch's, without its compiler."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from yanmo.errors import SettingsError
from yanmo.train import optim

THEIRS: dict[str, Any] = {
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.98), eps=1e-6, fused=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.1, betas=(0.9, 0.98), eps=1e-6, fused=True),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
}


def steps(model: nn.Linear, optimiser: torch.optim.Optimizer, count: int) -> None:
    for number in range(count):
        optimiser.zero_grad()
        model(torch.full((2, 3), float(number + 1))).square().sum().backward()
        optimiser.step()


@pytest.mark.parametrize("name", optim.OPTIMISERS)
def test_they_step_as_torchs_own_do_and_go_on_from_their_state(name: str) -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    groups = [
        {"params": [theirs.weight], "weight_decay": 0.1},
        {"params": [theirs.bias], "weight_decay": 0.0},
    ]
    steps(theirs, THEIRS[name](groups), 5)
    first = optim.make(name, ours, lr=0.1, weight_decay=0.1)
    steps(ours, first, 2)
    again = optim.make(name, ours, lr=0.1, weight_decay=0.1)
    again.load_state_dict(first.state_dict())
    for number in range(2, 5):
        again.zero_grad()
        ours(torch.full((2, 3), float(number + 1))).square().sum().backward()
        again.step()
    assert torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)


def test_no_compiler_is_imported() -> None:
    """It takes a second of each training command, and is not used."""
    program = """
import sys
import torch
from yanmo.errors import SettingsError
from yanmo.train import optim
for name in optim.OPTIMISERS:
    model = torch.nn.Linear(3, 2)
    optimiser = optim.make(name, model, lr=0.1, weight_decay=0.1)
    model(torch.ones(2, 3)).sum().backward()
    optimiser.step()
    optimiser.zero_grad()
    optimiser.load_state_dict(optimiser.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


DEPTHS = {
    "encoder": (
        "embeddings.word.weight embeddings.norm.bias layers.0.attention.q.weight layers.1.norm.weight task_head.output.bias",
        [3, 3, 2, 1, 0],
    ),
    "ten layers": (
        "word.weight " + " ".join(f"layers.{i}.w" for i in range(11)) + " norm.weight",
        [12, *range(11, 0, -1), 0],
    ),
    "two stacks": (
        "word.weight encoder.position.weight encoder.layers.0.w encoder.layers.1.w encoder.norm.w decoder.position.w "
        "decoder.layers.0.w decoder.norm.w task_head.output.weight",
        [3, 3, 2, 1, 0, 2, 1, 0, 0],
    ),
    "a stack within": (
        "word.weight rnn.layers.0.w rnn.layers.1.w task_head.output.weight task_own.bias",
        [3, 2, 1, 0, 0],
    ),
}


@pytest.mark.parametrize(("names", "expected"), DEPTHS.values(), ids=DEPTHS)
def test_depths(names: str, expected: list[int]) -> None:
    assert list(optim.depths(names.split()).values()) == expected


def test_lower_layers_learn_more_slowly(small_folder: Path) -> None:
    """A step of SGD moves each parameter by its gradient times the rate of its layer."""
    from yanmo import checkpoint

    def moved(**keys: Any) -> dict[str, torch.Tensor]:
        model = checkpoint.load(small_folder).model
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimiser = optim.make("sgd", model, lr=0.1, weight_decay=0.0, **keys)
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"]  # as the loop does
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
        return {name: (before[name] - p.detach()).mean() for name, p in model.named_parameters()}

    found, plain = moved(layer_decay=0.5, rates={"task_head": 2.0}), moved()
    for name, step in found.items():
        factor = 2.0 if name.startswith("task_head") else 0.25 if name.startswith("embeddings") else 0.5
        assert step == pytest.approx(float(plain[name]) * factor, rel=1e-3), name


def test_a_model_without_layers() -> None:
    with pytest.raises(SettingsError, match=r"train.layer_decay: this model has no layers"):
        optim.make("sgd", nn.Linear(3, 2), lr=0.1, weight_decay=0.0, layer_decay=0.9)
