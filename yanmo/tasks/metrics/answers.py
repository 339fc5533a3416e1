"""Pieces of a text that answer a question: exact match and F1 as the scripts of SQuAD 1.1, SQuAD 2.0 and CMRC 2018 count them.

A measure takes a question's right answers and the guess and gives (exact, F1), the best over the right ones. No right answer means that
the text has none: then the guess "" is right, and nothing else. Scores are shares, not percent.
"""

import re
import string
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from yanmo.tasks.metrics.significance import RESAMPLES, mean
from yanmo.tasks.metrics.significance import interval as bootstrap

Measure = Callable[[Sequence[str], str], tuple[float, float]]


def answers(
    truths: Sequence[Sequence[str]],
    guesses: Sequence[str],
    measure: Measure,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """The means of `exact` and `f1` over all questions; where some have no answer, also over those that have one (`answerable`) and those
    that have none (`unanswerable`). `interval` is of F1."""
    found = np.array([measure(true, guess) for true, guess in zip(truths, guesses, strict=True)])
    has = np.array([bool(true) for true in truths])
    counts = np.stack([found[:, 1], np.ones(len(found))], 1)
    scores: dict[str, Any] = _means(found) | {"interval": bootstrap(counts, mean, seed=seed, resamples=resamples)}
    if not has.all():
        scores |= {
            name: _means(found[rows]) for name, rows in (("answerable", has), ("unanswerable", ~has)) if rows.any()
        }
    return scores


def statistics(truths: Sequence[Sequence[str]], guesses: Sequence[str], measure: Measure) -> np.ndarray:
    """(rows, 2): F1, 1. Their score is `significance.mean`."""
    return np.array([(measure(true, guess)[1], 1.0) for true, guess in zip(truths, guesses, strict=True)])


def _means(found: np.ndarray) -> dict[str, Any]:
    exact, f1 = found.mean(0)
    return {"rows": len(found), "exact": float(exact), "f1": float(f1)}


def squad1(truths: Sequence[str], guess: str) -> tuple[float, float]:
    """SQuAD 1.1 (Rajpurkar et al. 2016, https://aclanthology.org/D16-1264): words in common, however often each stands in both. Two texts
    of which nothing is left are equal and have none in common."""
    if not truths:
        return float(not guess), float(not guess)
    words = english(guess)
    right = [english(truth) for truth in truths]
    return float(words in right), max(_f1((Counter(words) & Counter(each)).total(), words, each) for each in right)


def squad2(truths: Sequence[str], guess: str) -> tuple[float, float]:
    """SQuAD 2.0 (Rajpurkar, Jia & Liang 2018, https://aclanthology.org/P18-2124): as before, but right answers of which nothing is left are
    none, and neither is such a guess; where one is none, both scores are whether the other is."""
    words = english(guess)
    right = [truth for truth in truths if english(truth)]
    if not words or not right:
        agree = float(not words and not right)
        return agree, agree
    return squad1(right, guess)


def cmrc(truths: Sequence[str], guess: str) -> tuple[float, float]:
    """CMRC 2018 (Cui et al. 2019, https://aclanthology.org/D19-1600): exact without punctuation marks; F1 over the longest run of Chinese
    characters and other words that stands in both (the paper says subsequence, the script takes what is unbroken)."""
    if not truths:
        return float(not guess), float(not guess)
    pieces = mixed(guess)
    right = [mixed(truth) for truth in truths]
    exact = any(_bare(guess) == _bare(truth) for truth in truths)
    return float(exact), max(_f1(longest_run(pieces, each), pieces, each) for each in right)


def _f1(common: int, guess: Sequence[str], truth: Sequence[str]) -> float:
    return 2 * common / (len(guess) + len(truth)) if common else 0.0


_MARKS = str.maketrans("", "", string.punctuation)


def english(text: str) -> list[str]:
    """A text's words as SQuAD compares them: small letters, without ASCII punctuation and articles."""
    return re.sub(r"\b(?:an?|the)\b", " ", text.lower().translate(_MARKS)).split()


def longest_run(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest unbroken run of pieces that stands in both. The parts of such a run stand in both, too: so the shortest
    length at which there is none is found by halving."""

    def missing(length: int) -> bool:
        runs = [{tuple(each[i : i + length]) for i in range(len(each) - length + 1)} for each in (first, second)]
        return runs[0].isdisjoint(runs[1])

    return bisect_left(range(1, min(len(first), len(second)) + 1), True, key=missing)


# Without the ellipsis: the script names it as two characters together, and so never finds it.
_CHINESE_MARKS = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")


def _bare(text: str) -> str:
    return text.lower().strip().translate(_CHINESE_MARKS)


def mixed(text: str) -> list[str]:
    """A text's pieces as CMRC compares them: each Chinese character one, whatever stands between them cut into words."""
    pieces: list[str] = []
    for character, between in re.findall(r"([\u4e00-\u9fa5])|([^\u4e00-\u9fa5]+)", _bare(text)):
        pieces.extend(character or words(between))
    return pieces


# The rules of the Penn Treebank (Robert MacIntyre's script of 1995) in NLTK's form, in this order; without those for the marks that `_bare`
# has taken away, so for small letters only.
_RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"([«‘„])", r" \1 "),
        (r'^"', r" `` "),
        (r"([ (\[{<])(?:\"|'')", r"\1 `` "),
        (r"(?<!\w)'(?!(?:re|ve|ll|[mtsdn])\b)(?=\w)", r"' "),  # an opening quote, not 's or 'll
        (r"([^.])\.([\])}>\"'» ]*)\s*$", r"\1 . \2 "),  # the full stop at the end; others belong to their words
        (r",(\D)", r" , \1"),
        (r",$", r" , "),
        (r"\.{2,}|[;@#$%&?!\u2012-\u2015]", r" \g<0> "),
        (r"([^'])' ", r"\1 ' "),
        (r"[\]\[(){}<>»]", r" \g<0> "),
        (r"''|\"", r" '' "),
        (r"\s+|^|$", " "),
        (r"([^' ])('[smd]|') ", r"\1 \2 "),
        (r"([^' ])('ll|'re|'ve|n't) ", r"\1 \2 "),
        (r"\b(can)(not)\b|\b(d)('ye)\b|\b(gim|lem)(me)\b", r" \1\3\5 \2\4\6 "),
        (r"\b(gon)(na)\b|\b(got)(ta)\b|\b(more)('n)\b|\b(wan)(na)(?=\s)", r" \1\3\5\7 \2\4\6\8 "),
        (r" ('t)(is|was)\b", r" \1 \2 "),
    )
]


def words(text: str) -> list[str]:
    """One sentence in small letters -> words and marks, as NLTK's word_tokenize cuts it. (That parts sentences first. In the right answers
    of CMRC 2018 there is nothing to part: only initials and the like have a full stop inside.)"""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text.split()
