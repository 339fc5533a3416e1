"""Spans of a type (entities, words): precision, recall and F1; tags -> spans, as forgiving or as strict as seqeval reads them.

A span is (row, from, to, type): `to` is the first token after it. Only equal spans are hits. Types are anything that can be compared.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from yanmo.errors import DataError, gather
from yanmo.tasks.metrics.counts import averages, by_label, ratio
from yanmo.tasks.metrics.significance import RESAMPLES, mean
from yanmo.tasks.metrics.significance import interval as bootstrap

Span = tuple[int, int, int, Any]

# When a span starts, goes on and ends, by the letters of a tag and of the one before it: "?" is any letter; "=" and "!" ask for the same
# and another type. M also stands for letters that nobody knows. The first table is how conlleval and seqeval read tags of any scheme, the
# others are what their scheme allows; a span that doesn't end as it must is none.
_FORGIVING = ("?B ?S EE EI SE SI OE OI ?I! ?E! ?M!", "", "E? S? BB BS BO IB IS IO B?! I?! M?!")
_BIOES = ("?B ?S", "BI= BE= II= IE=", "S? E?")
SCHEMES = {
    "iob1": ("OI II! BI IB= BB=", "BI= II=", "II! IO IB BO BI! BB="),
    "iob2": ("?B", "BI= II=", "IO II! IB BO BI! BB"),
    "bioes": _BIOES,
    "bmes": tuple(rules.replace("I", "M") for rules in _BIOES),
}
_LETTERS = "OBIESM."


def entities(
    truths: Collection[Span] | np.ndarray,
    guesses: Collection[Span] | np.ndarray,
    *,
    rows: int,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Spans of `rows` rows, in any order, as tuples or (spans, 4) -> micro, macro and weighted precision, recall and F1, and those of each
    type; `interval` is of micro F1, rows resampled."""
    found = [_as_set(truths), _as_set(guesses)]
    hits, guessed, true = (Counter(span[3] for span in each) for each in (found[0] & found[1], found[1], found[0]))
    types = sorted(true | guessed)
    counts = [np.array([each[kind] for kind in types], float) for each in (hits, guessed, true)]
    scores: dict[str, Any] = {"rows": rows} | averages(*counts)
    scores["interval"] = bootstrap(statistics(*found, rows=rows), score, seed=seed, resamples=resamples)
    scores["types"] = by_label([str(kind) for kind in types], *counts)
    return scores


def statistics(
    truths: Collection[Span] | np.ndarray, guesses: Collection[Span] | np.ndarray, *, rows: int
) -> np.ndarray:
    """Spans -> (rows, 3): hits, guessed, true of each row."""
    found = [_as_set(truths), _as_set(guesses)]
    every = (found[0] & found[1], found[1], found[0])
    return np.stack(
        [np.bincount(np.fromiter((span[0] for span in each), np.int64, len(each)), minlength=rows) for each in every], 1
    ).astype(float)


