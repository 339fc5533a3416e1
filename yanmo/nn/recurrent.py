"""Recurrent layers over packed rows, what layers carry from call to call, and the attention of a recurrent decoder.

Shapes: t tokens of all rows packed end to end, b rows, l steps, s places of a memory, width of the states.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pad_sequence

from yanmo.nn.attention import attend
from yanmo.nn.linear import Linear

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class Carried:
    """What layers carry from call to call: `layers[n]` are the tensors (b, ...) that layer n left, () before its first call. They are
    replaced, never written to, so that a snapshot copies nothing. `lengths`: the tokens of each row so far. For inference."""

    def __init__(self, layers: int) -> None:
        self.lengths: tuple[int, ...] = ()
        self.layers: list[tuple[Tensor, ...]] = [()] * layers

    @property
    def length(self) -> int:
        """Of the longest row."""
        return max(self.lengths, default=0)

    def begin(self, lengths: Sequence[int]) -> None:
        """A call with so many new tokens in each row begins."""
        before = self.lengths or (0,) * len(lengths)
        if len(before) != len(lengths):
            raise ValueError(f"{len(lengths)} rows, but {len(before)} were decoded before")
        self.lengths = tuple(a + b for a, b in zip(before, lengths, strict=True))

    def select(self, rows: Tensor) -> Self:
        """The state of these rows, in this order; a row may come twice."""
        found = type(self)(len(self.layers))
        found.lengths = tuple(self.lengths[int(row)] for row in rows)
        found.layers = [tuple(tensor[rows] for tensor in layer) for layer in self.layers]
        return found

    def join(self, other: Self) -> Self:
        """The rows of both."""
        found = type(self)(len(self.layers))
        found.lengths = self.lengths + other.lengths
        found.layers = [
            tuple(map(_stacked, one, two)) if one and two else one or two
            for one, two in zip(self.layers, other.layers, strict=True)
        ]
        return found

    def snapshot(self) -> tuple[tuple[int, ...], list[tuple[Tensor, ...]]]:
        return self.lengths, list(self.layers)

    def rewind(self, snapshot: tuple[tuple[int, ...], list[tuple[Tensor, ...]]]) -> None:
        """Forget the tokens since the snapshot."""
        self.lengths, layers = snapshot
        self.layers = list(layers)


def _stacked(one: Tensor, two: Tensor) -> Tensor:
    """The rows of both; memories of unequal length are filled up with zeros (which a mask reads as False)."""
    longest = max(one.shape[1], two.shape[1])
    return torch.cat([F.pad(part, (0, 0) * (part.ndim - 2) + (0, longest - part.shape[1])) for part in (one, two)])


class RowDropout(nn.Module):
    """Variational dropout: one mask a row, the same at all its steps; (t, width) -> (t, width). Gal & Ghahramani 2016, section 4."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor, row_of: Tensor, rows: int) -> Tensor:
        if not self.training or not self.share:
            return x
        mask = x.new_empty(rows, x.shape[1]).bernoulli_(1 - self.share) / (1 - self.share)
        return x * mask.index_select(0, row_of)


