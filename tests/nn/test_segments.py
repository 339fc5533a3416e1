"""The memory of segments against lists."""

import pytest
import torch

from yanmo.nn.segments import SegmentMemory

CALLS = [(3, 1, 2), (1, 1, 1), (2, 5, 1), (4, 1, 7)]


def check(state: SegmentMemory, rows: list[list[torch.Tensor]], longest: int | None) -> None:
    """Each layer's memory holds each row's last states at its right end."""
    kept = [row if longest is None else row[max(len(row) - longest, 0) :] for row in rows]
    for layer, memory in enumerate(state.states):
        assert memory.shape[1] == max(map(len, kept)) and not memory.requires_grad
        for own, row in zip(memory, kept, strict=True):
            if row:
                assert torch.equal(own[len(own) - len(row) :], torch.stack(row) * (layer + 1))


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("reuse", [None, 2])
@pytest.mark.parametrize("longest", [0, 1, 4, None])
def test_it_holds_the_last_states(longest: int | None, reuse: int | None, zeros: bool) -> None:
    torch.manual_seed(0)
    state = SegmentMemory(longest, zeros=zeros)
    rows: list[list[torch.Tensor]] = [[torch.zeros(2)] * ((longest or 0) if zeros else 0) for _ in range(3)]
    saved = None
    for number, lengths in enumerate([*CALLS, *CALLS[2:]]):
        if number == 2:
            saved = state.snapshot(), [list(row) for row in rows]
        if number == 4:  # the last two calls again, from the snapshot on
            assert saved is not None
            state.rewind(saved[0])
            rows = [list(row) for row in saved[1]]
            check(state, rows, longest)
        x = torch.randn(3, max(lengths), 2, requires_grad=True)
        columns, known = state.begin(lengths, x.device, reuse)
        before = [state.turn(x), state.turn(2 * x)]
        assert all(memory.shape == (3, columns, 2) for memory in before)
        held = [min(len(row), len(row) if longest is None else longest) for row in rows]
        assert known.sum(1).tolist() == held and all(known[i, columns - n :].all() for i, n in enumerate(held))
        state.end()
        for row, own, length in zip(rows, x.detach(), lengths, strict=True):
            row += list(own[: min(length, reuse or length)])
        check(state, rows, longest)
    assert state.length == max(state.lengths)
    one, two = state.select(torch.tensor([2])), state.select(torch.tensor([0, 2]))
    check(one, [rows[2]], longest)
    both = one.join(two)
    check(both, [rows[2], rows[0], rows[2]], longest)
    assert both.lengths == tuple(state.lengths[row] for row in (2, 0, 2))


def test_other_rows_than_before_are_refused() -> None:
    state = SegmentMemory(4)
    state.begin((1, 2), torch.device("cpu"))
    state.turn(torch.zeros(2, 2, 3))
    state.end()
    with pytest.raises(ValueError, match="3 rows, but 2 were decoded before"):
        state.begin((1, 1, 1), torch.device("cpu"))
