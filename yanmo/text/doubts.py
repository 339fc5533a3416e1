"""Labelled rows -> what looks like a mistake in them, though they can be read: said before hours are spent on them.

What can't be meant (texts and labels in each other's place) is a DataError, the rest a line for people.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace

from yanmo.errors import DataError, some
from yanmo.text.clean import canonical_each
from yanmo.text.sources import Example

_SHOWN = 3
_RARE, _USUAL = 2, 20  # rows of a label that is doubted, where a label has this many on average
_MANY = 50  # labels; fewer may well have one row each
_DECIMAL = re.compile(r"([+-]?\d+)\.0+")


def find(
    parts: Mapping[str, Sequence[Example]],
    *,
    classes: bool = True,
    asked: Callable[[Example], Hashable] = lambda row: row.texts,
) -> list[str]:
    """Of the rows of train, dev and test. classes: are their labels classes, each of many rows? asked: what a row asks; one that is asked
    in two parts is a leak. Raises DataError for what can't be meant."""
    train = parts["train"]
    found = []
    if classes:
        _refuse_swapped(train)
        found += [*_alike(train), *_rare(train)]
    for name, rows in parts.items():
        if name != "train":
            found += _shared(train, rows, name, asked)
    return found


def _refuse_swapped(rows: Sequence[Example]) -> None:
    texts, labels = {row.texts for row in rows}, {row.labels for row in rows}
    if len(labels) <= _MANY and len(texts) >= len(labels):
        return
    where, seen = rows[0].file, f"{len(labels):,} different labels in {len(rows):,} rows"
    if len(texts) < len(labels):
        raise DataError(
            f"{where}: {seen}, but only {len(texts):,} different texts: are the columns in each other's place? "
            f"Name them: data.columns={{text: ..., label: ...}}"
        )
    if 2 * len(labels) > len(rows):
        raise DataError(
            f"{where}: {seen}: these are no classes, since most have one row ({_few(sorted(' '.join(each) for each in labels))}). "
            "Name the column of the labels: data.columns.label=..."
        )


def plain(label: str) -> str:
    """A label without what people write in one way or another: case, width, spaces, and the .0 that a table program adds."""
    text = "".join(unicodedata.normalize("NFKC", label).casefold().split())
    whole = _DECIMAL.fullmatch(text)
    return whole[1] if whole else text


def _alike(rows: Sequence[Example]) -> list[str]:
    counts = Counter(label for row in rows for label in row.labels)
    groups: dict[str, list[str]] = {}
    for label in counts:
        groups.setdefault(plain(label), []).append(label)
    return [
        f"{rows[0].file}: the labels {_counted(group, counts)} are taken for {len(group)} different ones; "
        "write them in one way if they are one"
        for group in groups.values()
        if len(group) > 1
    ]


def _rare(rows: Sequence[Example]) -> list[str]:
    counts = Counter(label for row in rows for label in row.labels)
    if len(rows) < _USUAL * len(counts):
        return []
    said = Counter(map(plain, counts))  # of labels that look alike more is said already
    rare = [label for label, count in counts.items() if count <= _RARE and said[plain(label)] == 1]
    places = [f"'{label}' ({next(row.where for row in rows if label in row.labels)})" for label in rare]
    return [f"labels with hardly a row to learn from: {_few(places)}; a slip of the pen?"] if rare else []


def _shared(
    train: Sequence[Example], rows: Sequence[Example], name: str, asked: Callable[[Example], Hashable]
) -> list[str]:
    both = [row for row, is_known in zip(rows, known(train, rows, asked), strict=True) if is_known]
    if not both:
        return []
    if len(both) == len(rows) and {row.where for row in rows} <= {row.where for row in train}:
        return [
            f"{rows[0].file}: the {name} rows are the training rows, so their score says nothing of new ones. "
            f"Leave data.{name} out, or divide the rows: yanmo data split {rows[0].file}"
        ]
    return [
        f"{len(both):,} of {len(rows):,} {name} rows stand in the training rows, too ({both[0].where}, for one), so their score "
        f"says little; `yanmo data inspect` shows more, and `yanmo data split` divides rows so that none stands in two parts"
    ]


def known(train: Sequence[Example], rows: Sequence[Example], asked: Callable[[Example], Hashable]) -> list[bool]:
    """Of each row whether what it asks is asked in training, too; texts that differ in case,
    width, spaces and punctuation only are one."""
    learnt = set(map(asked, _bare(train)))
    return [asked(row) in learnt for row in _bare(rows)]


def _bare(rows: Sequence[Example]) -> list[Example]:
    texts = [text for row in rows for text in row.texts]
    # A text of signs alone has no canonical form: it is compared as it stands.
    bare = iter([form or text for form, text in zip(canonical_each(texts), texts, strict=True)])
    return [replace(row, texts=tuple(next(bare) for _ in row.texts)) for row in rows]


def _counted(labels: Sequence[str], counts: Mapping[str, int]) -> str:
    return ", ".join(f"'{label}' ({some(counts[label], 'row')})" for label in labels)


def _few(words: Sequence[str]) -> str:
    shown = ", ".join(word[:40] for word in words[:_SHOWN])
    return f"{shown}, and {len(words) - _SHOWN:,} more" if len(words) > _SHOWN else shown
