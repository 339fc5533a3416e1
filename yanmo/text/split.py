"""Rows -> parts, by the hash of the text: the same text always falls into the same part, whatever other rows there are.

Also counts what of a test set stands in training. Knows the first text of a row and its labels. Knows nothing of files.
"""

import hashlib
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, compress

import numpy as np

from yanmo.errors import DataError, SettingsError
from yanmo.text.clean import canonical
from yanmo.text.dedup import GRAM, Grams, Mask, short_inside
from yanmo.text.sources import Example


def position(example: Example) -> float:
    """Where a row stands between 0 and 1: the BLAKE2b hash (8 bytes, big-endian) of its canonical text, / 2**64."""
    return int(key(example.texts[0]), 16) / 2**64


def key(text: str) -> str:
    """Of a text's canonical form: equal for texts that are equal but for case, width, spaces and punctuation."""
    return hashlib.blake2b(canonical(text).encode(), digest_size=8).hexdigest()


def check_shares(parts: Mapping[str, float]) -> None:
    """Raise SettingsError unless the shares are positive and add up to 1."""
    if any(share <= 0 for share in parts.values()) or not math.isclose(sum(parts.values()), 1, abs_tol=1e-6):
        raise SettingsError(f"the shares of the parts must be positive and add up to 1 (given: {dict(parts)})")


def place_of(key: str, parts: Mapping[str, float]) -> str:
    """The part in whose interval a key stands."""
    return list(parts)[bisect_right(list(accumulate(parts.values()))[:-1], int(key, 16) / 2**64)]


def split(examples: Sequence[Example], parts: Mapping[str, float]) -> dict[str, list[Example]]:
    """The rows of each part, in their order. `parts` gives each part's share; the parts are consecutive intervals of
    `position`, so rows never move when rows are added, and rows of one canonical text stay together.

    Raises SettingsError unless the shares are positive and add up to 1.
    """
    check_shares(parts)
    rows: dict[str, list[Example]] = {name: [] for name in parts}
    for example in examples:
        rows[place_of(key(example.texts[0]), parts)].append(example)
    return rows


def first_per_label(examples: Sequence[Example], count: int) -> list[Example]:
    """The first `count` rows of each label in the order of `position`, the labels mixed: a balanced test set.

    An added row can push out the last row of its label, and no other. Raises DataError naming each label that is short.
    """
    groups: dict[tuple[str, ...], list[Example]] = defaultdict(list)
    chosen = []
    for example in sorted(examples, key=position):
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
