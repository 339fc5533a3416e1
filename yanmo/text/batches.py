"""Batches without padding: rows packed end to end under a budget of tokens, in an order that is a pure function of
(seed, epoch, index), so that a cursor of two numbers is all that a resumed run needs.

It knows lengths, not meanings: the collate that it is given (`Task.batch`) makes the Batch.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from yanmo.text.sources import Example


@dataclass(frozen=True)
class Run:
    """Rows of tokens packed end to end."""

    ids: Tensor  # (tokens,)
    lengths: tuple[int, ...]  # of each row; plain numbers, since kernels are chosen by them
    types: Tensor | None = None  # (tokens,) segment of each token; None means all 0

    @cached_property
    def positions(self) -> Tensor:
        """(tokens,) each token's place in its row, from 0."""
        ends = np.cumsum(self.lengths)
        starts = np.repeat(ends - self.lengths, self.lengths)
        return torch.from_numpy(np.arange(len(starts)) - starts).to(self.ids.device)

    @cached_property
    def starts(self) -> Tensor:
        """(rows,) where each row begins."""
        return torch.from_numpy(np.cumsum((0, *self.lengths[:-1]))).to(self.ids.device)

    @cached_property
    def ends(self) -> Tensor:
        """(rows,) each row's last token."""
        return torch.from_numpy(np.cumsum(self.lengths) - 1).to(self.ids.device)

    @cached_property
    def row_of(self) -> Tensor:
        """(tokens,) the row that each token belongs to."""
        return torch.from_numpy(np.repeat(np.arange(len(self.lengths)), self.lengths)).to(self.ids.device)

    def last(self, id: int | None) -> Tensor:
        """(rows,) each row's last token of this id; its last one where it has none, or where the id is None."""
        if id is None:
            return self.ends
        places = torch.where(self.ids == id, torch.arange(len(self.ids), device=self.ids.device), -1)
        found = torch.full_like(self.ends, -1).scatter_reduce(0, self.row_of, places, "amax")
        return torch.where(found < 0, self.ends, found)

    def padded(self, values: Tensor, fill: float = 0) -> Tensor:
        """Packed (tokens, ...) -> rectangle (rows, longest, ...), for families that need one."""
        rectangle = values.new_full((len(self.lengths), max(self.lengths), *values.shape[1:]), fill)
        rectangle[self.row_of, self.positions] = values
        return rectangle

    def flat(self, rectangle: Tensor) -> Tensor:
        """The inverse: (rows, longest, ...) -> packed (tokens, ...)."""
        return rectangle[self.row_of, self.positions]

    def to(self, device: torch.device) -> "Run":
        if self.ids.device == device:
            return self  # with what it has worked out
        return Run(self.ids.to(device), self.lengths, None if self.types is None else self.types.to(device))


def pack(rows: Sequence[np.ndarray], types: Sequence[np.ndarray | None] = ()) -> Run:
    """Rows of ids -> a Run. `types` (a row may be None) are packed only when some row has them."""
    lengths = tuple(len(row) for row in rows)
    kinds = None
    if any(kind is not None for kind in types):
        filled = [np.zeros(size, np.int64) if kind is None else kind for kind, size in zip(types, lengths, strict=True)]
        kinds = torch.from_numpy(np.concatenate(filled).astype(np.int64))
    return Run(torch.from_numpy(np.concatenate(rows).astype(np.int64)), lengths, kinds)


def shifted(run: Run, start: int | None) -> Run:
    """What a decoder is given so that it says the run's tokens, each seeing those before it: every row begins with `start` and goes
    without its last token. start: `Config.decoder_start`; None: a row's own last token (mBART's, which names the language)."""
    ids = run.ids.roll(1)
    ids[run.starts] = run.ids[run.ends] if start is None else start
    return Run(ids, run.lengths, run.types)


@dataclass(frozen=True)
class Batch:
    """What a model and a task are given at once."""

    source: Run
    target: Run | None = None  # the second run of an encoder-decoder
    labels: Tensor | None = None  # what the task compares with
    evidence: Tensor | None = None  # what a task knows beside the model, of each row or token
    select: Tensor | None = None  # (n,) the token positions whose logits the task wants; None means all
    rows: tuple[str, ...] = ()  # the examples' ids
    examples: tuple[Example, ...] = ()  # themselves, where a task's answers speak of their words
    progress: float = 0.0  # of the run, 0 to 1

    def to(self, device: torch.device) -> "Batch":
        if self.source.ids.device == device:
            return self

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        target = None if self.target is None else self.target.to(device)
        return replace(
            self,
            source=self.source.to(device),
            target=target,
            labels=move(self.labels),
            evidence=move(self.evidence),
            select=move(self.select),
        )


