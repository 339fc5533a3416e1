"""What attention keeps between decoding calls: the keys and values of every token so far, so that a new token costs only itself; and
those of the memory, where a decoder attends to one, computed once.

Rows may be of any length: each has its own place in one rectangle, which grows by doubling. Knows no family. For inference: what is
kept carries no gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from yanmo.nn.attention import attend


@dataclass
class _Layer:
    keys: Tensor  # (rows, groups, capacity, d)
    values: Tensor

    def select(self, rows: Tensor, longest: int) -> "_Layer":
        return _Layer(self.keys[rows, :, :longest].clone(), self.values[rows, :, :longest].clone())

    def none(self, rows: int) -> "_Layer":
        """So many rows without a token."""
        return _Layer(*(part.new_zeros(rows, part.shape[1], 0, part.shape[3]) for part in (self.keys, self.values)))

    def join(self, other: "_Layer", longest: int) -> "_Layer":
        keys, values = ((one.keys, one.values) for one in (self, other))
        return _Layer(
            *(torch.cat([_stretched(part, longest) for part in pair]) for pair in zip(keys, values, strict=True))
        )


class KeyValues:
    """The keys and values of `layers` layers. `lengths`: of each row, so far; empty before the first call.

    memory: the keys and values (s, h, d) of what each layer attends to beside its own row; memory_lengths: of its rows."""

    def __init__(
        self, layers: int, memory: Sequence[tuple[Tensor, Tensor]] = (), memory_lengths: Sequence[int] = ()
    ) -> None:
        self.memory_lengths = tuple(memory_lengths)
        self.lengths: tuple[int, ...] = (0,) * len(self.memory_lengths)
        self._layers: list[_Layer | None] = [None] * layers
        self._memory = [_Layer(*(_rows(part, self.memory_lengths) for part in pair)) for pair in memory]
        self._step: _Step | None = None

    @property
    def length(self) -> int:
        """Of the longest row."""
        return max(self.lengths, default=0)

    def begin(self, lengths: Sequence[int], device: torch.device) -> Tensor:
        """A call with so many new tokens in each row begins: (tokens,) their positions, from 0 in each row."""
        before = self.lengths or (0,) * len(lengths)
        if len(before) != len(lengths):
            raise ValueError(f"{len(lengths)} rows, but {len(before)} were decoded before")
        self._step = _Step(before, tuple(lengths), device)
        return self._step.places

    def places(self) -> Tensor:
        """(t,) positions of the tokens of the call that has begun."""
        return self._begun.places

    def distances(self) -> Tensor:
        """Of the call that has begun: (rows, queries, keys) a key's place less a query's; one row where all begin alike."""
        return self._begun.distances()

    def attend(
        self,
        layer: int,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        bias: Tensor | None = None,
        scale: float | None = None,
        window: int | None = None,
    ) -> Tensor:
        """Keep k and v (t, g, d) of the new tokens; attention of q (t, h, d) to them and to all before -> (t, h, d). bias: on the scores,
        (rows or 1, h, queries, keys) as `distances` has them."""
        step = self._begun
        kept = self._room(layer, k, v, step)
        if step.even:  # one slice for all rows
            for buffer, new in ((kept.keys, k), (kept.values, v)):
                buffer[:, :, step.total - step.longest : step.total] = new.view(
                    step.rows, step.longest, *new.shape[1:]
                ).transpose(1, 2)
        else:
            for buffer, new in ((kept.keys, k), (kept.values, v)):
                buffer[step.row_of, :, step.places] = new
        if not any(step.before):
            return attend(q, k, v, bias=bias, lengths=step.lengths, causal=True, scale=scale, window=window)
        mixed = attend(
            step.rectangle(q).transpose(1, 2),
            kept.keys[:, :, : step.total],
            kept.values[:, :, : step.total],
            bias=bias,
            mask=step.mask(window),
            causal=step.even,
            window=window if step.even else None,
            scale=scale,
        )
        return step.flat(mixed.transpose(1, 2))

    def recall(self, layer: int, q: Tensor, *, scale: float | None = None) -> Tensor:
        """Attention of q (t, h, d) to the memory's rows -> (t, h, d)."""
        step, kept = self._begun, self._memory[layer]
        longest, mask = kept.keys.shape[2], None
        if min(self.memory_lengths) < longest:
            mask = torch.arange(longest) < torch.tensor(self.memory_lengths)[:, None]
            mask = mask[:, None, None].to(q.device)
        mixed = attend(step.rectangle(q).transpose(1, 2), kept.keys, kept.values, mask=mask, scale=scale)
        return step.flat(mixed.transpose(1, 2))

    def end(self) -> None:
        """The call is over: its tokens count from now on."""
        self.lengths = tuple(a + b for a, b in zip(self._begun.before, self._begun.lengths, strict=True))
        self._step = None

    def select(self, rows: Tensor) -> Self:
        """The state of these rows, in this order; a row may come twice."""
        found = type(self)(len(self._layers))
        found.lengths, found.memory_lengths = (
            tuple(lengths[int(row)] for row in rows) if lengths else ()
            for lengths in (self.lengths, self.memory_lengths)
        )
        found._layers = [layer and layer.select(rows, found.length) for layer in self._layers]
        longest = max(found.memory_lengths, default=0)
        found._memory = [layer.select(rows, longest) for layer in self._memory]
        return found

    def join(self, other: Self) -> Self:
        """The rows of both."""
        found = type(self)(len(self._layers))
        found.lengths, found.memory_lengths = self.lengths + other.lengths, self.memory_lengths + other.memory_lengths
        for number, (one, two) in enumerate(zip(self._layers, other._layers, strict=True)):
            if (like := one or two) is not None:  # the rows of the other may have no tokens yet
                one, two = one or like.none(len(self.lengths)), two or like.none(len(other.lengths))
                found._layers[number] = one.join(two, found.length)
        longest = max(found.memory_lengths, default=0)
        found._memory = [one.join(two, longest) for one, two in zip(self._memory, other._memory, strict=True)]
        return found

    def snapshot(self) -> tuple[int, ...]:
        return self.lengths

    def rewind(self, snapshot: tuple[int, ...]) -> None:
        """Forget the tokens since the snapshot; what they left is written over."""
        self.lengths = snapshot

    @property
    def _begun(self) -> "_Step":
        assert self._step is not None, "begin comes first"  # noqa: S101
        return self._step

    def _room(self, layer: int, k: Tensor, v: Tensor, step: "_Step") -> _Layer:
        kept = self._layers[layer]
        if kept is None:
            shape = (step.rows, k.shape[1], max(step.total, 32))
            # Zeros, not just any memory: what no query may see still meets a weight of 0, and 0 times NaN is NaN.
            kept = _Layer(k.new_zeros(*shape, k.shape[2]), v.new_zeros(*shape, v.shape[2]))
        elif step.total > (capacity := kept.keys.shape[2]):
            larger = max(step.total, 2 * capacity)
            kept = _Layer(_stretched(kept.keys, larger), _stretched(kept.values, larger))
        self._layers[layer] = kept
        return kept


