"""What a recurrence over segments keeps between calls: the states that each layer was given, for the last tokens of each row (Dai et
al. 2019, section 3.2). No gradient reaches back into them.

Rows of any length stand in one rectangle, each at its right end: then a memory and the new tokens that follow it lie as far apart
in every row, and one table of distances serves all.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

_Snapshot = tuple[tuple[int, ...], tuple[int, ...], list[Tensor]]


class SegmentMemory:
    """`lengths`: the tokens of each row so far; empty before the first call. `states`: one (rows, m, width) a layer, of which each
    row has the last min(length, longest).

    longest: None keeps all. zeros: a row begins with `longest` vectors of zeros, and not with nothing.
    """

    def __init__(self, longest: int | None, *, zeros: bool = False) -> None:
        self.lengths: tuple[int, ...] = ()
        self.states: list[Tensor] = []
        self._longest, self._first = longest, (longest or 0) if zeros else 0
        self._sizes: tuple[int, ...] = ()  # what each row has of the rectangle
        self._new: _Snapshot = (), (), []
        self._taken = torch.empty(0)

    @property
    def length(self) -> int:
        """Of the longest row."""
        return max(self.lengths, default=0)

    def begin(self, lengths: Sequence[int], device: torch.device, reuse: int | None = None) -> tuple[int, Tensor]:
        """A call with so many new tokens in each row begins: m, and which of the m states before them each row has, (rows, m).

        reuse: only the first so many of a row's new tokens are kept.
        """
        before = self._sizes or (self._first,) * len(lengths)
        if len(before) != len(lengths):
            raise ValueError(f"{len(lengths)} rows, but {len(before)} were decoded before")
        kept = [length if reuse is None else min(length, reuse) for length in lengths]
        most = max(map(sum, zip(before, kept, strict=True))) if self._longest is None else self._longest
        after = tuple(min(old + new, most) for old, new in zip(before, kept, strict=True))
        total = tuple(old + new for old, new in zip(self.lengths or (0,) * len(kept), kept, strict=True))
        self._new = total, after, []
        columns, ends = max(before), torch.tensor(kept, device=device)[:, None] + max(before)
        self._taken = (ends + torch.arange(-max(after), 0, device=device)).clamp(min=0)  # what a row lacks is masked
        places = torch.arange(columns, device=device)
        return columns, places >= columns - torch.tensor(before, device=device)[:, None]

    def turn(self, x: Tensor) -> Tensor:
        """The next layer's states (rows, m, width) before x (rows, l, width); those of x are kept for the next call."""
        layer = len(self._new[2])
        memory = self.states[layer] if self.states else x.new_zeros(len(x), self._first, x.shape[2])
        rows = torch.arange(len(x), device=x.device)[:, None]
        self._new[2].append(torch.cat([memory, x.detach()], 1)[rows, self._taken])
        return memory

    def end(self) -> None:
        """The call is over: its tokens count from now on."""
        self.rewind(self._new)

    def select(self, rows: Tensor) -> Self:
        """The memory of these rows, in this order; a row may come twice."""
        chosen = [int(row) for row in rows]
        found = self._empty()
        found.lengths, found._sizes = (tuple(sizes[row] for row in chosen) for sizes in (self.lengths, self._sizes))
        longest = max(found._sizes, default=0)
        found.states = [state[rows, state.shape[1] - longest :] for state in self.states]
        return found

    def join(self, other: Self) -> Self:
        """The rows of both."""
        found = self._empty()
        found.lengths, found._sizes = self.lengths + other.lengths, self._sizes + other._sizes
        longest = max(found._sizes, default=0)
        found.states = [
            torch.cat([F.pad(state, (0, 0, longest - state.shape[1], 0)) for state in pair])
            for pair in zip(self.states, other.states, strict=True)
        ]
        return found

    def snapshot(self) -> _Snapshot:
        return self.lengths, self._sizes, self.states

    def rewind(self, snapshot: _Snapshot) -> None:
        """Forget the tokens since the snapshot. A memory is replaced, never written over, so that a snapshot costs nothing."""
        self.lengths, self._sizes, self.states = snapshot

    def _empty(self) -> Self:
        return type(self)(self._longest, zeros=self._first > 0)
