"""The optimisers are torch's, without its compiler."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

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
