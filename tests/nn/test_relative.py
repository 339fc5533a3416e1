"""Relative attention against loops over pairs."""

import math

import pytest
import torch
from torch import Tensor

from yanmo.nn.relative import RelativeAttention, RelativeBiases, SegmentScores, pick, shift, sinusoids


@pytest.mark.parametrize(("queries", "memory"), [(1, 0), (1, 5), (4, 0), (6, 3)])
def test_every_key_gets_the_score_of_its_distance(queries: int, memory: int) -> None:
    keys = memory + queries
    scores = torch.randn(2, 3, queries, keys + queries)  # from `keys` back to queries - 1 ahead
    expected = torch.empty(2, 3, queries, keys)
    for i in range(queries):
        for j in range(keys):
            expected[:, :, i, j] = scores[:, :, i, keys - (memory + i - j)]
    assert torch.equal(shift(scores, keys), expected)
    places = memory + torch.arange(queries).expand(2, -1)
    assert torch.equal(pick(scores, keys, places), expected)
    assert torch.equal(pick(scores, keys, places.flip(1)).flip(2)[:, :, 0], pick(scores.flip(2), keys, places)[:, :, 0])
    short = shift(scores[..., : keys + 1], keys)  # nothing ahead: only the keys up to each query have a meaning
    seen = torch.ones(queries, keys, dtype=torch.bool).tril(memory)
    assert torch.equal(short[..., seen], expected[..., seen])


def test_sinusoids() -> None:
    waves = sinusoids(5, 2, 6, clamp=3, like=torch.zeros(1, dtype=torch.float64))
    assert waves.shape == (8, 6) and waves.dtype == torch.float64
    for row, distance in zip(waves, (3, 3, 3, 2, 1, 0, -1, -2), strict=True):
        angles = [distance / 10000 ** (2 * i / 6) for i in range(3)]
        expected = torch.tensor([*map(math.sin, angles), *map(math.cos, angles)], dtype=torch.float64)
        torch.testing.assert_close(row, expected, atol=1e-6, rtol=0)
    assert torch.equal(sinusoids(9, 9, 4, clamp=9, like=waves), sinusoids(9, 9, 4, clamp=0, like=waves))


def test_attention_equals_loops_over_pairs() -> None:
    """All four terms and that of segments, with a memory, a mask, and queries that are no keys."""
    torch.manual_seed(0)
    part, biases, segments = RelativeAttention(8, 2, 3), RelativeBiases(2, 3), SegmentScores(2, 3)
    for parameter in [*part.parameters(), *biases.parameters(), *segments.parameters()]:
        torch.nn.init.normal_(parameter)
    x, memory, places = torch.randn(1, 6, 8), torch.randn(1, 2, 8), torch.tensor([[6, 3]])
    mask, other = torch.rand(1, 1, 6, 6) < 0.7, torch.rand(1, 1, 6, 6) < 0.5
    mask[..., 0] = True
    waves = sinusoids(6, 3, 8, clamp=0, like=x)
    with torch.no_grad():
        found = part(
            x, memory=memory, waves=waves, biases=biases, places=places, mask=mask, more=lambda q: segments(q, other)
        )
        source = torch.cat([memory, x[:, :4]], 1)[0]
        expected = []
        for i in range(6):
            place = (2, 3, 4, 5, 6, 3)[i]
            heads = []
            for h in range(2):

                def project(layer: torch.nn.Linear, vector: Tensor, h: int = h) -> Tensor:
                    return layer.weight[3 * h : 3 * h + 3] @ vector

                q = project(part.query, x[0, i])
                seen = [j for j in range(6) if mask[0, 0, i, j]]
                scores = []
                for j in seen:
                    k, r = project(part.key, source[j]), project(part.distance, waves[6 - (place - j)])
                    kind = segments.vectors[int(other[0, 0, i, j]), h]
                    score = (q + biases.content[h]) @ k + (q + biases.distance[h]) @ r + (q + segments.bias[h]) @ kind
                    scores.append(score / math.sqrt(3))
                weights = torch.stack(scores).softmax(0)
                heads.append(sum(w * project(part.value, source[j]) for w, j in zip(weights, seen, strict=True)))
            expected.append(part.output.weight @ torch.cat(heads))
    torch.testing.assert_close(found[0], torch.stack(expected), atol=1e-5, rtol=0)
