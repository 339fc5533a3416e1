"""The baseline of tagging: what its features say, and that both of its learners learn what only a chain can."""

import importlib
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from yanmo.errors import MissingExtra
from yanmo.nn import crf
from yanmo.nn.crf import Chain
from yanmo.tasks import linear_chain
from yanmo.tasks.linear_chain import TAGGERS, Row

SHAPES = {
    "McDonald": "AaAa",
    "1998": "0",
    "江泽民": "汉",
    "U.S.": "A.A.",
    "x-1B": "a-0A",
    "éa": "a",
    "。": "。",
    "\n": "\n",
}


@pytest.mark.parametrize(("word", "shape"), SHAPES.items())
def test_shapes(word: str, shape: str) -> None:
    assert linear_chain._shape(word) == shape


def test_features_of_words() -> None:
    first, second = linear_chain.word_features(["Ann", "is"])
    assert {"=0ann", "==0Ann", "#0Aa", "<an", ">nn", "=1is", "=-1\n", "=0,1ann\nis", "#-1,0,1\n\nAa\na"} <= {*first}
    assert {"=0is", "=-1ann", "#-1Aa", "=-2\n", "=-1,0ann\nis"} <= {*second} and "<isx" not in second


def test_features_of_characters() -> None:
    first, second, _ = linear_chain.character_features(["江", "泽", "民"])
    assert {"=0江", "=-1,-1\n", "=0,1江泽", "=0,2江泽民", "#\n汉汉"} <= {*first}
    assert {"=0泽", "=-1,0江泽", "=-1,1江泽民", "=-1,1江民", "=1,1民"} <= {*second}


def rows(count: int, seed: int, words: Sequence[str]) -> tuple[list[Row], list[Row]]:
    """Every second word behind "a" is an entity, whatever it is: a tag that only the one before it tells."""
    generator = np.random.default_rng(seed)
    texts = [[words[n] for n in generator.integers(0, len(words), generator.integers(2, 9))] for _ in range(count)]
    tags = []
    for text in texts:
        found: list[str] = []
        for word in text:
            behind = found[-1] if found else "O"
            found.append({"O": "B-X", "B-X": "I-X", "I-X": "O"}[behind] if word != words[0] else "O")
        tags.append(found)
    return texts, tags


@pytest.mark.parametrize("words", [["the", "Ann", "1998", "x"], ["的", "江", "泽", "9"]], ids=["words", "characters"])
@pytest.mark.parametrize("name", TAGGERS)
def test_learners(name: str, words: Sequence[str]) -> None:
    learnt = TAGGERS[name](*rows(300, 0, words))
    texts, tags = rows(60, 1, words)
    right = [
        guess == tag
        for text, row in zip(texts, tags, strict=True)
        for guess, tag in zip(learnt(text), row, strict=True)
    ]
    assert np.mean(right) > 0.97  # judged word by word it would be about a third
    assert learnt([]) == []
    assert len(learnt(["unheard", "of"])) == 2


def test_the_perceptron_is_a_function_of_its_rows() -> None:
    texts, tags = rows(50, 0, ["a", "b", "c"])
    noisy = [["O"] * len(row) if i % 7 == 0 else row for i, row in enumerate(tags)]
    answers = [[TAGGERS["perceptron"](texts, noisy)(text) for text in texts] for _ in range(2)]
    assert answers[0] == answers[1]


def test_rows_without_words_are_passed_over() -> None:
    texts, tags = rows(100, 0, ["a", "b", "c"])
    learnt = TAGGERS["perceptron"]([[], *texts, []], [[], *tags, []])
    assert learnt(["a", "b"]) == TAGGERS["perceptron"](texts, tags)(["a", "b"])


def test_best_is_viterbi() -> None:
    generator = np.random.default_rng(0)
    for length, tags in itertools.product((1, 2, 7), (1, 3)):
        scores, pairs = generator.normal(size=(length, tags)), generator.normal(size=(tags + 1, tags))
        start, zero = torch.from_numpy(pairs[-1]), torch.zeros(tags)
        chain = Chain(torch.from_numpy(pairs[:-1]), start, zero)
        expected = crf.viterbi(torch.from_numpy(scores), (length,), chain)
        assert linear_chain._best(scores, pairs).tolist() == expected.tolist()


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert linear_chain.available() == "crf"
    monkeypatch.setattr(linear_chain, "find_spec", lambda name: None)
    assert linear_chain.available() == "perceptron"

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"yanmo\[crf\]"):
        TAGGERS["crf"]([["a"]], [["O"]])
