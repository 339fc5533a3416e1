"""The linear layer equals torch's own, value and gradients, whichever library multiplies."""

import copy

import pytest
import torch
from torch import Tensor, nn

from yanmo import machine
from yanmo.nn import linear as module
from yanmo.nn.linear import Linear, linear

ONEDNN = torch.backends.mkldnn.is_available()


@pytest.fixture(autouse=True)
def by_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine prefers, and however small."""
    monkeypatch.setattr(machine, "prefers_onednn", lambda: ONEDNN)
    monkeypatch.setattr(module, "_LEAST", 1)


SHAPES = [((40, 24), 56, True), ((40, 56), 24, False), ((3, 5, 24), 24, True), ((1, 24), 7, True), ((0, 24), 7, True)]


@pytest.mark.parametrize(("shape", "outputs", "bias"), SHAPES)
@pytest.mark.parametrize("strided", [False, True])
def test_values_and_gradients_are_those_of_torch(
    shape: tuple[int, ...], outputs: int, bias: bool, strided: bool
) -> None:
    torch.manual_seed(0)
    ours = Linear(shape[-1], outputs, bias=bias).double().float()
    theirs = nn.Linear(shape[-1], outputs, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(*shape[:-1], 2 * shape[-1])[..., ::2] if strided else torch.randn(shape)
    inputs = [x.clone().requires_grad_() if not strided else x.detach().requires_grad_() for _ in range(2)]
    found = [layer(each) for layer, each in zip((ours, theirs), inputs, strict=True)]
    for each in found:
        (each.square().sum() + each.sum()).backward()
    assert torch.allclose(*found, atol=1e-5)
    gradients = [
        (each.grad, *(p.grad for p in layer.parameters())) for layer, each in zip((ours, theirs), inputs, strict=True)
    ]
    for one, other in zip(*gradients, strict=True):
        assert one is not None and other is not None and one.shape == other.shape
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)
    with torch.inference_mode():
        assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_what_is_frozen_gets_no_gradient() -> None:
    layer = Linear(8, 6)
    layer.weight.requires_grad_(False)
    x = torch.randn(4, 8, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None and layer.bias.grad is not None and x.grad is not None
    layer(x.detach()).sum().backward()


@pytest.mark.skipif(not ONEDNN, reason="this torch is built without oneDNN")
def test_equal_numbers_give_equal_bits() -> None:
    torch.manual_seed(0)
    layer, x = Linear(96, 160), torch.randn(300, 96)

    def learnt() -> list[Tensor]:
        other, given = copy.deepcopy(layer), x.clone().requires_grad_()
        other(given).square().sum().backward()
        assert given.grad is not None
        return [given.grad, *(p.grad for p in other.parameters() if p.grad is not None)]

    first = learnt()
    assert all(torch.equal(one, other) for _ in range(3) for one, other in zip(first, learnt(), strict=True))


def test_what_onednn_does_not_do_here_is_left_to_torch() -> None:
    """Other numbers than float32, mixed runs, no memory at all."""
    x, weight = torch.randn(4, 8), torch.randn(6, 8)
    assert linear(x.double(), weight.double()).dtype == torch.float64
    assert linear(x.to("meta"), weight.to("meta")).device.type == "meta"
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16
