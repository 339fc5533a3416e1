"""Batches: every row once, within the budget, in an order that is a pure function of (seed, epoch); packing is reversible."""

from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as budget_of
from hypothesis import strategies as st

from yanmo.text import batches
from yanmo.text.batches import Batch, Cursor, Key, pack
from yanmo.text.sources import Example

some_lengths = st.lists(st.integers(1, 40), min_size=1, max_size=120).map(lambda found: np.array(found, np.int64))


@given(some_lengths, st.integers(1, 64), st.integers(0, 2**63), st.integers(0, 5))
@budget_of(max_examples=100, deadline=None)
def test_a_plan_holds_every_row_once_within_the_budget(lengths: np.ndarray, budget: int, seed: int, epoch: int) -> None:
    plan = batches.plan(lengths, budget, seed, epoch)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(lengths)))
    for rows in plan:
        assert len(rows) == 1 or lengths[rows].sum() <= budget
        assert (np.diff(lengths[rows]) >= 0).all()
    again = batches.plan(lengths, budget, seed, epoch)
    assert [rows.tolist() for rows in plan] == [rows.tolist() for rows in again]


def test_the_order_depends_on_seed_and_epoch() -> None:
    lengths = np.arange(1, 500) % 30 + 1
    plans = [np.concatenate(batches.plan(lengths, 100, seed, epoch)).tolist() for seed in (0, 1, 2) for epoch in (0, 1)]
    assert len({tuple(plan) for plan in plans}) == len(plans)


def test_keys_give_their_own_numbers() -> None:
    keys = [Key(0, 0, 0), Key(0, 0, 1), Key(0, 1, 0), Key(1, 0, 0)]
    drawn = [tuple(key.generator().integers(1 << 30, size=4)) for key in keys]
    assert len(set(drawn)) == len(keys)
    assert drawn == [tuple(key.generator().integers(1 << 30, size=4)) for key in keys]


def test_large_seeds_give_their_own_numbers() -> None:
    drawn = {tuple(Key(2**63 + seed, 0, 1).generator().integers(1 << 30, size=4)) for seed in range(5)}
    assert len(drawn) == 5


# ---- streams

ROWS = [Example((), (), str(i), ids=np.full(i % 7 + 1, i, np.int32)) for i in range(23)]
LENGTHS = np.array([len(row.ids) for row in ROWS if row.ids is not None])


def collate(rows: Sequence[Example], key: Key | None) -> Batch:
    noise = 0.0 if key is None else float(key.generator().random())
    return Batch(
        pack([row.ids for row in rows if row.ids is not None]), rows=tuple(row.id for row in rows), progress=noise
    )


def stream(cursor: Cursor, count: int) -> list[tuple[tuple[str, ...], float, Cursor]]:
    found = batches.stream(ROWS, LENGTHS, collate, budget=12, seed=3, cursor=cursor)
    return [(batch.rows, batch.progress, after) for batch, after in islice(found, count)]


def test_a_stream_goes_on_from_any_cursor() -> None:
    whole = stream(Cursor(), 30)
    assert whole[-1][2].epoch >= 2
    assert whole[0][2] == Cursor(0, 1)
    for number, (_, _, after) in enumerate(whole[:-1], 1):
        assert stream(after, len(whole) - number) == whole[number:]
    per_epoch = len(batches.plan(LENGTHS, 12, 3, 0))
    assert sorted(int(row) for rows, _, _ in whole[:per_epoch] for row in rows) == list(range(23))
    assert whole[per_epoch - 1][2] == Cursor(1, 0)


def test_once() -> None:
    found = list(batches.once(ROWS, LENGTHS, collate, budget=12))
    assert sorted(int(row) for _, rows in found for row in rows) == list(range(23))
    for batch, rows in found:
        assert batch.rows == tuple(ROWS[row].id for row in rows)
        assert batch.progress == 0.0
        assert sum(batch.source.lengths) <= 12
    assert list(batches.once([], np.zeros(0, np.int64), collate, budget=12)) == []


# ---- packing

rows_of_ids = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=6), min_size=1, max_size=6)


@given(rows_of_ids)
@budget_of(max_examples=50, deadline=None)
def test_padded_and_flat_are_inverses(rows: list[list[int]]) -> None:
    run = pack([np.array(row, np.int32) for row in rows])
    assert run.types is None
    assert run.lengths == tuple(map(len, rows))
    assert run.ids.tolist() == [number for row in rows for number in row]
    assert run.positions.tolist() == [place for row in rows for place in range(len(row))]
    assert run.row_of.tolist() == [number for number, row in enumerate(rows) for _ in row]
    assert [run.ids[start].item() for start in run.starts] == [row[0] for row in rows]
    rectangle = run.padded(run.ids, fill=-1)
    longest = max(map(len, rows))
    assert rectangle.tolist() == [row + [-1] * (longest - len(row)) for row in rows]
    assert torch.equal(run.flat(rectangle), run.ids)
    states = torch.randn(len(run.ids), 3)
    assert torch.equal(run.flat(run.padded(states)), states)


def test_pack_with_types() -> None:
    rows = [np.array([1, 2, 3], np.int32), np.array([4, 5], np.int32)]
    run = pack(rows, [np.array([0, 0, 1], np.int32), None])
    assert run.types is not None
    assert (run.types.tolist(), run.types.dtype, run.ids.dtype) == ([0, 0, 1, 0, 0], torch.int64, torch.int64)
    assert pack(rows, [None, None]).types is None
    with pytest.raises(ValueError, match="zip"):
        pack(rows, [np.array([0, 0, 1], np.int32)])


def test_moving_a_batch() -> None:
    run = pack([np.array([1, 2])], [np.array([0, 1])])
    batch = Batch(run, target=run, labels=torch.tensor([1]), select=torch.tensor([0]), rows=("a",), progress=0.5)
    moved = batch.to(torch.device("meta"))
    tensors = (moved.source.ids, moved.source.types, moved.labels, moved.select, moved.source.positions)
    assert {tensor.device.type for tensor in tensors if tensor is not None} == {"meta"}
    assert (moved.rows, moved.progress, moved.source.lengths) == (("a",), 0.5, (2,))
    assert moved.target is not None
    plain = Batch(run).to(torch.device("cpu"))
    assert (plain.target, plain.labels, plain.select) == (None, None, None)
