"""Rows -> rows that differ: exact duplicates, contradictions, near duplicates and fragments go, each counted.

Two texts are compared in canonical form (letters and digits only), as sets of their runs of 8 characters: their grams.
Knows the first text of a row and its labels. Knows nothing of files and parts. Holds all rows in memory.

The comparison is exact: nothing is sampled, no common gram is left out. What keeps it cheap is the order of a row's
grams, the rarest first: a row that shares m of another's n grams holds one of its first n - m + 1, so only rows that
hold one of those are compared, and what stands in every row is hardly ever looked up. Time grows with the square of the
rows only where one text makes up about half of each of many rows, almost enough to be duplicates. (Grams are known by
hashes of 64 bits: among a million of them the chance that any two are taken for one is below one in a million.)
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from yanmo.text.clean import canonical
from yanmo.text.sources import Example

GRAM = 8  # characters
NEAR = 0.5  # near duplicates: shared grams / grams of both (Jaccard)
HELD = 0.8  # fragments: shared grams / grams of the fragment
COMPARED = 200  # rows that hold its rarest grams, among which those are sought of which a row may be a fragment
LOOKS = 32  # and of these, how many are looked at
CHUNK = 4096  # rows whose grams are held at once, where not all need be

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the rows: `rows` is the sum of all other counts."""

    rows: int
    empty: int  # without a letter or digit
    contradicting: int  # of one canonical text under differing labels: all its rows
    exact: int  # the canonical text of an earlier row
    near: int  # at least NEAR of the grams in common with an earlier row
    fragments: int  # all of the text, or at least HELD of its grams, stands in one other row
    kept: int


def deduplicate(examples: Sequence[Example]) -> tuple[list[Example], Report]:
    """Rows of which no two are duplicates, near duplicates or fragments of one another, in their order; and the counts.

    Of near duplicates the first stays, whatever their labels. That verdict rests on the texts of the row and of earlier
    rows alone (contradicting ones too), so appended rows never change it; they can contradict an old row, or hold it.
    """
    texts = [canonical(example.texts[0]) for example in examples]
    first: dict[str, int] = {}
    contradicting = set()
    for row, text in enumerate(texts):
        if text and set(examples[first.setdefault(text, row)].labels) != set(examples[row].labels):
            contradicting.add(text)
    distinct = list(first)
    grams = Grams(distinct)
    agreed = np.array([text not in contradicting for text in distinct], dtype=bool)
    unlike = agreed & _firsts(grams)
    whole = _wholes(distinct, grams, unlike)
    kept = [examples[first[distinct[row]]] for row in np.flatnonzero(whole)]
    empty = texts.count("")
    disputed = sum(text in contradicting for text in texts)
    report = Report(
        rows=len(examples),
        empty=empty,
        contradicting=disputed,
        exact=len(examples) - empty - disputed - int(agreed.sum()),
        near=int(agreed.sum() - unlike.sum()),
        fragments=int(unlike.sum()) - len(kept),
        kept=len(kept),
    )
    return kept, report


def _firsts(grams: "Grams") -> Mask:
    """The rows that are no near duplicates of an earlier such row."""
    kept = np.zeros(len(grams.sizes), dtype=bool)
    for row in range(len(kept)):
        kept[row] = not grams.near(row, kept).size
    return kept


def _wholes(texts: Sequence[str], grams: "Grams", among: Mask) -> Mask:
    """The rows `among` these that are no fragments of another such row. They must be free of near duplicates."""
    kept = unheld(grams, among)
    short = kept & (grams.sizes == 0)
    found, _ = short_inside(list(compress(texts, short)), list(compress(texts, kept)))
    kept[short] = ~found
    return kept


def unheld(grams: "Grams", among: Mask) -> Mask:
    """The rows `among` these of which no other such row holds `HELD` of the grams."""
    alone = grams.alone()
    kept = among & alone
    others = np.flatnonzero(among & ~alone)
    # The largest first: whatever could hold a row has been decided before it.
    for row in others[np.argsort(-grams.sizes[others], kind="stable")]:
        kept[row] = not grams.holders(row, kept).size
    return kept


def holding(grams: "Grams") -> Integers:
    """(fragments, 2) each row that is a fragment, and the first row that holds it."""
    among = np.ones(len(grams.sizes), dtype=bool)
    found = []
    for row in np.flatnonzero(~grams.alone()).tolist():
        among[row] = False
        found += [(row, holder) for holder in grams.holders(row, among)[:1]]
        among[row] = True
    return np.array(found, np.int64).reshape(-1, 2)


