import copy
import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yanmo.compression.quantise import compare, quantise, size_of
from yanmo.errors import ModelError
from yanmo.nn.kernels.quantised import QuantisedLinear, describe, prepare

WIDTH, HEADS, VOCABULARY = 128, 4, 100


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)])
        self.joined, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:  # (batch, length, width)
        q, k, v = self.joined(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        x = self.norms[0](x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))
        return self.norms[1](x + self.down(F.gelu(self.up(x))))


class Model(nn.Module):
    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.Sequential(*[Layer() for _ in range(4)])
        self.head = nn.Linear(WIDTH, VOCABULARY)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.layers(self.embedding(ids))


@pytest.fixture
def model() -> Model:
    """A small post-norm encoder whose norms push a few channels far out, as trained ones do."""
    torch.manual_seed(0)
    model = Model().eval()
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and "norms" in name:
            parameter.data[::40] *= 8
    return model


IDS = torch.arange(32 * 16).view(32, 16) * 7919 % VOCABULARY


@torch.no_grad()
def test_hidden_states_keep_their_direction(model: Model) -> None:
    before = model(IDS)
    quantise(model)
    cosine = F.cosine_similarity(before, model(IDS), dim=-1)
    assert cosine.min() >= 0.99 and cosine.mean() >= 0.997


def test_every_linear_layer_is_replaced_and_named(model: Model) -> None:
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert quantise(model) == linear and len(linear) == 17
    assert not any(isinstance(module, nn.Linear) for module in model.modules())


def test_layers_are_kept_by_name_and_when_tied() -> None:
    model = Model(tied=True)
    names = quantise(model, keep=["layers.0.up"])
    assert "head" not in names and "layers.0.up" not in names and len(names) == 15
    assert model.head.weight is model.embedding.weight


def test_what_derives_from_a_linear_layer_stays() -> None:
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2), "head": nn.Linear(8, 2)})
    assert quantise(model) == ["head"]


def test_faults_name_the_layer(model: Model) -> None:
    with pytest.raises(ModelError, match="'classifier'"):
        quantise(model, keep=["classifier"])
    with pytest.raises(ModelError, match="no module matches"):
        quantise(nn.Sequential(nn.Linear(2, 2)), keep=["0"])
    model.layers[1].up.weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"layers\.1\.up: .*not finite"):
        quantise(model)


@torch.no_grad()
def test_saved_and_prepared_answers_are_equal(model: Model) -> None:
    empty = copy.deepcopy(model)
    names = quantise(model, keep=["head"])
    config = describe(model)
    assert config is not None and prepare(empty, config) == names
    empty.load_state_dict(model.state_dict())
    assert torch.equal(empty(IDS), model(IDS))


def test_the_size_counts_saved_bytes_once(model: Model) -> None:
    linear = nn.Linear(64, 32)
    assert size_of(linear) == (64 * 32 + 32) * 4
    assert size_of(QuantisedLinear.from_linear(linear)) == 64 * 32 + 2 * 32 * 4
    assert size_of(Model(tied=True)) == size_of(model) - VOCABULARY * WIDTH * 4
    before = size_of(model)
    quantise(model)
    assert size_of(model) < 0.35 * before


@pytest.mark.alone
def test_speed_is_compared_in_turn() -> None:
    calls: list[float] = []

    def run(seconds: float) -> None:
        calls.append(seconds)
        time.sleep(seconds)

    assert compare(0.02, 0.005, run, rounds=5) > 1.5
    assert calls == [0.02, 0.005] * 6
