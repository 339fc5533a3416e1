"""Convolutions over packed rows against loops written from the equations."""

import pytest
import torch
from torch import Tensor, nn

from yanmo.nn.conv import GatedConv, WindowConv, after
from yanmo.nn.recurrent import Carried

TOLERANCE = 1e-5
LENGTHS = (6, 1, 9, 2)


def row_of(lengths: tuple[int, ...]) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))


@pytest.mark.parametrize("sizes", [(3, 4, 5), (1,), (2, 6), (5, 3)])
def test_windows(sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module, x = WindowConv(7, 4, sizes), torch.randn(sum(LENGTHS), 7, requires_grad=True)
    expected = []
    for row in x.split(LENGTHS):
        for place in range(len(row)):
            features = []
            for conv, size in zip(module.convs, sizes, strict=True):
                total = conv.bias
                for j in range(size):
                    if 0 <= (at := place - (size - 1) // 2 + j) < len(row):
                        total = total + conv.weight[:, :, j] @ row[at]
                features.append(total.clamp(min=0))
            expected.append(torch.cat(features))
    found = module(x, row_of=row_of(LENGTHS))
    assert (found - torch.stack(expected)).abs().max() < TOLERANCE
    weights = torch.randn_like(found)
    ours, theirs = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, torch.stack(expected)))
    assert (ours - theirs).abs().max() < TOLERANCE


def gated(module: GatedConv, row: Tensor) -> Tensor:
    (kernel,), (dilation,) = module.conv.kernel_size, module.conv.dilation
    found = []
    for place in range(len(row)):
        total = module.conv.bias
        for j in range(kernel):
            if (at := place - (kernel - 1 - j) * dilation) >= 0:
                total = total + module.conv.weight[:, :, j] @ row[at]
        value, gate = total.chunk(2)
        found.append(value / (1 + (-gate).exp()))
    return torch.stack(found)


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (2, 4), (4, 3), (1, 1)])
def test_gated(kernel: int, dilation: int) -> None:
    """All at once, and in pieces, of some rows nothing at times."""
    torch.manual_seed(0)
    module, x = GatedConv(5, kernel, dilation), torch.randn(sum(LENGTHS), 5)
    expected = torch.cat([gated(module, row) for row in x.split(LENGTHS)])
    assert (module(x, row_of=row_of(LENGTHS)) - expected).abs().max() < TOLERANCE

    carried, at = Carried(1), [0] * len(LENGTHS)
    found: list[list[Tensor]] = [[] for _ in LENGTHS]
    for sizes in ((1, 1, 2, 0), (0, 0, 1, 1), (5, 0, 4, 0), (0, 0, 2, 1)):
        rows = zip(x.split(LENGTHS), at, sizes, strict=True)
        pieces = torch.cat([row[a : a + n] for row, a, n in rows])

        def past(new: Tensor, reach: int, sizes: tuple[int, ...] = sizes) -> tuple[Tensor, Tensor]:
            return after(carried, 0, sizes, new, reach)

        for part, new in zip(found, module(pieces, row_of=row_of(sizes), past=past).split(sizes), strict=True):
            part.append(new)
        at = [a + n for a, n in zip(at, sizes, strict=True)]
    assert (torch.cat([torch.cat(part) for part in found]) - expected).abs().max() < TOLERANCE


def test_equal_to_torch() -> None:
    torch.manual_seed(0)
    module, x = GatedConv(5, 3, 2), torch.randn(11, 5)
    padded = nn.functional.pad(x.t()[None], (4, 0))
    expected = nn.functional.glu(module.conv(padded), 1)[0].t()
    assert (module(x, row_of=row_of((11,))) - expected).abs().max() < TOLERANCE
