"""A vocabulary that grows: rows, and keys of n-grams."""

import numpy as np
import pytest
import torch

from yanmo.nn.embedding import Growth, NgramEmbedding, grow, set_rows


def test_rows() -> None:
    table = torch.randn(5, 3)
    grown = Growth(5, 8, {4: [0, 1], 5: [1, 2, 2], 6: []}).rows(table)
    assert torch.equal(grown[:4], table[:4])
    torch.testing.assert_close(grown[4], (table[0] + table[1]) / 2)  # a spare row of the old table
    torch.testing.assert_close(grown[5], (table[1] + 2 * table[2]) / 3)
    torch.testing.assert_close(grown[6:], table.mean(0).expand(2, 3))
    assert torch.equal(Growth(5, 5, {}).rows(table), table)


@pytest.mark.parametrize("size", [2, 3])
def test_known_ngrams_stay_known(size: int) -> None:
    generator = np.random.default_rng(0)
    rows = [generator.integers(0, 7, 20) for _ in range(30)]
    old, new = NgramEmbedding(size, 40, 7, 4), NgramEmbedding(size, 40, 11, 4)
    old.learn(rows, [0])
    new.load_state_dict(grow(old.state_dict(), {"keys": Growth.keys}, Growth(7, 11, {})))
    assert torch.equal(new.keys, new.keys.sort().values)
    ids = torch.from_numpy(rows[0])
    places = torch.arange(len(ids))
    assert old(ids, places, 0.0).any()
    assert torch.equal(old(ids, places, 0.0), new(ids, places, 0.0))


def test_vectors_are_as_loud_as_the_table() -> None:
    torch.manual_seed(0)
    table = torch.randn(100, 8) * 0.02
    before, deviation = table.clone(), table.std()
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    set_rows(table, np.arange(50) * 2, vectors)
    torch.testing.assert_close(table[::2].std(), deviation)
    torch.testing.assert_close(table[::2], torch.from_numpy(vectors) * (table[0, 0] / vectors[0, 0]))
    assert torch.equal(table[1::2], before[1::2])
