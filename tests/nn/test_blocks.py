"""The smaller blocks against plain formulas."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from yanmo.nn.conv import NeighbourConv
from yanmo.nn.embedding import NgramEmbedding
from yanmo.nn.feedforward import FeedForward, GatedFeedForward
from yanmo.nn.position import Rotary
from yanmo.nn.residual import Residual
from yanmo.text.batches import Run, pack

ROWS = [np.random.default_rng(seed).integers(3, 9, size) for seed, size in enumerate((9, 4, 1, 12, 7, 2, 30))]
SPECIAL = [3]


@pytest.mark.parametrize("size", [2, 3])
def test_ngram_table_holds_the_most_frequent(size: int) -> None:
    counts: Counter[tuple[int, ...]] = Counter()
    for row in ROWS:
        grams = {tuple(row[i : i + size].tolist()) for i in range(len(row) - size + 1)}
        counts.update(gram for gram in grams if not set(gram) & set(SPECIAL))
    module = NgramEmbedding(size, 12, 10, 4)
    module.learn(ROWS, SPECIAL)
    known = {sum(token * 10**back for back, token in enumerate(reversed(gram))): counts[gram] for gram in counts}
    held = [known[key] for key in module.keys.tolist() if key >= 0]
    frequent = sorted((count for count in known.values() if count > 1), reverse=True)[:12]
    assert sorted(held, reverse=True) == frequent
    assert module.keys.tolist() == sorted(module.keys.tolist())


@pytest.mark.parametrize("size", [2, 3])
def test_ngram_vectors(size: int) -> None:
    """The vector of the n-gram that ends at a token; nothing at a row's start, nothing for an unknown one."""
    module = NgramEmbedding(size, 12, 10, 4)
    module.learn(ROWS, SPECIAL)
    run = pack(ROWS)
    found = module(run.ids, run.positions, 0.0)
    place = {key: i for i, key in enumerate(module.keys.tolist())}
    start = 0
    for row in ROWS:
        for i in range(len(row)):
            key = sum(int(row[i - back]) * 10**back for back in range(size)) if i >= size - 1 else None
            expected = module.table.weight[place[key]] if key in place else torch.zeros(4)
            assert torch.equal(found[start + i], expected)
        start += len(row)


def test_ngram_dropout_leaves_some_out_in_training_only() -> None:
    module = NgramEmbedding(2, 12, 10, 4)
    module.learn(ROWS, SPECIAL)
    run = pack(ROWS)
    full = module.eval()(run.ids, run.positions, 0.5).any(-1)
    dropped = module.train()(run.ids, run.positions, 0.5).any(-1)
    assert 0 < int(dropped.sum()) < int(full.sum()) and not (dropped & ~full).any()


def test_neighbour_convolution_stays_within_rows() -> None:
    torch.manual_seed(0)
    module = NeighbourConv(6, 5, "gelu", 1e-5)
    nn.init.normal_(module.weight)
    run = Run(torch.zeros(12, dtype=torch.long), (5, 1, 6))
    x = torch.randn(12, 6)
    found = module(x, row_of=run.row_of)
    reference = nn.Conv1d(6, 6, 5, padding=2, groups=6, bias=False)
    reference.weight.data = module.weight.data.t()[:, None].clone()
    rows = [reference(part.t()[None])[0].t() for part in x.split(run.lengths)]
    expected = module.output(module.activation(module.norm(torch.cat(rows))))
    assert (found - expected).abs().max() < 1e-5


def test_rotation_knows_distances_only() -> None:
    q, k = torch.randn(1, 2, 8), torch.randn(1, 2, 8)
    rotary = Rotary(8, 1000.0)

    def product(i: int, j: int) -> torch.Tensor:
        return (rotary(torch.tensor([i]))(q) * rotary(torch.tensor([j]))(k)).sum(-1)

    assert torch.allclose(product(3, 7), product(20, 24), atol=1e-4)
    assert not torch.allclose(product(3, 7), product(3, 8), atol=1e-3)
    assert torch.equal(rotary(torch.tensor([0]))(q), q)


@pytest.mark.parametrize("pre", [False, True])
def test_residual(pre: bool) -> None:
    part, norm, x = nn.Linear(4, 4), nn.LayerNorm(4), torch.randn(3, 4)
    expected = x + part(norm(x)) if pre else norm(x + part(x))
    assert torch.equal(Residual(part, norm, pre=pre)(x), expected)


@pytest.mark.parametrize("made", [FeedForward, GatedFeedForward])
def test_dropout_between_the_layers_of_a_feed_forward(made: type[FeedForward | GatedFeedForward]) -> None:
    """All of the inner layer is dropped in training, nothing else: the last layer's bias is left."""
    part, x = made(4, 8, "relu", bias=True, dropout=1.0), torch.randn(3, 4)
    assert torch.equal(part(x), part.down.bias.expand(3, 4)) and not torch.equal(
        part.eval()(x), part.down.bias.expand(3, 4)
    )
