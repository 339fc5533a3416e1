"""Hand-made features of words and of characters, and a linear chain over them: what a network that tags must beat.

The chain is a CRF by `python-crfsuite` (Okazaki 2007), or, where that is not installed, an averaged structured perceptron (Collins 2002,
https://aclanthology.org/W02-1001). Both are made of the same strings, a list of them for each word.
"""

import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from yanmo.errors import optional
from yanmo.tasks.units import are_characters

Row = Sequence[str]  # the words, or the tags, of a row
Features = Callable[[Row], Iterator[list[str]]]  # the words of a row -> the features of each
Tagger = Callable[[Row], list[str]]  # the words of a row -> a tag for each
_ITERATIONS = 100
_WORDS = 400_000  # that the CRF learns from, in about two minutes on one core
_PASSES, _STEPS = 8, 1_600_000  # of the perceptron: over the rows, at most, and words that it may see
_CHINESE = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# What a character is -> how a shape writes it; each stands once for a run of its kind.
_SHAPES = [
    (re.compile(f"[{_CHINESE}]+"), "汉"),
    (re.compile(r"\d+"), "0"),
    (re.compile(r"[^\W\d_汉a-z]*[A-Z][^\W\d_汉a-z]*"), "A"),
    (re.compile(r"[^\W\d_汉A]+"), "a"),
]
_EDGE = "\n"  # before the first word and behind the last one


# ---- features


@lru_cache(maxsize=1 << 17)
def _shape(word: str) -> str:
    """McDonald -> AaAa, 1998 -> 0, 江泽民 -> 汉."""
    for kind, sign in _SHAPES:
        word = kind.sub(sign, word)
    return word[:12]


@lru_cache(maxsize=1 << 17)
def _of_word(word: str) -> tuple[str, ...]:
    """What a word says by itself."""
    lower = word.lower()
    ends = range(1, min(4, len(word)) + 1)
    pieces = (f"{sign}{piece}" for size in ends for sign, piece in (("<", lower[:size]), (">", lower[-size:])))
    return (f"=0{lower}", f"==0{word}", f"#0{_shape(word)}", *pieces)


def word_features(row: Row) -> Iterator[list[str]]:
    """Words: itself, its shape, its first and last 1 to 4 characters, its neighbours (Ratnaparkhi 1996; Ratinov & Roth 2009)."""
    words = [_EDGE, _EDGE, *row, _EDGE, _EDGE]
    lower = [word.lower() for word in words]
    shapes = [_shape(word) for word in words]
    for i, word in enumerate(row, 2):
        yield [
            *_of_word(word),
            *(f"={step}{lower[i + step]}" for step in (-2, -1, 1, 2)),
            *(f"#{step}{shapes[i + step]}" for step in (-1, 1)),
            f"=-1,0{lower[i - 1]}{_EDGE}{lower[i]}",
            f"=0,1{lower[i]}{_EDGE}{lower[i + 1]}",
            f"#-1,0,1{shapes[i - 1]}{_EDGE}{shapes[i]}{_EDGE}{shapes[i + 1]}",
        ]


def character_features(row: Row) -> Iterator[list[str]]:
    """Characters: those within two places, runs of two and three of them, and their kinds (Ng & Low 2004; Peng & Dredze 2015)."""
    signs = [_EDGE, _EDGE, *row, _EDGE, _EDGE]
    kinds = [_shape(sign) for sign in signs]
    for i in range(2, len(row) + 2):
        yield [
            f"=0{signs[i]}",
            *(f"={first},{last}{''.join(signs[i + first : i + last + 1])}" for first, last in _RUNS),
            f"=-1,1{signs[i - 1]}{signs[i + 1]}",
            f"#{kinds[i - 1]}{kinds[i]}{kinds[i + 1]}",
        ]


_RUNS = [(-2, -2), (-1, -1), (1, 1), (2, 2), (-2, -1), (-1, 0), (0, 1), (1, 2), (-2, 0), (-1, 1), (0, 2)]

# ---- learning


def features(rows: Sequence[Row]) -> Features:
    """Those of characters where nearly all words are single ones, else those of words."""
    return character_features if are_characters(rows) else word_features


def commonest(rows: Sequence[Row], tags: Sequence[Row]) -> Tagger:
    """Each word's commonest tag; of a word that was never seen the commonest of all."""
    counts: dict[str, Counter[str]] = {}
    every: Counter[str] = Counter()
    for row, truth in zip(rows, tags, strict=True):
        every.update(truth)
        for word, tag in zip(row, truth, strict=True):
            counts.setdefault(word, Counter())[tag] += 1
    best = {word: count.most_common(1)[0][0] for word, count in counts.items()}
    usual = every.most_common(1)[0][0]
    return lambda row: [best.get(word, usual) for word in row]


