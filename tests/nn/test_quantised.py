import copy
import io
import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from yanmo.errors import ModelError
from yanmo.nn.kernels import quantised
from yanmo.nn.kernels.quantised import CONFIG, INPUT_LIMIT, KEPT, QuantisedLinear, describe, prepare, rotate

SHAPES = [(64, 48), (256, 1024), (96, 2), (33, 3), (7, 1)]


@pytest.fixture(params=["integers", "floats"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "integers" and not quantised.has_integers():
        pytest.skip("no integer arithmetic on this machine")
    monkeypatch.setattr(quantised, "has_integers", lambda: request.param == "integers")
    return str(request.param)


def layer_and_rows(inputs: int = 64, outputs: int = 48, bias: bool = True) -> tuple[nn.Linear, Tensor]:
    torch.manual_seed(inputs + outputs)
    rows = torch.randn(40, inputs) * torch.logspace(-3, 3, 40)[:, None]  # each row of its own size
    return nn.Linear(inputs, outputs, bias=bias), rows


def reference(layer: QuantisedLinear, x: Tensor) -> Tensor:
    return nn.functional.linear(
        x.double(), layer.dequantised().double(), None if layer.bias is None else layer.bias.double()
    )


def allowed(layer: QuantisedLinear, x: Tensor) -> Tensor:
    """Half a step of the input for every weight of the output, in the rotated basis; (rows, out)."""
    half_steps = rotate(x).abs().amax(1, keepdim=True) / INPUT_LIMIT / 2
    return half_steps * rotate(layer.dequantised()).abs().sum(1)


@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_weights_are_within_half_a_step(inputs: int, outputs: int) -> None:
    linear, _ = layer_and_rows(inputs, outputs)
    layer = QuantisedLinear.from_linear(linear)
    gap = (rotate(linear.weight.detach()) - layer.weight * layer.scale[:, None]).abs()
    assert (gap <= layer.scale[:, None] * 0.5001).all()
    assert layer.weight.abs().amax(1).eq(127).all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
@torch.no_grad()
def test_answers_are_within_the_rounding_of_the_input(path: str, inputs: int, outputs: int, bias: bool) -> None:
    linear, x = layer_and_rows(inputs, outputs, bias)
    layer = QuantisedLinear.from_linear(linear)
    gap = (layer(x) - reference(layer, x)).abs()
    bound = allowed(layer, x) if path == "integers" else torch.zeros(())
    assert (gap <= bound * 1.001 + 1e-5 * (1 + x.abs().amax(1, keepdim=True))).all()


@torch.no_grad()
def test_shapes_types_and_empty_inputs(path: str) -> None:
    linear, x = layer_and_rows()
    layer = QuantisedLinear.from_linear(linear)
    assert torch.allclose(layer(x.view(4, 10, 64)), layer(x).view(4, 10, 48), rtol=1e-4, atol=1e-5)
    assert layer(x[0]).shape == (48,)
    assert layer(x[:0]).shape == (0, 48) and layer(x[:0].view(3, 0, 64)).shape == (3, 0, 48)
    assert layer(x.bfloat16()).dtype == torch.bfloat16


@torch.no_grad()
def test_zeros_stay_zeros_and_the_not_finite_shows(path: str) -> None:
    linear, x = layer_and_rows()
    linear.weight[3] = 0
    layer = QuantisedLinear.from_linear(linear)
    assert torch.equal(layer(torch.zeros(2, 64)), linear.bias.expand(2, 48))
    assert torch.equal(layer(x)[:, 3], linear.bias[3].expand(40))
    x[1, 5] = torch.nan
    finite = layer(x).isfinite().all(1)
    assert not finite[1] and finite.sum() == 39


@torch.no_grad()
def test_an_answer_does_not_depend_on_the_other_rows(path: str) -> None:
    linear, _ = layer_and_rows()
    layer = QuantisedLinear.from_linear(linear)
    x = torch.randn(1200, 64)  # more rows than one piece
    alone = torch.cat([layer(x[i : i + 1]) for i in range(0, 1200, 100)])
    x[1::100] *= 1e6
    assert torch.allclose(layer(x)[::100], alone, atol=1e-5)


def test_a_gradient_passes_to_the_input(path: str) -> None:
    linear, x = layer_and_rows()
    layer = QuantisedLinear.from_linear(linear)
    x.requires_grad_()
    layer(x).sum().backward()
    assert torch.allclose(x.grad, layer.dequantised().sum(0).expand_as(x), atol=1e-4)


@torch.no_grad()
def test_the_packed_copy_is_never_saved_and_never_stale() -> None:
    linear, x = layer_and_rows()
    layer, other = QuantisedLinear.from_linear(linear), QuantisedLinear.from_linear(nn.Linear(64, 48))
    first, expected = layer(x), other(x)
    assert sorted(layer.state_dict()) == ["bias", "scale", "weight"]
    assert torch.equal(copy.deepcopy(layer)(x), first)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x), first)
    layer.load_state_dict(other.state_dict())
    assert torch.equal(layer(x), expected)
    layer.load_state_dict(QuantisedLinear.from_linear(linear).state_dict(), assign=True)
    assert torch.equal(layer(x), first)
    layer.to("meta").to_empty(device="cpu").load_state_dict(other.state_dict())
    assert torch.equal(layer(x), expected)
    assert torch.allclose(layer.double()(x.double()), expected.double())