class Recurrent(nn.Module):
    """Layers of a cell ("lstm" or "gru"): (t, inputs) packed rows -> (t, width). Of a bidirectional layer each direction has half of the
    width, so that the states of both, side by side, have all of it. Variational dropout on the inputs, between the layers and on the
    outputs (Merity et al. 2018, section 4.2); nothing is dropped from a step to the next one, which torch's kernels do by themselves.
    LSTM: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000; GRU: Cho et al. 2014, as torch.nn.GRU has it.
    """

    def __init__(
        self,
        cell: str,
        inputs: int,
        width: int,
        layers: int,
        *,
        bidirectional: bool = False,
        input_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        output_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        directions = 1 + bidirectional
        self.layers = nn.ModuleList(
            nn.ModuleList(CELLS[cell](width if number else inputs, width // directions) for _ in range(directions))
            for number in range(layers)
        )
        self.dropouts = nn.ModuleList(
            RowDropout(share) for share in (input_dropout, *[hidden_dropout] * (layers - 1), output_dropout)
        )

    def forward(
        self, x: Tensor, lengths: Sequence[int], carried: Carried | None = None, *, keep: bool = True
    ) -> Tensor:
        """carried: what earlier calls left in the first of its layers; these go on from there and, to `keep`, leave it for the next."""
        keep = keep and carried is not None
        steps = _Steps(lengths, x.device, exact=keep)
        for number, (layer, dropout) in enumerate(zip(self.layers, self.dropouts, strict=False)):
            x = dropout(x, steps.row_of, len(lengths))
            before = carried.layers[number] if carried is not None else ()
            found = [steps.run(cell, x, before, back=bool(n)) for n, cell in enumerate(layer.children())]
            x = found[0][0] if len(found) == 1 else torch.cat([output for output, _ in found], -1)
            if carried is not None and keep:  # a row without a new token stays as it is
                ends = found[0][1]
                kept = before or tuple(end.new_zeros(len(lengths), end.shape[1]) for end in ends)
                carried.layers[number] = tuple(
                    old.index_copy(0, steps.rows, end) for old, end in zip(kept, ends, strict=True)
                )
        result: Tensor = self.dropouts[-1](x, steps.row_of, len(lengths))
        return result


class _Steps:
    """Packed rows as what torch's kernels want, step after step. A rectangle where rows are of like length: on CPUs an LSTM takes a third
    to a half of the time there. But its last states are those after the padding: where they are wanted (`exact`) and the rows are not of
    one length, and where most of it would be padding, a PackedSequence, which has none, made without a rectangle."""

    def __init__(self, lengths: Sequence[int], device: torch.device, *, exact: bool) -> None:
        sizes = np.array(lengths)
        rows, longest, tokens = len(sizes), int(sizes.max()), int(sizes.sum())
        row_of = np.repeat(np.arange(rows), sizes)
        own = np.arange(tokens) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # a token's step in its row
        order, alive = np.arange(rows), np.full(longest, rows)  # the rows as they stand; how many of them each step has
        self.rectangle = longest * rows <= (tokens if exact else 2 * tokens)
        if not self.rectangle:
            order = np.argsort(-sizes, kind="stable")
            alive = np.searchsorted(-sizes[order], -np.arange(longest))
        step = (np.cumsum(alive) - alive, np.argsort(order)[row_of])  # where each step begins, and a row's place in it
        self.alive, self.size = torch.from_numpy(alive), int(alive.sum())
        self.rows, self.row_of, self.ahead, self.back = (
            torch.from_numpy(part).to(device)
            for part in (order[: alive[0]], row_of, step[0][own] + step[1], step[0][sizes[row_of] - 1 - own] + step[1])
        )

    def run(
        self, cell: nn.Module, x: Tensor, before: tuple[Tensor, ...], *, back: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One direction of one layer: (t, inputs) -> (t, width), and the last states of `rows`."""
        place = self.back if back else self.ahead
        data: Any = x.new_zeros(self.size, x.shape[1]).index_copy(0, place, x)
        data = data.view(len(self.alive), -1, x.shape[1]) if self.rectangle else PackedSequence(data, self.alive)
        begin = [part.index_select(0, self.rows)[None] for part in before]
        output, ends = cell(data, tuple(begin) if len(begin) > 1 else begin[0] if begin else None)
        output = output.flatten(0, 1) if self.rectangle else output.data
        ends = ends if isinstance(ends, tuple) else (ends,)
        return output.index_select(0, place), tuple(end[0] for end in ends)


class GlobalAttention(nn.Module):
    """A decoder's states look at the memory: score(h, s) = h W s, context c = the memory by the softmax of its scores, and the answer
    tanh(W' [c; h]). Luong, Pham & Manning 2015, section 3.1: equation 5 and "general" of equation 8. Without input feeding (section 3.3):
    so all steps of a known target are one call of a fast kernel, where feeding needs a call a step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.key = Linear(width, width, bias=False)
        self.mix = Linear(2 * width, width, bias=False)

    def remember(self, states: Tensor, lengths: Sequence[int]) -> tuple[Tensor, ...]:
        """The states of all sources, packed -> keys (b, s, width), values (b, s, width) and where they are, (b, s)."""
        (keys, there), (values, _) = _padded(self.key(states), lengths), _padded(states, lengths)
        return keys, values, there

    def forward(self, hidden: Tensor, lengths: Sequence[int], memory: tuple[Tensor, ...]) -> Tensor:
        """(t, width) packed rows -> (t, width). memory: what `remember` answered."""
        keys, values, there = memory
        queries, own = _padded(hidden, lengths)
        context = attend(queries[:, None], keys[:, None], values[:, None], mask=there[:, None, None], scale=1.0)
        result: Tensor = self.mix(torch.cat([context[:, 0][own], hidden], -1)).tanh()
        return result


def _padded(x: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Packed rows (t, width) -> a rectangle (b, longest, width), and where it holds tokens, (b, longest)."""
    rectangle = pad_sequence(list(torch.split(x, list(lengths))), batch_first=True)
    places = torch.arange(rectangle.shape[1], device=x.device)
    return rectangle, places < torch.tensor(lengths, device=x.device)[:, None]


@torch.no_grad()
def begin_cell(cell: nn.LSTM | nn.GRU) -> None:
    """Fresh weights, a gate at a time: of the inputs Glorot & Bengio 2010, of the states orthogonal (Saxe et al. 2014); biases 0, but for
    an LSTM's forget gate 1, so that it remembers at first (Jozefowicz, Zaremba & Sutskever 2015)."""
    for name, parameter in cell.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
        for gate in torch.split(parameter, cell.hidden_size) if "weight" in name else ():
            (nn.init.orthogonal_ if "hh" in name else nn.init.xavier_uniform_)(gate)
    if isinstance(cell, nn.LSTM):
        nn.init.ones_(cell.get_parameter("bias_ih_l0")[cell.hidden_size : 2 * cell.hidden_size])