class _Step:
    """Where the tokens of one call stand; worked out once for all layers."""

    def __init__(self, before: tuple[int, ...], lengths: tuple[int, ...], device: torch.device) -> None:
        self.before, self.lengths, self.rows = before, lengths, len(lengths)
        self.longest = max(lengths)
        self.total = max(a + b for a, b in zip(before, lengths, strict=True))
        self.even = len({*before}) == 1 and len({*lengths}) == 1
        sizes = torch.tensor(lengths)
        self.row_of = torch.repeat_interleave(torch.arange(self.rows), sizes).to(device)
        own = torch.cat([torch.arange(length) for length in lengths]).to(device)  # in the call
        self._begin = torch.tensor(before).to(device)
        self.own, self.places = own, own + self._begin[self.row_of]

    def rectangle(self, values: Tensor) -> Tensor:
        """(t, ...) -> (rows, longest, ...)"""
        if self.even:
            return values.view(self.rows, self.longest, *values.shape[1:])
        padded = values.new_zeros(self.rows, self.longest, *values.shape[1:])
        padded[self.row_of, self.own] = values
        return padded

    def flat(self, rectangle: Tensor) -> Tensor:
        return rectangle.flatten(0, 1) if self.even else rectangle[self.row_of, self.own]

    def distances(self) -> Tensor:
        """(rows, longest, total) a key's place less a token's own; one row where all begin alike."""
        device = self._begin.device
        begin = self._begin[:1] if len({*self.before}) == 1 else self._begin
        own = begin[:, None] + torch.arange(self.longest, device=device)
        return torch.arange(self.total, device=device) - own[..., None]

    def mask(self, window: int | None) -> Tensor | None:
        """(rows, 1, longest, total) which keys a token may see; None where all rows stand alike."""
        if self.even:
            return None
        away = self.distances()
        seen = away <= 0
        if window is not None:
            seen &= away > -window
        return seen[:, None]


def _rows(values: Tensor, lengths: Sequence[int]) -> Tensor:
    """Packed (s, h, d) -> (rows, h, longest, d)"""
    parts = list(torch.split(values, list(lengths)))
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True).transpose(1, 2)


def _stretched(buffer: Tensor, capacity: int) -> Tensor:
    """A copy with room for so many tokens, or a view of fewer."""
    if capacity <= buffer.shape[2]:
        return buffer[:, :, :capacity]
    larger = buffer.new_zeros(*buffer.shape[:2], capacity, buffer.shape[3])
    larger[:, :, : buffer.shape[2]] = buffer
    return larger
