import json
import random
import time
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from yanmo.text import minhash, samples
from yanmo.text.clean import canonical

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def grams(text: str) -> set[str]:
    return {text[start : start + 8] for start in range(len(text) - 7)}


def brute(texts: list[str], threshold: float) -> set[tuple[int, int]]:
    """Every pair of rows that share a gram, compared as sets."""
    sets = [grams(text) for text in texts]
    holders: dict[str, list[int]] = defaultdict(list)
    for row, held in enumerate(sets):
        for gram in held:
            holders[gram].append(row)
    pairs = {pair for rows in holders.values() for pair in combinations(rows, 2)}
    return {
        (one, other) for one, other in pairs if len(sets[one] & sets[other]) >= threshold * len(sets[one] | sets[other])
    }


def words(choose: random.Random, length: int) -> str:
    return "".join(choose.choices(LETTERS, k=length))


@pytest.mark.parametrize(("threshold", "expected"), [(0.5, (30, 3)), (0.8, (17, 7)), (1.0, (1, 128)), (0.01, (128, 1))])
def test_bands(threshold: float, expected: tuple[int, int]) -> None:
    assert minhash.bands(threshold) == expected


@pytest.mark.parametrize("texts", [[], [""], ["a"], ["abc", "abc"], ["", "a" * 9, ""]])
def test_tiny_inputs_have_no_pairs(texts: list[str]) -> None:
    assert minhash.clusters(texts, 0.5).tolist() == list(range(len(texts)))


def test_a_chain_is_one_cluster_of_its_first_row() -> None:
    text = words(random.Random(1), 300)
    rows = [words(random.Random(2), 80), text[:150], text[40:190], text[80:230]]
    assert minhash.clusters(rows, 0.5).tolist() == [0, 1, 1, 1]
    assert minhash.near_pairs(rows, 0.5).tolist() == [[1, 2], [2, 3]]


def test_similarities_are_exact() -> None:
    choose = random.Random(3)
    base = words(choose, 200)
    texts = [base[: choose.randint(0, 200)] + words(choose, choose.randint(0, 60)) for _ in range(60)]
    pairs = np.array(list(combinations(range(60), 2)))
    found = minhash.similarities(texts, pairs[:, 0], pairs[:, 1])
    sets = [grams(text) for text in texts]
    for (one, other), value in zip(pairs, found, strict=True):
        either = len(sets[one] | sets[other])
        assert value == (len(sets[one] & sets[other]) / either if either else 0.0)


def test_union_find_agrees_with_walking() -> None:
    choose = np.random.default_rng(0)
    for _ in range(50):
        pairs = choose.integers(30, size=(choose.integers(0, 40), 2))
        root = list(range(30))
        for _ in range(30):
            for one, other in pairs:
                root[one] = root[other] = min(root[one], root[other])
        assert minhash.joined(pairs, 30).tolist() == root


@pytest.mark.parametrize(
    ("source", "threshold"), [("reviews", 0.5), ("finance", 0.5), ("edited", 0.5), ("edited", 0.7), ("edited", 0.9)]
)
def test_recall_and_precision_against_every_pair(source: str, threshold: float, shared_data: Path) -> None:
    if source == "reviews":
        texts = [canonical(row.texts[0]) for row in samples.reviews()]
    else:
        posts = json.loads((shared_data / "finance/finfe_zh/train_list.json").read_text("utf-8"))
        texts = [canonical(text) for text, _ in posts]
    texts = list(dict.fromkeys(texts))
    if source == "edited":  # real texts with every degree of likeness, around the threshold too
        choose = random.Random(0)
        texts = texts[:3000]
        for text in texts[:3000]:
            letters = list(text)
            for _ in range(choose.randint(1, 4)):
                if letters:
                    letters[choose.randrange(len(letters))] = choose.choice("的了是我不在有")
            texts.append("".join(letters))
    expected = brute(texts, threshold)
    assert len(expected) > 20
    found = {(one, other) for one, other in minhash.near_pairs(texts, threshold).tolist()}
    firsts = minhash.clusters(texts, threshold)
    together = sum(firsts[one] == firsts[other] for one, other in expected)
    assert found <= expected  # a precision of 1
    assert together >= 0.95 * len(expected)


@pytest.mark.parametrize("share", [0.5, 0.65, 0.75, 1.0])
def test_shared_text_takes_seconds(share: float) -> None:
    """20,000 rows of which a form letter makes up a share: almost, or just, near duplicates of all others."""
    choose = random.Random(0)
    form = words(choose, int(200 * share))
    texts = [form + words(choose, 200 - len(form)) for _ in range(20_000)]
    start = time.perf_counter()
    clusters = minhash.clusters(texts, 0.5)
    assert time.perf_counter() - start < 30
    assert (clusters == (0 if share > 0.7 else np.arange(20_000))).all()
