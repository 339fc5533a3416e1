"""Rows -> parts, by the hash of the text: the same text always falls into the same part, whatever other rows there are.

Also counts what of a test set stands in training, and divides (`divide`) rows of which some belong together and some were divided before.
Knows the first text of a row and its labels. Knows nothing of files.
"""

import hashlib
import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate, compress
from typing import Any

import numpy as np

from yanmo.errors import DataError, SettingsError
from yanmo.text.clean import canonical, canonical_each
from yanmo.text.dedup import GRAM, Grams, Mask, short_inside
from yanmo.text.sources import Example


def position(text: str) -> float:
    """Where a row with this text stands between 0 and 1: the BLAKE2b hash (8 bytes, big-endian) of its canonical form, / 2**64."""
    return int(key(text), 16) / 2**64


def positions(texts: Sequence[str]) -> np.ndarray:
    """(texts,) float64, the same of each."""
    digests = b"".join([hashlib.blake2b(text.encode(), digest_size=8).digest() for text in canonical_each(texts)])
    return np.frombuffer(digests, ">u8").astype(np.float64) / 2**64


def key(text: str) -> str:
    """Of a text's canonical form: equal for texts that are equal but for case, width, spaces and punctuation."""
    return hashlib.blake2b(canonical(text).encode(), digest_size=8).hexdigest()


def check_shares(parts: Mapping[str, float]) -> None:
    """Raise SettingsError unless the shares are positive and add up to 1."""
    if any(share <= 0 for share in parts.values()) or not math.isclose(sum(parts.values()), 1, abs_tol=1e-6):
        raise SettingsError(
            f"division.parts: the shares must be positive and add up to 1, as {{train: 0.8, test: 0.2}} do (given: {dict(parts)})"
        )


def place_of(key: str, parts: Mapping[str, float]) -> str:
    """The part in whose interval a key stands."""
    return list(parts)[bisect_right(list(accumulate(parts.values()))[:-1], int(key, 16) / 2**64)]


def split(examples: Sequence[Example], parts: Mapping[str, float], *, text: int = 0) -> dict[str, list[Example]]:
    """The rows of each part, in their order. `parts` gives each part's share; the parts are consecutive intervals of
    `position`, so rows never move when rows are added, and rows of one canonical text stay together. text: which of a row's it is.

    Raises SettingsError unless the shares are positive and add up to 1.
    """
    check_shares(parts)
    rows: dict[str, list[Example]] = {name: [] for name in parts}
    for example in examples:
        rows[place_of(key(example.texts[text]), parts)].append(example)
    return rows


def held_out(examples: Sequence[Example], share: float, *, text: int = 0) -> tuple[list[Example], list[Example]]:
    """(the rows to learn from, the rows held out): `split`, unless the rows are what is left of such a division, so that hardly one stands
    in its first interval. Then the hash of the hash decides."""
    parts = {"dev": share, "train": 1 - share}
    found = split(examples, parts, text=text)
    if len(found["dev"]) < share / 2 * len(examples):
        found = {name: [] for name in parts}
        for example in examples:
            found[place_of(key(key(example.texts[text])), parts)].append(example)
    return found["train"], found["dev"]


def first_per_label(examples: Sequence[Example], count: int) -> list[Example]:
    """The first `count` rows of each label in the order of `position`, the labels mixed: a balanced test set.

    An added row can push out the last row of its label, and no other. Raises DataError naming each label that is short.
    """
    groups: dict[tuple[str, ...], list[Example]] = defaultdict(list)
    chosen = []
    for example in sorted(examples, key=lambda example: position(example.texts[0])):
        group = groups[example.labels]
        group.append(example)
        if len(group) <= count:
            chosen.append(example)
    short = [f"{'+'.join(labels)}: {len(rows)}" for labels, rows in sorted(groups.items()) if len(rows) < count]
    if short or not groups:
        raise DataError(
            f"need {count} rows of each label, found {', '.join(short) or 'none'}. Ask for fewer, or enlarge the part."
        )
    return chosen


def leaks(train: Sequence[Example], test: Sequence[Example]) -> dict[str, int]:
    """How many test rows stand in training: `exact` in canonical form, else as `near` duplicates, else as `fragments`
    of a training row, or with one as their fragment. The measures are those of `dedup`; empty rows are not counted.
    """
    tests = [text for example in test if (text := canonical(example.texts[0]))]
    trains = {text for example in train if (text := canonical(example.texts[0]))}
    others = [text for text in tests if text not in trains]
    texts = [*others, *trains]
    in_test = np.arange(len(texts)) < len(others)
    in_train = ~in_test
    grams = Grams(texts)
    near = np.zeros(len(texts), dtype=bool)
    fragments = np.zeros(len(texts), dtype=bool)
    for row in range(len(others)):
        near[row] = grams.near(row, in_train).size > 0
        fragments[row] = grams.holders(row, in_train).size > 0
    for row in range(len(others), len(texts)):
        fragments[grams.holders(row, in_test)] = True
    fragments |= _short(texts, in_test)
    return {"exact": len(tests) - len(others), "near": int(near.sum()), "fragments": int((fragments & ~near).sum())}


