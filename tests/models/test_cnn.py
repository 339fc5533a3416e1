"""Convolutional families: what the contracts of all families do not say."""

import pytest
import torch
from torch import Tensor, nn

from tests.measured import STATES, within
from yanmo import checkpoint
from yanmo.errors import ModelError
from yanmo.models.base import Family
from yanmo.models.cnn import FAMILY, GATED
from yanmo.text.batches import Batch, Run

SMALL = {"vocab_size": 40, "hidden_size": 12, "embedding_size": 7}
SMALL_GATED = {"vocab_size": 40, "hidden_size": 12, "num_hidden_layers": 4, "dilation_cycle": 3}


def made(family: Family, head: str, keys: dict[str, object]) -> nn.Module:
    torch.manual_seed(0)
    config, unknown = family.config.read({**keys, "id2label": {"0": "a", "1": "b"}}, "test")
    assert not unknown
    model = checkpoint.create(family, config, head).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def run(*lengths: int) -> Run:
    return Run(torch.randint(5, 40, (sum(lengths),), generator=torch.Generator().manual_seed(0)), lengths)


def test_kim() -> None:
    """Section 2 of the paper, over a row with zeros beyond its ends; rows shorter than a window too."""
    model, given = made(FAMILY, "classify", SMALL), run(8, 1, 3)
    expected = []
    for ids in given.ids.split(given.lengths):
        row = torch.cat([torch.zeros(2, 7), model.word(ids), torch.zeros(2, 7)])
        largest = []
        for conv, size in zip(model.windows.convs, (3, 4, 5), strict=True):
            for w, b in zip(conv.weight, conv.bias, strict=True):
                first = 2 - (size - 1) // 2
                features = [torch.relu((w.t() * row[i + first : i + first + size]).sum() + b) for i in range(len(ids))]
                largest.append(torch.stack(features).max())
        expected.append(model.task_head.output.weight @ torch.stack(largest) + model.task_head.output.bias)
    found = model.head(model.hidden(Batch(given)), given)
    within("yanmo-cnn", "odd", STATES, "loops of the paper's equations", found - torch.stack(expected))


def test_gated() -> None:
    """Equation 1 of Dauphin et al., the taps 1, 2, 4, 1 apart, each block x + f(norm(x))."""
    model, given = made(GATED, "causal", SMALL_GATED), run(13, 1, 4)
    expected = []
    for ids in given.ids.split(given.lengths):
        x = model.word(ids)
        for layer, dilation in zip(model.layers, (1, 2, 4, 1), strict=True):
            normed, conv = layer.norm(x), layer.part.conv
            rows: list[Tensor] = []
            for place in range(len(x)):
                total = conv.bias
                for back in range(3):
                    if place - back * dilation >= 0:
                        total = total + conv.weight[:, :, 2 - back] @ normed[place - back * dilation]
                rows.append(x[place] + total[:12] * torch.sigmoid(total[12:]))
            x = torch.stack(rows)
        expected.append(model.norm(x) @ model.word.weight.t() + model.language.bias)
    found = model.logits(model.decode(given))
    within("yanmo-gated-cnn", "odd", STATES, "loops of the paper's equations", found - torch.cat(expected))


def test_gated_sees_so_far_and_no_further() -> None:
    """What comes later changes nothing; what is further back than all layers reach changes nothing."""
    model = made(GATED, "causal", SMALL_GATED)
    reach = 2 * (1 + 2 + 4 + 1)
    ids = run(40).ids
    changed = ids.clone()
    changed[20] = (ids[20] + 1) % 40
    with torch.no_grad():
        differs = (model.decode(Run(ids, (40,))) != model.decode(Run(changed, (40,)))).any(1).nonzero().flatten()
    assert differs[0] == 20 and differs[-1] == 20 + reach


def test_state_holds_what_the_next_token_sees() -> None:
    model = made(GATED, "causal", SMALL_GATED)
    state = model.state()
    with torch.no_grad():
        model.decode(run(9, 2), state)
    assert [layer[0].shape[:2] for layer in state.layers] == [(2, 2), (2, 4), (2, 8), (2, 2)]


def test_a_dropout_may_be_a_whole_zero() -> None:
    config, _ = GATED.config.read({**SMALL_GATED, "hidden_dropout": 0}, "config.json")
    assert config.hidden_dropout == 0


@pytest.mark.parametrize(
    ("family", "keys", "message"),
    [
        (FAMILY, {**SMALL, "hidden_size": 13}, "hidden_size 13 is not a multiple of the 3 kernel_sizes"),
        (FAMILY, {**SMALL, "kernel_sizes": []}, r"kernel_sizes \[\]: expected"),
        (FAMILY, {**SMALL, "kernel_sizes": [3, 0]}, r"kernel_sizes \[3, 0\]: expected"),
        (GATED, {**SMALL_GATED, "dilation_cycle": 0}, "'dilation_cycle' is 0, expected more than 0"),
        (GATED, {**SMALL_GATED, "kernel_size": 0}, "'kernel_size' is 0, expected more than 0"),
    ],
)
def test_faults(family: Family, keys: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        made(family, "base", keys)


def test_the_size_of_the_paper() -> None:
    """Kim 2014, section 3.1: windows of 3, 4 and 5 tokens, 100 features each; vectors of 300."""
    model = made(FAMILY, "classify", {"vocab_size": 40, **FAMILY.sizes["mini"]})
    words, windows, output = 40 * 300, 100 * (300 * (3 + 4 + 5) + 3), 2 * 301
    assert sum(parameter.numel() for parameter in model.parameters()) == words + windows + output