class Key(NamedTuple):
    """What all randomness of a batch is drawn from."""

    seed: int
    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs

    def generator(self) -> np.random.Generator:
        """A counter-based generator (Philox): equal keys give equal numbers, on any machine."""
        return np.random.Generator(
            np.random.Philox(key=np.array([self.seed % 2**64, (self.epoch << 32) + self.index], np.uint64))
        )


class Cursor(NamedTuple):
    """The next batch to be consumed."""

    epoch: int = 0
    index: int = 0  # type: ignore[assignment]  # as above


class Drawn(Sequence[Example]):
    """Prepared rows that are too many to hold: each is made when its batch is, and an epoch draws which of them it has."""

    lengths: np.ndarray  # (rows,) tokens of each

    @abstractmethod
    def make(self, row: int) -> Example: ...

    @abstractmethod
    def draw(self, seed: int, epoch: int) -> np.ndarray:
        """The numbers of an epoch's rows, in any order, some perhaps more than once: a pure function of (seed, epoch)."""

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, row: int) -> Example: ...
    @overload
    def __getitem__(self, row: slice) -> list[Example]: ...
    def __getitem__(self, row: int | slice) -> Example | list[Example]:
        places = range(len(self))[row]
        return self.make(places) if isinstance(places, int) else [self.make(place) for place in places]


Collate = Callable[[Sequence[Example], Key | None], Batch]
_POOL = 64  # batches' worth of rows that are sorted together: enough for equal lengths, few enough for a random order


def drawn(examples: Sequence[Example], seed: int, epoch: int) -> np.ndarray:
    """The numbers of the rows that an epoch has: all, unless they are drawn."""
    return examples.draw(seed, epoch) if isinstance(examples, Drawn) else np.arange(len(examples))


def plan(lengths: np.ndarray, budget: int, seed: int, epoch: int, rows: np.ndarray | None = None) -> list[np.ndarray]:
    """The batches of one epoch, as arrays of row numbers: shuffled, then rows of like length together, at most `budget` tokens each
    (a longer row stands alone), each sorted by length. rows: those that the epoch has (`drawn`); None means all."""
    generator = Key(seed, epoch, 2**32 - 1).generator()
    order = generator.permutation(np.arange(len(lengths)) if rows is None else rows)
    rows_per_pool = max(1, int(_POOL * budget / max(1.0, float(lengths[order].mean()))))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), rows_per_pool):
        pool = order[start : start + rows_per_pool]
        batches += cut(pool[np.argsort(lengths[pool], kind="stable")], lengths, budget)
    return [batches[i] for i in generator.permutation(len(batches))]


def cut(rows: np.ndarray, lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Cut a list of row numbers into runs of at most `budget` tokens."""
    batches: list[np.ndarray] = []
    ends = np.cumsum(lengths[rows])
    start = 0
    while start < len(rows):
        used = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, used + budget, side="right")))
        batches.append(rows[start:stop])
        start = stop
    return batches


def stream(
    examples: Sequence[Example],
    lengths: np.ndarray,
    collate: Collate,
    *,
    budget: int,
    seed: int,
    cursor: Cursor,
    workers: int = 0,
) -> Iterator[tuple[Batch, Cursor]]:
    """Training batches without end, from `cursor` on, each with the cursor of the one after it. workers: threads that make them ahead;
    their number changes nothing, since a batch depends on its key alone."""

    def make(rows: np.ndarray, key: Key) -> Batch:
        return collate([examples[row] for row in rows], key)

    places = _places(examples, lengths, budget, seed, cursor)
    if not workers:
        yield from ((make(rows, key), after) for rows, key, after in places)
    with ThreadPoolExecutor(workers, "yanmo-batch") as pool:
        ahead = deque((pool.submit(make, rows, key), after) for rows, key, after in islice(places, 2 * workers))
        for rows, key, after in places:
            ahead.append((pool.submit(make, rows, key), after))
            made, cursor = ahead.popleft()
            yield made.result(), cursor


def _places(
    examples: Sequence[Example], lengths: np.ndarray, budget: int, seed: int, cursor: Cursor
) -> Iterator[tuple[np.ndarray, Key, Cursor]]:
    """The rows of each batch, the key of its randomness, and the cursor of the one after it; without end."""
    epoch, index = cursor
    while True:
        batches = plan(lengths, budget, seed, epoch, drawn(examples, seed, epoch))
        for number in range(index, len(batches)):
            last = number + 1 == len(batches)
            after = Cursor(epoch + 1, 0) if last else Cursor(epoch, number + 1)
            yield batches[number], Key(seed, epoch, number), after
        epoch, index = epoch + 1, 0


def once(
    examples: Sequence[Example], lengths: np.ndarray, collate: Collate, *, budget: int
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Every row once, for evaluation: batches of like length, each with the row numbers that it holds."""
    rows = np.argsort(lengths, kind="stable")
    for part in cut(rows, lengths, budget):
        yield collate([examples[row] for row in part], None), part