def _short(texts: Sequence[str], in_test: Mask) -> Mask:
    """The test rows that are too short to have grams and stand in a training row, or that hold such a training row."""
    short = np.array([len(text) < GRAM for text in texts], dtype=bool)
    inside, holding = np.zeros(len(texts), dtype=bool), np.zeros(len(texts), dtype=bool)
    for needles, others in ((short & in_test, ~in_test), (short & ~in_test, in_test)):
        found, held = short_inside(list(compress(texts, needles)), list(compress(texts, others)))
        inside[needles], holding[others] = found, held
    return in_test & (inside | holding)


# ---- parts that stay


Parts = list[str | None]


def divide(
    keys: Sequence[str],
    clusters: Sequence[Hashable],
    shares: Mapping[str, float],
    known: Mapping[str, str],
    *,
    strata: Sequence[str] | None = None,
    times: Sequence[Any] | None = None,
    cuts: Sequence[Any] | None = None,
) -> Parts:
    """The part of each row; None for a row that is set aside, because it would join rows that were put into different parts before.

    keys: of the texts, equal for equal texts. known: key -> part, from before. By default a free cluster goes where its smallest key
    says. With strata (labels), the shares hold within each stratum, as near as whole clusters allow. With times, the earliest rows go to
    the first part; cuts: the times at which the later parts begin, from before.
    """
    check_shares(shares)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, cluster in enumerate(clusters):
        members[cluster].append(row)
    parts: Parts = [known.get(key) for key in keys]
    free: list[list[int]] = []
    for rows in members.values():
        before = {part for row in rows if (part := parts[row]) is not None}
        if len(before) == 1:
            [part] = before
            for row in rows:
                parts[row] = part
        elif not before:
            free.append(rows)
    if times is not None:
        chosen = _by_time(free, times, shares, cuts if cuts is not None else begins(times, shares))
    elif strata is not None:
        chosen = _by_stratum(free, keys, strata, shares, parts)
    else:
        chosen = [place_of(min(keys[row] for row in rows), shares) for rows in free]
    for rows, part in zip(free, chosen, strict=True):
        for row in rows:
            parts[row] = part
    return parts


def begins(times: Sequence[Any], shares: Mapping[str, float]) -> list[Any]:
    """The times at which the second and later parts begin, when the rows in the order of time are cut by their shares."""
    order = sorted(times)
    return [order[min(len(order) - 1, round(edge * len(order)))] for edge in list(accumulate(shares.values()))[:-1]]


def _by_time(
    free: Sequence[list[int]], times: Sequence[Any], shares: Mapping[str, float], cuts: Sequence[Any]
) -> list[str]:
    """A cluster goes where its earliest row belongs, so that no later part repeats an earlier one."""
    names = list(shares)
    return [names[bisect_right(cuts, min(times[row] for row in rows))] for rows in free]


def _by_stratum(
    free: Sequence[list[int]], keys: Sequence[str], strata: Sequence[str], shares: Mapping[str, float], parts: Parts
) -> list[str]:
    """The largest clusters first, each to the part that lacks most of the stratum which most of its rows are of."""
    stratum = [Counter(strata[row] for row in rows).most_common(1)[0][0] for rows in free]
    there = Counter((label, part) for label, part in zip(strata, parts, strict=True) if part is not None)
    total = Counter(label for label, part in zip(strata, parts, strict=True) if part is not None)
    held = Counter(parts)
    for label, rows in zip(stratum, free, strict=True):
        total[label] += len(rows)
    chosen = [""] * len(free)
    for unit in sorted(range(len(free)), key=lambda i: (-len(free[i]), min(keys[row] for row in free[i]))):
        label = stratum[unit]
        # Of several that lack as much, the one that lacks most of all: many labels of few rows are spread, too.
        chosen[unit] = max(
            shares,
            key=lambda part: (shares[part] * total[label] - there[label, part], shares[part] * len(parts) - held[part]),
        )
        there[label, chosen[unit]] += len(free[unit])
        held[chosen[unit]] += len(free[unit])
    return chosen