def test_a_layer_made_and_run_in_inference_mode_works() -> None:
    with torch.inference_mode():
        linear, x = layer_and_rows()
        layer = QuantisedLinear.from_linear(linear)
        assert torch.equal(layer(x), layer(x))


def test_a_weight_that_is_not_finite_is_refused() -> None:
    linear, _ = layer_and_rows()
    with torch.no_grad():
        linear.weight[0, 0] = torch.inf
    with pytest.raises(ModelError, match="not finite"):
        QuantisedLinear.from_linear(linear)


def test_the_rotation_is_its_own_inverse_and_keeps_products() -> None:
    for width in (1, 7, 24, 96, 384):
        x, y = torch.randn(5, width), torch.randn(5, width)
        assert torch.allclose(rotate(rotate(x)), x, atol=1e-5)
        assert torch.allclose((rotate(x) * rotate(y)).sum(1), (x * y).sum(1), atol=1e-4)


EXTREME = """
import torch
from yanmo.nn.kernels.quantised import QuantisedLinear
linear = torch.nn.Linear(99, 5, bias=False)  # an odd width isn't rotated: every product is the largest there is
torch.nn.init.ones_(linear.weight)
print(QuantisedLinear.from_linear(linear)(torch.ones(64, 99)).max().item())
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="a limit of x86 without VNNI")
def test_sums_do_not_overflow_without_vnni() -> None:
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    run = subprocess.run([sys.executable, "-c", EXTREME], env=environment, capture_output=True, text=True, check=True)
    assert float(run.stdout) == pytest.approx(99, rel=1e-5)


def test_prepare_makes_room_for_a_saved_model() -> None:
    def model() -> nn.Sequential:
        return nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 32, bias=False), nn.Linear(32, 2))

    assert describe(model()) is None
    saved = model()
    saved[0], saved[2] = QuantisedLinear.from_linear(saved[0]), QuantisedLinear.from_linear(saved[2])
    config = describe(saved)
    assert config == {**CONFIG, KEPT: ["3"]}
    loaded = model()
    assert prepare(loaded, config) == ["0", "2"]
    loaded.load_state_dict(saved.state_dict())
    x = torch.randn(3, 64)
    assert torch.equal(loaded(x), saved(x))


@pytest.mark.parametrize("change", [{"quant_method": "gptq"}, {"bits": 4}, {"rotation": None}])
def test_prepare_refuses_another_method(change: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=next(iter(change))):
        prepare(nn.Sequential(nn.Linear(2, 2)), {**CONFIG, **change})