def crf(rows: Sequence[Row], tags: Sequence[Row]) -> Tagger:
    """Learnt by L-BFGS with L1 and L2 of 0.1. Of very many rows every second, third ... one is enough: fewer iterations over all of them
    would be far worse. Raises MissingExtra without python-crfsuite."""
    library: Any = optional("pycrfsuite", "crf")
    extract = features(rows)
    trainer = library.Trainer(verbose=False)
    every = -(-sum(map(len, rows)) // _WORDS) or 1
    for row, truth in zip(rows[::every], tags[::every], strict=True):
        trainer.append(list(extract(row)), list(truth))
    trainer.set_params({"c1": 0.1, "c2": 0.1, "max_iterations": _ITERATIONS})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        trainer.train(str(path))
        content = path.read_bytes()
    tagger = library.Tagger()
    tagger.open_inmemory(content)

    def answer(row: Row, content: bytes = content) -> list[str]:  # the library keeps no copy of the content
        found: list[str] = tagger.tag(list(extract(row)))
        return found

    return answer


def perceptron(rows: Sequence[Row], tags: Sequence[Row]) -> Tagger:
    """Learnt in a few passes over the rows in an order drawn anew; the weights are those of all steps on average."""
    extract = features(rows)
    numbers = {tag: number for number, tag in enumerate(sorted({tag for truth in tags for tag in truth}))}
    truths = [np.array([numbers[tag] for tag in truth], np.int64) for truth in tags]
    known = _known(map(extract, rows), 2 if len(rows) >= 1000 else 1)
    ids = [_ids(extract(row), known) for row in rows]
    # The last row of weights belongs to features that are not known, and stays 0; in those of pairs the last one is the row's beginning.
    weights, pairs = (
        np.zeros((len(known) + 1, len(numbers)), np.float32),
        np.zeros((len(numbers) + 1, len(numbers)), np.float32),
    )
    sums, pair_sums = np.zeros_like(weights), np.zeros_like(pairs)
    passes = min(_PASSES, max(1, _STEPS // max(1, sum(map(len, rows)))))
    generator = np.random.default_rng(0)
    order = np.concatenate([generator.permutation(len(rows)) for _ in range(passes)])
    for step, row in enumerate(order[[len(rows[number]) > 0 for number in order]]):
        truth = truths[row]
        guess = _best(weights[ids[row]].sum(1), pairs)
        for place in np.flatnonzero(guess != truth):
            for tag, change in ((truth[place], 1), (guess[place], -1)):
                weights[ids[row][place], tag] += change
                sums[ids[row][place], tag] += step * change
        if (guess != truth).any():
            weights[-1] = sums[-1] = 0
            for path, change in ((truth, 1), (guess, -1)):
                places = np.concatenate([[-1], path[:-1]]), path
                np.add.at(pairs, places, change)
                np.add.at(pair_sums, places, step * change)
    weights -= sums / len(order)
    pairs -= pair_sums / len(order)
    names = list(numbers)

    def answer(row: Row) -> list[str]:
        return [names[number] for number in _best(weights[_ids(extract(row), known)].sum(1), pairs)] if row else []

    return answer


def _known(rows: Iterable[Iterable[list[str]]], least: int) -> dict[str, int]:
    """The number of each feature that stands at `least` times in the rows."""
    counts = Counter(itertools.chain.from_iterable(itertools.chain.from_iterable(rows)))
    return {feature: number for number, feature in enumerate(name for name, count in counts.items() if count >= least)}


def _ids(words: Iterable[list[str]], known: Mapping[str, int]) -> np.ndarray:
    """(words, most features of one): their numbers, -1 for those that are not known and where there are fewer."""
    found = [[known.get(feature, -1) for feature in word] for word in words]
    ids = np.full((len(found), max(map(len, found), default=0)), -1, np.int32)
    for place, numbers in enumerate(found):
        ids[place, : len(numbers)] = numbers
    return ids


def _best(scores: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(words, tags), (tags + 1, tags): of one tag behind another -> (words,) the best tags (Viterbi 1967)."""
    behind = pairs[:-1]
    best, came = pairs[-1] + scores[0], []
    for score in scores[1:]:
        reached = best[:, None] + behind
        came.append(reached.argmax(0))
        best = reached.max(0) + score
    path = [int(best.argmax())]
    for tag in reversed(came):
        path.append(int(tag[path[-1]]))
    return np.array(path[::-1])


# The first one whose library is installed serves as the baseline.
TAGGERS: dict[str, Callable[[Sequence[Row], Sequence[Row]], Tagger]] = {"crf": crf, "perceptron": perceptron}


def available() -> str:
    return "crf" if find_spec("pycrfsuite") else "perceptron"
