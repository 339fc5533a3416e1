"""Tags of words <-> spans of words, in the schemes that people write them in, which are recognised from the rows.

    IOB1    I-ORG O I-PER I-PER    B- only where a span stands behind one of its type (Ramshaw & Marcus 1995)
    IOB2    B-ORG O B-PER I-PER    (Tjong Kim Sang & Veenstra 1999)
    BIOES   S-ORG O B-PER E-PER    BMES has M for I, BILOU L and U for E and S (Ratinov & Roth 2009)
    plain   NNP NN NNP NNP         a tag a word: its part of speech

Without types, as B M E S over the characters of a text, a scheme says where words begin and end (Xue 2003). A sequence that breaks its
scheme (I- behind O in IOB2, B- without its E- in BIOES, another type inside) is read as conlleval reads it: a span begins with its first
tag of a type, whatever its letter, and ends where the type does, before a B- or S-, or behind an E- or S-. Knows tags, no rows or files.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

# A scheme's letters: of a span's first word, of those within, of its last, and of a span of one word. The first of those that fit is taken.
SCHEMES = {
    "IOB2": ("B", "I", "I", "B"),
    "BIOES": ("B", "I", "E", "S"),
    "BMES": ("B", "M", "E", "S"),
    "BILOU": ("B", "I", "L", "U"),
    "IOB1": ("I", "I", "I", "I"),
}
PLAIN = "plain"
OUTSIDE = "O"
_FIRST, _LAST = "BSU", "ESLU"  # letters that a span surely begins or ends with, whatever the scheme
_AGAINST = {
    "IOB1": "B",
    "IOB2": "I",
}  # schemes that don't mark the end: the letter that needs a word of its span before it
_TAG = re.compile(r"O|[BIESMLU](-\S+)?")


class Span(NamedTuple):
    type: str  # "" where the scheme is without types
    start: int  # of the words, the first one
    end: int  # the one behind the last


class Break(NamedTuple):
    """Where a sequence breaks its scheme."""

    row: int
    place: int  # of the word in its row, from 0
    reason: str


def fits(tag: str) -> bool:
    """Whether a tag is of some scheme: O, or a letter with a type or without one."""
    return bool(_TAG.fullmatch(tag))


def recognise(rows: Iterable[Sequence[str]]) -> str:
    """The scheme of some rows' tags: the key of SCHEMES that they break least, or PLAIN where most of them fit none."""
    pairs = _pairs(rows)
    tags = {tag: fits(tag) for _, tag in pairs if tag is not None}
    fitting = sum(count if tags[tag] else -count for (_, tag), count in pairs.items() if tag is not None)
    if fitting < 0:
        return PLAIN
    broken = {scheme: sum(count for pair, count in pairs.items() if not follows(scheme, *pair)) for scheme in SCHEMES}
    return min(broken, key=broken.__getitem__)


def scheme_of(labels: Iterable[str]) -> str:
    """The scheme that a model's labels are all tags of; IOB1, which allows most, where they are some tags of one, else PLAIN."""
    known = {*labels}
    if not all(map(fits, known)):
        return PLAIN
    types = {part(tag)[1] for tag in known - {OUTSIDE}}
    complete = (scheme for scheme in SCHEMES if {*tag_set(types, scheme), OUTSIDE} == known | {OUTSIDE})
    return next(complete, "IOB1")


def tag_set(types: Iterable[str], scheme: str) -> list[str]:
    """All tags of these types but O, in a stable order."""
    letters = dict.fromkeys(("B", *SCHEMES[scheme]))
    return [_tag(letter, kind) for kind in sorted(types) for letter in letters]


def _pairs(rows: Iterable[Sequence[str]]) -> Counter[tuple[str | None, str | None]]:
    """How often a tag stands behind another; None stands for the edges of a row."""
    found: Counter[tuple[str | None, str | None]] = Counter()
    for row in rows:
        found.update(pairwise([None, *row, None]))
    return found


def part(tag: str) -> tuple[str, str]:
    """A tag's letter and type: B-PER -> B, PER."""
    letter, _, kind = tag.partition("-")
    return letter, kind


def _tag(letter: str, kind: str) -> str:
    return f"{letter}-{kind}" if kind else letter


def follows(scheme: str, before: str | None, after: str | None) -> bool:
    """Whether a tag may stand behind another in a scheme; None is the edge of a row. In PLAIN any may."""
    if scheme == PLAIN:
        return True
    (was, of), (letter, kind) = (part(tag or OUTSIDE) for tag in (before, after))
    first, inside, last, single = SCHEMES[scheme]
    if letter not in {OUTSIDE, "B", first, inside, last, single}:
        return False
    if scheme in _AGAINST:
        return letter != _AGAINST[scheme] or (was != OUTSIDE and kind == of)
    unfinished = was in (first, inside)
    return (letter in (inside, last)) == unfinished and (kind == of or not unfinished)


def breaks(rows: Iterable[Sequence[str]], scheme: str) -> Iterator[Break]:
    """Where rows of tags break their scheme, in their order."""
    legal: dict[tuple[str | None, str | None], bool] = {}
    for number, row in enumerate(rows):
        for place, pair in enumerate(pairwise([None, *row, None])):
            if pair not in legal:
                legal[pair] = follows(scheme, *pair)
            if not legal[pair]:
                before, after = pair
                behind = "at the beginning" if before is None else f"behind {before}"
                reason = f"{after} {behind}" if after is not None else f"{before} at the end"
                yield Break(number, min(place, len(row) - 1), reason)


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans of a row in any scheme but PLAIN, a broken one as conlleval reads it."""
    found: list[Span] = []
    start, open_type = 0, None  # of the span that is not finished yet; None: there is none
    for place, tag in enumerate(tags):
        letter, kind = part(tag)
        if open_type is not None and (letter == OUTSIDE or letter in _FIRST or kind != open_type):
            found.append(Span(open_type, start, place))
            open_type = None
        if letter == OUTSIDE:
            continue
        if open_type is None:
            start, open_type = place, kind
        if letter in _LAST:
            found.append(Span(kind, start, place + 1))
            open_type = None
    return found if open_type is None else [*found, Span(open_type, start, len(tags))]


def written(spans: Iterable[Span], length: int, scheme: str) -> list[str]:
    """The tags of a row of `length` words with these spans, which don't overlap."""
    first, inside, last, single = SCHEMES[scheme]
    tags = [OUTSIDE] * length
    ended: tuple[str, int] | None = None
    for kind, start, end in sorted(spans, key=lambda span: span.start):
        letters = [single] if end - start == 1 else [first, *[inside] * (end - start - 2), last]
        if scheme == "IOB1" and ended == (kind, start):
            letters[0] = "B"
        tags[start:end] = [_tag(letter, kind) for letter in letters]
        ended = (kind, end)
    return tags


def converted(tags: Sequence[str], scheme: str) -> list[str]:
    """A row's tags in another scheme, mended where they were broken."""
    return written(spans(tags), len(tags), scheme)


def segmented(words: Iterable[str], kinds: Iterable[str] | None = None) -> tuple[list[str], list[str]]:
    """Words -> their characters and these's tags in BMES. kinds: of each word, such as its part of speech, to be its type."""
    words = list(words)
    characters = [character for word in words for character in word]
    found: list[Span] = []
    for word, kind in zip(words, [""] * len(words) if kinds is None else kinds, strict=True):
        start = found[-1].end if found else 0
        found.append(Span(kind, start, start + len(word)))
    return characters, written(found, len(characters), "BMES")
