import random
from collections.abc import Sequence
from dataclasses import astuple

import hypothesis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.text import samples
from yanmo.text.clean import canonical
from yanmo.text.dedup import COMPARED, LOOKS, Grams, Report, deduplicate, holding, unheld
from yanmo.text.sources import Example

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def rows(*pairs: tuple[str, str]) -> list[Example]:
    return [Example((text,), (label,), id=str(number)) for number, (text, label) in enumerate(pairs)]


def grams(text: str) -> set[str]:
    return {text[start : start + 8] for start in range(len(text) - 7)}


def alike(one: str, other: str) -> str:
    """The plain definition, for two different canonical texts."""
    mine, theirs = grams(one), grams(other)
    shared = len(mine & theirs)
    if shared and shared / len(mine | theirs) >= 0.5:
        return "near"
    if one in other or other in one or (shared and shared / min(len(mine), len(theirs)) >= 0.8):
        return "fragment"
    return ""


def adds_up(report: Report) -> bool:
    total, *counts = astuple(report)
    return total == sum(counts)


def plain(examples: Sequence[Example]) -> tuple[int, list[str]]:
    """Near duplicates and the ids that stay, by comparing everything with everything."""
    first: dict[str, Example] = {}
    labels: dict[str, set[tuple[str, ...]]] = {}
    for example in examples:
        text = canonical(example.texts[0])
        first.setdefault(text, example)
        labels.setdefault(text, set()).add(example.labels)
    first.pop("", None)
    standing: list[str] = []
    for text in first:
        if all(alike(text, earlier) != "near" for earlier in standing):
            standing.append(text)
    agreed = [text for text in first if len(labels[text]) == 1]
    unlike = [text for text in standing if len(labels[text]) == 1]
    kept: list[str] = []
    for text in sorted(unlike, key=lambda text: (-len(grams(text)), -len(text))):
        if all(not alike(text, larger) for larger in kept):
            kept.append(text)
    return len(agreed) - len(unlike), [example.id for text, example in first.items() if text in kept]


def test_each_kind_is_counted() -> None:
    base = "the quick brown fox jumps over the lazy dog and runs away"
    examples = rows(
        (base, "a"),
        ("！？", "a"),  # empty
        ("", "a"),  # empty
        (base.upper() + "!", "a"),  # exact
        (base + " again", "b"),  # near, whatever its label
        ("jumps over", "a"),  # a fragment, of one gram or two
        ("fox", "a"),  # a fragment without grams
        ("disputed words of some length", "a"),  # contradicting, three rows
        ("Disputed words of some length.", "b"),
        ("disputed words of some length", "a"),
        ("something else altogether", "b"),
    )
    kept, report = deduplicate(examples)
    assert report == Report(rows=11, empty=2, contradicting=3, exact=1, near=1, fragments=2, kept=2)
    assert kept == [examples[0], examples[10]]


@pytest.mark.parametrize("texts", [[], [""], ["好"], ["好", "好"], ["很好", "好", "很"], ["a" * 9, "a" * 20]])
def test_tiny_inputs(texts: list[str]) -> None:
    kept, report = deduplicate(rows(*[(text, "a") for text in texts]))
    assert adds_up(report)
    assert [example.texts[0] for example in kept] == [text for text in texts if text][:1]


def test_the_longer_row_outlives_its_fragment_wherever_it_stands() -> None:
    fragment, whole = "abcdefghijklmnop", "abcdefghijklmnop" + LETTERS[::-1]
    for order in ([fragment, whole], [whole, fragment]):
        kept, report = deduplicate(rows(*[(text, "a") for text in order]))
        assert [example.texts[0] for example in kept] == [whole]
        assert report.fragments == 1


def pieces(seed: int, count: int) -> list[tuple[str, str]]:
    """Rows made of a few shared phrases, so that every kind of likeness is common."""
    choose = random.Random(seed)
    phrases = ["".join(choose.choices(LETTERS, k=choose.randint(1, 30))) for _ in range(12)]
    return [("".join(choose.choices(phrases, k=choose.randint(0, 5))), choose.choice("aaab")) for _ in range(count)]


@hypothesis.example(304, 15)  # grams that one row repeats were taken for common ones
@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 30), st.integers(0, 120))
def test_agrees_with_comparing_everything_with_everything(seed: int, count: int) -> None:
    examples = rows(*pieces(seed, count))
    kept, report = deduplicate(examples)
    near, ids = plain(examples)
    assert adds_up(report)
    assert (report.near, [example.id for example in kept]) == (near, ids)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1 << 30))
def test_appended_rows_change_no_verdict_about_near_duplicates(seed: int) -> None:
    pairs = pieces(seed, 80)
    before, after = deduplicate(rows(*pairs[:40])), deduplicate(rows(*pairs))
    lost = {example.id for example in before[0]} - {example.id for example in after[0]}
    gained = {example.id for example in after[0] if int(example.id) < 40} - {example.id for example in before[0]}
    by_id = {str(number): canonical(text) for number, (text, _) in enumerate(pairs)}
    labels = {
        canonical(text): {label for other, label in pairs if canonical(other) == canonical(text)} for text, _ in pairs
    }
    for row in lost:  # it was contradicted, or a larger row holds it
        text = by_id[row]
        assert len(labels[text]) > 1 or any(text != other and alike(text, other) for other in by_id.values())
    for row in gained:  # it was a fragment of a row that was lost
        assert any(alike(by_id[row], by_id[other]) == "fragment" for other in lost)


@pytest.fixture(scope="module")
def reviews() -> tuple[list[Example], Report]:
    return deduplicate(samples.reviews())


def test_real_reviews_are_counted(reviews: tuple[list[Example], Report]) -> None:
    kept, report = reviews
    assert report == Report(rows=35124, empty=9, contradicting=256, exact=17539, near=75, fragments=290, kept=16955)
    assert adds_up(report)
    assert len(kept) == report.kept


def test_no_kept_review_resembles_another(reviews: tuple[list[Example], Report]) -> None:
    texts = [canonical(example.texts[0]) for example in reviews[0]]
    sets = [grams(text) for text in texts]
    together = "\n".join(texts)
    for row in random.Random(0).sample(range(len(texts)), 50):
        mine = sets[row]
        shared = [(len(mine & theirs), len(theirs)) for theirs in sets[:row] + sets[row + 1 :]]
        assert together.count(texts[row]) == 1
        assert all(count < 0.5 * (len(mine) + size - count) for count, size in shared if count)
        assert all(count < 0.8 * min(len(mine), size) for count, size in shared if count)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 30), st.integers(0, LOOKS))
def test_fragments_are_found_without_an_index_of_all_grams(seed: int, count: int) -> None:
    texts = [text for text, _ in pieces(seed, count)]
    exact, quick = Grams(texts), Grams(texts, most=COMPARED * 100)
    everyone = np.ones(count, dtype=bool)
    assert unheld(quick, everyone).tolist() == unheld(exact, everyone).tolist()
    held = {row for row, _ in holding(quick).tolist()}
    sets = [grams(text) for text in texts]
    for row, mine in enumerate(sets):
        others = [theirs for other, theirs in enumerate(sets) if other != row]
        assert (row in held) == any(mine and len(mine & theirs) >= 0.8 * len(mine) for theirs in others)