class Grams:
    """The grams of canonical texts, and which rows hold each. Texts shorter than a gram have none and resemble nothing.

    sizes   (rows) how many distinct grams each row has
    most    how many rows, those that hold its rarest grams, are counted before a row is compared with the `LOOKS` best of them;
            None: it is compared with all that matter, which is exact. With a number only fragments can be looked for (`holders`,
            `alone`): rows that are surely none have no true size
    """

    def __init__(self, texts: Sequence[str], most: int | None = None) -> None:
        self._most = most
        if most is None:
            self._alone, (owners, hashes) = np.zeros(len(texts), dtype=bool), hashed(texts, GRAM)
        else:
            self._alone, owners, hashes = _suspects(texts)
        _, names = np.unique(hashes, return_inverse=True)
        count = int(names.max()) + 1 if len(names) else 1
        # A gram counts once a row: what one row repeats is no commoner for it.
        rows, names = np.divmod(distinct(owners * count + names), count)
        held = np.bincount(names, minlength=count)
        rank = np.empty(count, dtype=np.int64)
        rank[np.sort(held * count + np.arange(count)) % count] = np.arange(count)
        # A gram's number is its rank in rarity, so sorting by (row, number) puts the rarest grams of each row first.
        rows, self._grams = np.divmod(np.sort(rows * count + rank[names]), count)
        self.sizes: Integers = np.bincount(rows, minlength=len(texts))
        self._starts = offsets(self.sizes)
        self._holders = np.sort(self._grams * len(texts) + rows) % max(len(texts), 1)
        self._holders_starts = offsets(np.bincount(self._grams, minlength=len(rank)))

    def near(self, row: int, among: Mask) -> Integers:
        """The rows `among` these that are near duplicates of `row`. `among` must leave out the row itself."""
        size = self.sizes[row]
        rows, shared = self._sharing(row, math.ceil(NEAR * size), among)
        near: Integers = rows[shared >= NEAR * (size + self.sizes[rows] - shared)]
        return near

    def holders(self, row: int, among: Mask) -> Integers:
        """The rows `among` these of which `row` is a fragment. `among` must leave out the row itself."""
        least = math.ceil(HELD * self.sizes[row])
        rows, shared = self._sharing(row, least, among)
        holders: Integers = rows[shared >= least]
        return holders

    def alone(self) -> Mask:
        """The rows that `holders` finds in none: what it looks for, the commonest of it too, stands nowhere else."""
        having = (self.sizes > 0) & ~self._alone
        sizes = self.sizes[having]
        commonest = self._grams[self._starts[:-1][having] + sizes - np.ceil(HELD * sizes).astype(np.int64)]
        alone = ~having
        alone[having] = np.diff(self._holders_starts)[commonest] == 1
        return alone

    def _sharing(self, row: int, least: int, among: Mask) -> tuple[Integers, Integers]:
        """All rows that share `least` grams with `row`, and some that share fewer; and how many they share. (With `most`, only the
        `LOOKS` rows that hold most of its rarest grams.)"""
        grams = self._grams[self._starts[row] : self._starts[row + 1]]
        rarest = grams[: len(grams) - least + 1]
        if self._most is not None:
            held = np.cumsum(self._holders_starts[rarest + 1] - self._holders_starts[rarest])
            rarest = rarest[: np.searchsorted(held, self._most, side="right")]
        holders = self._holders[ranges(self._holders_starts[rarest], self._holders_starts[rarest + 1])]
        holders = holders[among[holders]]
        if not holders.size:  # as with most rows
            return holders, holders
        holders = np.sort(holders)
        starts = np.flatnonzero(np.concatenate([[True], holders[1:] != holders[:-1]]))
        rows = holders[starts]
        if self._most is not None and len(rows) > LOOKS:
            times = np.diff(np.append(starts, len(holders)))
            rows = np.sort(rows[np.argsort(-times, kind="stable")[:LOOKS]])
        theirs = self._grams[ranges(self._starts[rows], self._starts[rows + 1])]
        # Both are sorted, and isin would sort them again.
        same = grams[np.minimum(np.searchsorted(grams, theirs), len(grams) - 1)] == theirs
        shared = np.add.reduceat(same, offsets(self.sizes[rows])[:-1], dtype=np.int64)
        return rows, shared


