"""`attend` against the textbook formula, in every form that it takes."""

import math

import pytest
import torch
from torch import Tensor

from yanmo.nn.attention import attend, record

TOLERANCE = 1e-5


def textbook(
    q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, bias: Tensor | float = 0.0, scale: float | None = None
) -> Tensor:
    """(b, h, l, d): softmax over the allowed keys, 0 where there are none."""
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    scores = q @ k.transpose(-1, -2) * (scale or 1 / math.sqrt(q.shape[-1])) + bias
    weights = torch.where(allowed, scores.exp(), torch.zeros(()))
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-30) @ v


def make(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("heads, groups", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize(
    "queries, keys, causal", [(5, 5, False), (5, 5, True), (2, 6, True), (1, 6, True), (3, 6, False)]
)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_rectangles(heads: int, groups: int, queries: int, keys: int, causal: bool, biased: bool, masked: bool) -> None:
    q, k, v = make(3, heads, queries, 8), make(3, groups, keys, 8), make(3, groups, keys, 8) + 1
    bias = make(heads, queries, keys) if biased else None
    mask = torch.rand(3, 1, queries, keys, generator=torch.Generator().manual_seed(0)) < 0.7 if masked else None
    if mask is not None:
        mask[1, :, 0] = False  # a query that may see nothing
    allowed = torch.ones(3, 1, queries, keys, dtype=torch.bool) if mask is None else mask
    if causal:  # the last query sees every key
        allowed = allowed & (torch.arange(keys)[None, :] <= torch.arange(queries)[:, None] + keys - queries)
    expected = textbook(q, k, v, allowed, 0.0 if bias is None else bias)
    found = attend(q, k, v, bias=bias, mask=mask, causal=causal)
    assert (found - expected).abs().max() < TOLERANCE
    with record() as seen:
        recorded = attend(q, k, v, bias=bias, mask=mask, causal=causal)
    assert (recorded - expected).abs().max() < TOLERANCE
    assert seen[0][0].shape == (3, heads, queries, keys)


@pytest.mark.parametrize("lengths", [(4, 4, 4), (1, 3, 3, 7), (5, 2, 5, 2, 1)], ids=["equal", "sorted", "mixed"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_packed_rows(lengths: tuple[int, ...], causal: bool, biased: bool) -> None:
    tokens = sum(lengths)
    q, k, v = (make(tokens + i, 4, 8)[:tokens].requires_grad_() for i in range(3))
    bias = make(4, max(lengths), max(lengths)) if biased else None
    found = attend(q, k, v, bias=bias, lengths=lengths, causal=causal)
    start, rows = 0, []
    for length in lengths:
        part = slice(start, start + length)
        rectangles = [x[part].transpose(0, 1)[None] for x in (q, k, v)]
        cut = None if bias is None else bias[:, :length, :length]
        rows.append(attend(*rectangles, bias=cut, causal=causal)[0].transpose(0, 1))
        start += length
    expected = torch.cat(rows)
    assert (found - expected).abs().max() < TOLERANCE
    weights = make(*found.shape)
    gradients = [torch.autograd.grad((x * weights).sum(), (q, k, v)) for x in (found, expected)]
    assert max((a - b).abs().max() for a, b in zip(*gradients, strict=True)) < TOLERANCE


def test_packed_rows_with_other_keys() -> None:
    lengths, keys = (2, 3, 2), (5, 1, 4)
    q, k, v = make(7, 4, 8), make(10, 2, 8), make(10, 2, 8)
    found = attend(q, k, v, lengths=lengths, key_lengths=keys)
    rows = []
    for a, b in zip(q.split(lengths), zip(k.split(keys), v.split(keys), strict=True), strict=True):
        rows.append(attend(*(x.transpose(0, 1)[None] for x in (a, *b)))[0].transpose(0, 1))
    assert (found - torch.cat(rows)).abs().max() < TOLERANCE


def test_mask_on_packed_rows_is_refused() -> None:
    x = make(4, 2, 8)
    with pytest.raises(ValueError, match="packed rows need no mask"):
        attend(x, x, x, lengths=(4,), mask=torch.ones(4, 4, dtype=torch.bool))


def test_dropout_is_drawn_anew_and_keeps_the_mean() -> None:
    q, k, v = make(1, 2, 6, 8), make(1, 2, 6, 8), make(1, 2, 6, 8)
    torch.manual_seed(0)
    mean = torch.stack([attend(q, k, v, dropout=0.5) for _ in range(3000)]).mean(0)
    assert (mean - attend(q, k, v)).abs().max() < 0.1
    assert not torch.equal(attend(q, k, v, dropout=0.5), attend(q, k, v, dropout=0.5))


@pytest.mark.parametrize("biased", [False, True])
def test_a_mixed_run_keeps_it_float32(biased: bool) -> None:
    halves = [part.bfloat16() for part in (make(3, 4, 5, 8), make(3, 2, 5, 8), make(3, 2, 5, 8))]
    bias = make(4, 5, 5).bfloat16().float() if biased else None
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(*halves, bias=bias, causal=True)
    torch.testing.assert_close(found, attend(*(part.float() for part in halves), bias=bias, causal=True))
