"""Texts -> clusters of near duplicates, in time that grows with the rows and never with their square.

A text is the set of its runs of `GRAM` characters (shingles); two are near duplicates from a Jaccard similarity of `threshold`
on. MinHash signatures (Broder 1997) agree in a share of their places that estimates it, and locality-sensitive hashing in bands
(Indyk and Motwani 1998; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, 3.4) finds the pairs that are worth a look.
Each of those is then held to its true similarity, so no pair is found that is none; at most `MISSED` of the pairs at the very
threshold, and next to none above it, are overlooked.

Where a bucket holds many rows (a form letter, say) a row is not compared with all of them but with the first and with its
neighbours when the bucket is ordered by the rest of the signatures (the sorted neighbourhood of Hernández and Stolfo 1995); and
of all its likely pairs only the likeliest are looked at.

Knows canonical texts only. Texts shorter than a gram resemble nothing. Holds the signatures of all rows in memory.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from yanmo.text.dedup import CHUNK, GRAM, Integers, chunks, distinct, hashed, offsets, ranges

PERMUTATIONS = 128  # at most; 4 bytes of a row's signature each
MISSED = 0.02  # the chance that a pair at the very threshold shares no bucket
NEIGHBOURS = 4  # with how many rows of one bucket the estimate of a row is made
LOOKS = 8  # with how many rows, those of the best estimates, a row is truly compared
_DOUBT = 2.5  # standard deviations by which an estimate may lie below the threshold

Pairs = NDArray[np.int64]  # (pairs, 2) row numbers, the smaller one first


def bands(threshold: float) -> tuple[int, int]:
    """(bands, rows of each): the longest bands, hence the fewest idle looks, that overlook at most `MISSED` at the threshold."""
    chosen = (PERMUTATIONS, 1)
    for rows in range(1, PERMUTATIONS + 1):
        shared = threshold**rows
        needed = 1 if shared == 1 else math.ceil(math.log(MISSED) / math.log1p(-shared))
        if needed * rows > PERMUTATIONS:
            break
        chosen = (needed, rows)
    return chosen


def clusters(texts: Sequence[str], threshold: float) -> Integers:
    """(rows) the number of the first row of each row's cluster; its own for a row that resembles none."""
    return joined(near_pairs(texts, threshold), len(texts))


def near_pairs(texts: Sequence[str], threshold: float) -> Pairs:
    """Pairs of near duplicates, sorted: enough of them to connect every cluster, and all of a row that resembles few others."""
    count, rows = bands(threshold)
    signs, sizes = signatures(texts, count * rows)
    found = []
    for band in range(count):
        keys = _mixed(signs[:, band * rows : (band + 1) * rows])
        after = signs[:, np.arange(band + 1, band + 3) * rows % (count * rows)]  # what orders a crowded bucket
        found.append(_bucket_pairs(keys, after, sizes))
    first, second = _promising(distinct(np.concatenate(found)), signs, threshold)
    alike = similarities(texts, first, second) >= threshold
    return np.stack([first, second], axis=1)[alike]


def signatures(texts: Sequence[str], permutations: int) -> tuple[NDArray[np.uint32], Integers]:
    """(rows, permutations) the smallest value that each permutation gives to a row's grams; and (rows) how many grams it has.

    A permutation is x -> a x + b modulo 2**32 with an odd a, of the upper half of the mixed 64-bit hash of a gram.
    """
    drawn = np.random.default_rng(0).integers(1 << 32, size=(2, permutations), dtype=np.uint32)
    factors, terms = drawn[0] | np.uint32(1), drawn[1]
    signs = np.full((len(texts), permutations), np.iinfo(np.uint32).max, dtype=np.uint32)
    sizes = np.zeros(len(texts), dtype=np.int64)
    for start, stop in chunks([len(text) for text in texts]):
        owners, hashes = hashed(texts[start:stop], GRAM)
        counts = np.bincount(owners, minlength=stop - start)
        sizes[start:stop] = counts
        having = np.flatnonzero(counts)
        if not having.size:
            continue
        starts = offsets(counts[having])[:-1]
        grams = (_finalised(hashes) >> np.uint64(32)).astype(np.uint32)
        values = np.empty_like(grams)
        for place in range(permutations):
            np.multiply(grams, factors[place], out=values)
            values += terms[place]
            signs[start + having, place] = np.minimum.reduceat(values, starts)
    return signs, sizes