def score(sums: np.ndarray) -> np.ndarray:
    """(..., 3) -> (...) micro F1."""
    return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def tagging(
    truths: Sequence[Sequence[str]],
    guesses: Sequence[Sequence[str]],
    scheme: str | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Rows of tags -> `tokens`, their `accuracy`, and the scores of the entities that they spell (`scheme` as in `spans`)."""
    found = entities(spans(truths, scheme), spans(guesses, scheme), rows=len(truths), seed=seed, resamples=resamples)
    right, tokens = right_tokens(truths, guesses).sum(0)
    return found | {"tokens": int(tokens), "accuracy": float(ratio(right, tokens))}


def token_accuracy(
    truths: Sequence[Sequence[str]], guesses: Sequence[Sequence[str]], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Rows of tags that spell no spans (parts of speech) -> `tokens` and their `accuracy`; `interval` is of it, rows resampled."""
    counts = right_tokens(truths, guesses)
    right, tokens = counts.sum(0)
    return {
        "rows": len(truths),
        "tokens": int(tokens),
        "accuracy": float(ratio(right, tokens)),
        "interval": bootstrap(counts, mean, seed=seed, resamples=resamples),
    }


def right_tokens(truths: Sequence[Sequence[str]], guesses: Sequence[Sequence[str]]) -> np.ndarray:
    """(rows, 2): the tokens with the right tag, and all tokens of each row."""
    return np.array(
        [
            (sum(a == b for a, b in zip(true, guess, strict=True)), len(true))
            for true, guess in zip(truths, guesses, strict=True)
        ],
        float,
    )


def spans(tags: Sequence[Sequence[str]], scheme: str | None = None) -> list[Span]:
    """Rows of tags ("B-PER", "I-PER", "O", ...) -> spans, in order. Without a scheme any tags are read as conlleval reads them (seqeval's
    default), where an I- or E- that follows nothing begins a span; with one of SCHEMES only what is written as it asks is a span (seqeval's
    strict mode). Raises DataError for tags that a scheme doesn't know."""
    flat = [tag for row in tags for tag in (*row, "O")]
    if not flat:
        return []
    kinds = list(dict.fromkeys(flat))
    if scheme is not None:
        _check(kinds, scheme)
    numbers = {tag: number for number, tag in enumerate(kinds)}
    types = list(dict.fromkeys(_type(tag) for tag in kinds))
    letters = np.array([_letter(tag) for tag in kinds])
    of_type = np.array([types.index(_type(tag)) for tag in kinds])
    codes = np.fromiter(map(numbers.__getitem__, flat), np.int64, len(flat))
    letter, kind = letters[codes], of_type[codes]
    # Before the first tag stands none: its type is no other's.
    before, kind_before = (np.concatenate([[first], each[:-1]]) for first, each in ((0, letter), (-1, kind)))
    rules = _FORGIVING if scheme is None else SCHEMES[scheme]
    start, inside, end = (_table(each)[(kind_before != kind).astype(int), before, letter] for each in rules)
    starts, stops = _forgiving(start, end) if scheme is None else _strict(start, inside, end)
    offsets = np.concatenate([[0], np.cumsum([len(row) + 1 for row in tags])]).astype(np.int64)
    rows = np.searchsorted(offsets, starts, side="right") - 1
    columns = (rows, starts - offsets[rows], stops - offsets[rows], kind[stops - 1])
    return [
        (row, first, last, types[number])
        for row, first, last, number in zip(*(each.tolist() for each in columns), strict=True)
    ]


def _forgiving(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What ends began where a span last started, whatever stood between."""
    stops = np.flatnonzero(end)
    latest = np.maximum.accumulate(np.where(start, np.arange(len(start)), 0))
    return latest[stops - 1], stops


def _strict(start: np.ndarray, inside: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A span goes on as long as tags are inside; where it stops, it must end. Nothing starts inside of one."""
    starts, heads = np.flatnonzero(start), np.flatnonzero(~inside)
    chain = (~inside).cumsum()  # the same for a tag and those that go on from it
    starts = starts[np.unique(chain[starts], return_index=True)[1]]
    stops = heads[np.searchsorted(heads, starts, side="right")]
    return starts[end[stops]], stops[end[stops]]


def _check(kinds: Sequence[str], scheme: str) -> None:
    allowed = sorted(
        {letter for rules in SCHEMES[scheme] for pair in rules.split() for letter in pair[:2]} - {"?"} | {"O"}
    )
    gather(
        [f"'{tag}'" for tag in kinds if tag[0] not in allowed],
        f"tags that {scheme} doesn't know; they begin with {', '.join(allowed)}:",
        DataError,
    )


def _letter(tag: str) -> int:
    return _LETTERS.index(tag[0] if tag[0] in _LETTERS else "M")


def _type(tag: str) -> str:
    """What follows the letter and its hyphen; "_" where nothing does."""
    return tag[1:].split("-", 1)[-1] or "_"


def _table(rules: str) -> np.ndarray:
    """(2, letters, letters) booleans: the types are the same or not, the letter before, the letter."""
    table = np.zeros((2, len(_LETTERS), len(_LETTERS)), bool)
    for before, letter, *types in map(list, rules.split()):
        for other, sign in enumerate("=!"):
            if not types or types == [sign]:
                at = [slice(None) if each == "?" else _LETTERS.index(each) for each in (before, letter)]
                table[other, at[0], at[1]] = True
    return table


def _as_set(spans: Collection[Span] | np.ndarray) -> set[Span]:
    if isinstance(spans, set):
        return spans
    return set(map(tuple, spans.tolist() if isinstance(spans, np.ndarray) else spans))