def _suspects(texts: Sequence[str]) -> tuple[Mask, Integers, NDArray[np.uint64]]:
    """(rows) what is surely no fragment, since too few of its grams occur twice; and as `hashed` gives them, the grams of all others,
    wherever they occur. Grams are counted in buckets, so some that occur once seem to occur twice: more is looked at than needs be."""
    sizes = np.array([max(len(text) - GRAM + 1, 0) for text in texts], dtype=np.int64)
    bits = min(max(int(sizes.sum()), 1).bit_length() + 1, 32)
    seen, twice = np.zeros(1 << bits, dtype=bool), np.zeros(1 << bits, dtype=bool)
    parts = list(chunks([len(text) for text in texts]))
    buckets = []
    for start, stop in parts:
        found = (hashed(texts[start:stop], GRAM)[1] >> np.uint64(64 - bits)).astype(np.uint32)
        ordered = np.sort(found)
        twice[ordered[1:][ordered[1:] == ordered[:-1]]] = True
        twice[found[seen[found]]] = True
        seen[found] = True
        buckets.append(found)
    alone = np.ones(len(texts), dtype=bool)
    wanted = seen  # not needed any more
    wanted[:] = False
    for (start, stop), found in zip(parts, buckets, strict=True):
        owners = np.repeat(np.arange(start, stop), sizes[start:stop])
        counts = np.bincount(owners[twice[found]] - start, minlength=stop - start)
        alone[start:stop] = (sizes[start:stop] == 0) | (counts < HELD * sizes[start:stop])
        wanted[found[~alone[owners]]] = True
    kept: list[tuple[Integers, NDArray[np.uint64]]] = [(np.zeros(0, np.int64), np.zeros(0, np.uint64))]
    for (start, stop), found in zip(parts, buckets, strict=True):
        needed = wanted[found]
        if needed.any():
            owners, hashes = hashed(texts[start:stop], GRAM)
            kept.append((owners[needed] + start, hashes[needed]))
    return alone, np.concatenate([owners for owners, _ in kept]), np.concatenate([hashes for _, hashes in kept])


def short_inside(needles: Sequence[str], texts: Sequence[str]) -> tuple[Mask, Mask]:
    """Which needles (canonical, shorter than a gram) stand in a longer text, and which texts hold such a needle."""
    found, holding = np.zeros(len(needles), dtype=bool), np.zeros(len(texts), dtype=bool)
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    for size in sorted({len(needle) for needle in needles} - {0}):
        numbers = [number for number, needle in enumerate(needles) if len(needle) == size]
        _, sought = hashed([needles[number] for number in numbers], size)
        owners, hashes = hashed(texts, size)
        hits = np.isin(hashes, sought) & (lengths[owners] > size)
        found[numbers] = np.isin(sought, hashes[hits])
        holding[owners[hits]] = True
    return found, holding


# Fixed odd numbers; the hashes are never stored.
_FACTORS = np.random.default_rng(GRAM).integers(1 << 63, size=GRAM, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def hashed(texts: Sequence[str], size: int) -> tuple[Integers, NDArray[np.uint64]]:
    """Every run of `size` characters inside a text, in order: the number of the text, and the hash of the run."""
    characters = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    runs = max(len(characters) - size + 1, 0)
    hashes = np.zeros(runs, dtype=np.uint64)
    for place in range(size):
        hashes += characters[place : place + runs] * _FACTORS[place]
    inside = owners[:runs] == owners[size - 1 : size - 1 + runs]
    return owners[:runs][inside], hashes[inside]


def chunks(lengths: Sequence[int] | Integers) -> Iterator[tuple[int, int]]:
    """Ranges of rows that hold about 200 characters a row of `CHUNK` together, or one row."""
    ends = np.cumsum(np.asarray(lengths, dtype=np.int64))
    start = 0
    while start < len(ends):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + 200 * CHUNK, side="right")))
        yield start, stop
        start = stop


def distinct(values: Integers) -> Integers:
    """The distinct values, sorted. (`np.unique` hashes, and numbers that are laid out by a stride collide there.)"""
    values = np.sort(values)
    return values[np.concatenate([[True], values[1:] != values[:-1]])] if len(values) else values


def offsets(lengths: Integers) -> Integers:
    """Where each of several runs of these lengths, laid end to end, starts; and where the last ends."""
    return np.concatenate([[0], np.cumsum(lengths)])


def ranges(starts: Integers, stops: Integers) -> Integers:
    """The numbers of several ranges, end to end."""
    places = offsets(stops - starts)
    return np.arange(places[-1]) + np.repeat(starts - places[:-1], stops - starts)
