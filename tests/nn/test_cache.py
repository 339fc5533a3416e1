"""What a decoder that attends to a memory keeps between calls."""

import pytest
import torch
from torch import Tensor

from yanmo.nn.attention import attend
from yanmo.nn.cache import KeyValues

TOLERANCE = 1e-5
LENGTHS = (5, 2, 7)


def make(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def step(state: KeyValues, lengths: tuple[int, ...], bias: bool = False) -> tuple[Tensor, Tensor]:
    """One call with new tokens that are drawn from the places where they stand: (the mix with the row, the mix with the memory)."""
    places = state.begin(lengths, torch.device("cpu"))
    x = torch.stack([make(4, 8) * (1 + place) for place in places.tolist()])
    distances = -state.distances()[:, None].float().abs().expand(-1, 4, -1, -1) / 10 if bias else None
    own = state.attend(0, x, x.flip(1), x + 1, bias=distances)
    found = own, state.recall(0, x)
    state.end()
    return found


def kept() -> KeyValues:
    return KeyValues(1, [(make(sum(LENGTHS), 4, 8), make(sum(LENGTHS), 4, 8) + 1)], LENGTHS)


def test_memory_rows_of_unequal_lengths() -> None:
    x, keys = make(6, 4, 8), make(sum(LENGTHS), 4, 8)
    state = kept()
    state.begin((3, 1, 2), torch.device("cpu"))
    expected = attend(x, keys, keys + 1, lengths=(3, 1, 2), key_lengths=LENGTHS)
    assert (state.recall(0, x) - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("bias", [False, True])
def test_rows_that_stand_at_different_places(bias: bool) -> None:
    """A bias follows each row's own place: the same as all tokens of a row at once."""
    state = kept()
    step(state, (4, 1, 2), bias)
    own, recalled = step(state, (2, 1, 3), bias)
    expected = []
    for length, new in ((6, 2), (2, 1), (5, 3)):
        places = torch.arange(length)
        x = torch.stack([make(4, 8) * (1 + place) for place in range(length)])
        distances = -(places - places[:, None]).float().abs().expand(4, -1, -1) / 10 if bias else None
        expected.append(attend(x, x.flip(1), x + 1, bias=distances, lengths=(length,), causal=True)[-new:])
    assert (own - torch.cat(expected)).abs().max() < TOLERANCE
    alone = []
    for row, pieces in enumerate(((4, 2), (1, 1), (2, 3))):
        state = kept().select(torch.tensor([row]))
        alone.append([step(state, (length,), bias)[1] for length in pieces][-1])
    assert (recalled - torch.cat(alone)).abs().max() < TOLERANCE


def test_a_row_that_has_not_begun_joins() -> None:
    """As a request that comes while others are answered."""
    state = kept()
    step(state, (3, 1, 2))
    joined = state.select(torch.tensor([2])).join(kept().select(torch.tensor([0, 1])))
    assert joined.lengths == (2, 0, 0) and joined.memory_lengths == (7, 5, 2)
    found = step(joined, (1, 2, 2))
    old, new = state.select(torch.tensor([2])), kept().select(torch.tensor([0, 1]))
    for together, parts in zip(found, zip(step(old, (1,)), step(new, (2, 2)), strict=True), strict=True):
        assert (together - torch.cat(parts)).abs().max() < TOLERANCE
    # The one way round is as good as the other.
    other = kept().select(torch.tensor([0, 1])).join(state.select(torch.tensor([2])))
    for one, two in zip(step(other, (2, 2, 1)), found, strict=True):
        assert (one.roll(1, 0) - two).abs().max() < TOLERANCE