def similarities(texts: Sequence[str], first: Integers, second: Integers) -> NDArray[np.float64]:
    """(pairs) the true Jaccard similarity of texts[first] and texts[second]."""
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    found = np.zeros(len(first), dtype=np.float64)
    for start, stop in chunks(lengths[first] + lengths[second]):
        rows, places = np.unique(np.concatenate([first[start:stop], second[start:stop]]), return_inverse=True)
        owners, hashes = hashed([texts[row] for row in rows], GRAM)
        _, numbers = np.unique(hashes, return_inverse=True)
        span = len(hashes) + 1
        own = distinct(owners * span + numbers)
        sizes = np.bincount(own // span, minlength=len(rows))
        bounds, grams = offsets(sizes), own % span
        pair_sizes = sizes[places]
        pairs = np.repeat(np.tile(np.arange(stop - start), 2), pair_sizes)
        keys = np.sort(pairs * span + grams[ranges(bounds[places], bounds[places + 1])])
        shared = np.bincount(keys[1:][keys[1:] == keys[:-1]] // span, minlength=stop - start)
        either = pair_sizes[: stop - start] + pair_sizes[stop - start :] - shared
        found[start:stop] = shared / np.maximum(either, 1)
    return found


def joined(pairs: Pairs, rows: int) -> Integers:
    """(rows) the smallest number among all rows that `pairs` connect with a row: union-find over arrays, where every root takes
    the smallest root that it meets, and paths are halved until nothing changes."""
    root = np.arange(rows)
    while True:
        ends = root[pairs]
        low, high = ends.min(axis=1), ends.max(axis=1)
        if (low == high).all():
            return root
        np.minimum.at(root, high, low)
        while (root[root] != root).any():
            root = root[root]


def _bucket_pairs(keys: NDArray[np.uint64], after: NDArray[np.uint32], sizes: Integers) -> Integers:
    """The pairs of rows of equal keys, as first * rows + second: all pairs of a small bucket; of a crowded one each row with the
    first row and with the `NEIGHBOURS` before it."""
    order = np.argsort(keys)
    order = order[sizes[order] > 0]
    differs = np.ones(len(order) + 1, dtype=bool)  # from the one before
    differs[1:-1] = keys[order[1:]] != keys[order[:-1]]
    order = order[~(differs[:-1] & differs[1:])]  # most rows are alone in their bucket
    order = order[np.lexsort((order, *after[order].T, keys[order]))]
    keys = keys[order]
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    heads = np.repeat(begins, np.diff(np.append(begins, len(keys))))
    places = np.arange(len(keys))
    leaders = np.minimum.reduceat(order, begins)[np.searchsorted(begins, heads)] if len(keys) else order
    couples = [(leaders, order)]
    for step in range(1, NEIGHBOURS + 1):
        later = places[places - step >= heads]
        if not later.size:
            break
        couples.append((order[later - step], order[later]))
    one, other = (np.concatenate(side) for side in zip(*couples, strict=True))
    low, high = np.minimum(one, other), np.maximum(one, other)
    return distinct((low * len(sizes) + high)[low < high])


def _promising(pairs: Integers, signs: NDArray[np.uint32], threshold: float) -> tuple[Integers, Integers]:
    """The pairs whose signatures agree often enough, and that are among the `LOOKS` best of one of their rows."""
    rows, permutations = signs.shape
    first, second = np.divmod(pairs, max(rows, 1))
    agreed = np.zeros(len(pairs), dtype=np.int64)
    for start in range(0, len(pairs), CHUNK):
        part = slice(start, start + CHUNK)
        agreed[part] = np.count_nonzero(signs[first[part]] == signs[second[part]], axis=1)
    least = threshold - _DOUBT * math.sqrt(threshold * (1 - threshold) / permutations)
    likely = agreed >= least * permutations
    first, second, agreed = first[likely], second[likely], agreed[likely]
    owners = np.concatenate([first, second])
    order = np.lexsort((np.tile(-agreed, 2), owners))
    ranks = np.empty(len(owners), dtype=np.int64)
    ranks[order] = np.arange(len(owners)) - np.searchsorted(owners[order], owners[order])
    best = (ranks < LOOKS).reshape(2, -1).any(axis=0)
    return first[best], second[best]


def _mixed(columns: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """(rows) one 64-bit key for the values of each row."""
    keys = np.zeros(len(columns), dtype=np.uint64)
    for column in columns.T:
        keys = _finalised(keys ^ column)
    return keys


def _finalised(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every bit of each value depends on all its bits (the finaliser of splitmix64, Steele et al. 2014; 0 never stays 0)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
