"""Modules without memory: right shapes, nothing drawn, and no wait for PyTorch's compiler."""

import subprocess
import sys

import torch
from torch import nn

from yanmo.nn.init import shapes_only


def test_shapes_only() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with shapes_only():
        model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3), nn.LayerNorm(3), nn.Conv1d(3, 2, 5), nn.LSTM(4, 4))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert [tuple(p.shape) for p in model.parameters()][:3] == [(10, 4), (3, 4), (3,)]
    assert torch.equal(torch.get_rng_state(), before)
    outside = nn.Linear(4, 3)
    assert not outside.weight.is_meta and float(outside.weight.detach().abs().sum()) > 0


def test_no_compiler_is_imported() -> None:
    code = (
        "import sys, torch; from yanmo.nn.init import shapes_only\n"
        "with shapes_only(): torch.nn.Embedding(10, 4), torch.nn.Linear(4, 3)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
