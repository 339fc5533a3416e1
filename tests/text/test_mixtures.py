"""Mixtures of corpora: an epoch is a pure function of (seed, epoch), a batch of (seed, epoch, index); the weights hold."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget_of
from hypothesis import strategies as st

from benchmarks.shards import generate
from yanmo.tasks.base import lengths
from yanmo.tasks.objectives.masked import Masked, Settings
from yanmo.text import batches, tokenizer, tokens
from yanmo.text.batches import Batch, Cursor, Drawn, pack
from yanmo.text.mixture import Mixture, Rows
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings


@pytest.fixture(scope="module")
def cutter() -> Tokenizer:
    return tokenizer.train(["ink stone brush paper 研墨磨字成文"], TokenizerSettings(vocab=100))


@pytest.fixture(scope="module")
def folder(cutter: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("mixtures")
    generate(here / "text.txt", 1 << 20)
    tokens.prepare([here / "text.txt"], cutter, here / "shards", shard_tokens=20_000)
    return here / "shards"


@pytest.fixture(scope="module")
def mixture(folder: Path) -> tuple[Mixture, list[Rows]]:
    """A corpus of a fifth of the documents, and one of the rest; the first by three times the weight."""
    shards = tokens.load(folder)
    some = np.arange(len(shards.sizes)) % 5 == 0
    rows = [Rows(shards, np.flatnonzero(part), 64, name) for part, name in ((some, "few"), (~some, "many"))]
    return Mixture({rows[0]: 3.0, rows[1]: 1.0}), rows


def test_a_mixture_keeps_its_weights(mixture: tuple[Mixture, list[Rows]]) -> None:
    mixed, (few, many) = mixture
    sizes, total = lengths(mixed), lengths(few).sum() + lengths(many).sum()
    for epoch in range(4):
        rows = mixed.draw(5, epoch)
        assert sizes[rows].sum() == pytest.approx(total, rel=0.01)
        assert sizes[rows[rows < len(few)]].sum() / sizes[rows].sum() == pytest.approx(0.75, rel=0.01)
        assert rows.tolist() == mixed.draw(5, epoch).tolist()
    assert mixed.draw(5, 0).tolist() != mixed.draw(6, 0).tolist()


def test_a_corpus_that_ends_begins_again_in_another_order(mixture: tuple[Mixture, list[Rows]]) -> None:
    """Over all epochs each corpus is an endless run of shuffles: none of its rows is missed, none comes again before its turn."""
    mixed, parts = mixture
    drawn = [mixed.draw(0, epoch) for epoch in range(12)]
    base = 0
    for part in parts:
        rows = np.concatenate([epoch[(epoch >= base) & (epoch < base + len(part))] for epoch in drawn]) - base
        turns = [rows[i : i + len(part)].tolist() for i in range(0, len(rows) - len(part) + 1, len(part))]
        assert len(turns) >= 3
        assert all(sorted(turn) == list(range(len(part))) for turn in turns)
        assert len({tuple(turn) for turn in turns}) == len(turns)
        base += len(part)


def test_a_mixture_goes_on_from_any_cursor(mixture: tuple[Mixture, list[Rows]], cutter: Tokenizer) -> None:
    mixed, _ = mixture
    task = Masked(Settings(max_length=64), cutter)

    def stream(cursor: Cursor, count: int) -> list[tuple[tuple[str, ...], bytes, Cursor]]:
        found = batches.stream(mixed, lengths(mixed), task.batch, budget=20_000, seed=3, cursor=cursor)
        return [(batch.rows, batch.source.ids.numpy().tobytes(), after) for batch, after in islice(found, count)]

    whole = stream(Cursor(), 60)
    assert whole[-1][2].epoch >= 1
    for number in (0, 10, 30, 50, 58):
        assert stream(whole[number][2], 59 - number) == whole[number + 1 :]


def test_equal_shares_are_every_row_once(mixture: tuple[Mixture, list[Rows]]) -> None:
    _, parts = mixture
    whole = Mixture({part: float(lengths(part).sum()) for part in parts})
    for epoch in range(3):
        assert sorted(whole.draw(0, epoch).tolist()) == list(range(len(whole)))


# ---- properties


class Part(Drawn):
    """Rows of these lengths, which hold their own numbers."""

    def __init__(self, sizes: np.ndarray) -> None:
        self.lengths = sizes

    def make(self, row: int) -> Example:
        return Example((), (), str(row), ids=np.full(self.lengths[row], row, np.int32))

    def draw(self, seed: int, epoch: int) -> np.ndarray:
        return np.arange(len(self))


def mixed(parts: list[tuple[int, int, float]]) -> Mixture:
    """Of each part (rows, longest, weight)."""
    generator = np.random.default_rng(0)
    return Mixture({Part(generator.integers(1, most + 1, rows)): weight for rows, most, weight in parts})


some_parts = st.lists(
    st.tuples(st.integers(20, 30_000), st.integers(1, 200), st.floats(0.05, 20)), min_size=2, max_size=4
)


@given(some_parts, st.integers(0, 2**40), st.integers(0, 50))
@budget_of(max_examples=25, deadline=None)
def test_weights_hold_to_a_hundredth_over_100_000_draws(
    parts: list[tuple[int, int, float]], seed: int, epoch: int
) -> None:
    mixture = mixed(parts)
    sizes, bases = lengths(mixture), np.cumsum([0, *(rows for rows, _, _ in parts)])
    taken, draws = np.zeros(len(parts)), 0
    while draws < 100_000:
        rows = mixture.draw(seed, epoch)
        taken += np.histogram(rows, bases, weights=sizes[rows])[0]
        draws, epoch = draws + len(rows), epoch + 1
    weights = np.array([weight for _, _, weight in parts])
    assert np.abs(taken / taken.sum() - weights / weights.sum()).max() < 0.01


def plain(rows: list[Example], key: batches.Key | None) -> Batch:
    return Batch(pack([row.ids for row in rows if row.ids is not None]), rows=tuple(row.id for row in rows))


@given(some_parts, st.integers(0, 2**40), st.integers(0, 6), st.data())
@budget_of(max_examples=25, deadline=None)
def test_the_order_is_a_function_of_seed_epoch_and_index(
    parts: list[tuple[int, int, float]], seed: int, epoch: int, data: st.DataObject
) -> None:
    """Another object, begun at the very batch, gives what the one gives that came there from the epoch's beginning."""
    whole, budget = mixed(parts), 4096
    plan = batches.plan(lengths(whole), budget, seed, epoch, whole.draw(seed, epoch))
    index = data.draw(st.integers(0, len(plan) - 1))
    again = mixed(parts)
    for workers in (0, 2):
        stream = batches.stream(
            again, lengths(again), plain, budget=budget, seed=seed, cursor=Cursor(epoch, index), workers=workers
        )
        for number, (batch, after) in zip(range(index, min(index + 3, len(plan))), stream, strict=False):
            assert batch.rows == tuple(str(whole[int(row)].id) for row in plan[number])
            assert after == (Cursor(epoch, number + 1) if number + 1 < len(plan) else Cursor(epoch + 1, 0))
