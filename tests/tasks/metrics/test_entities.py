"""Spans and their scores equal seqeval's, in its default and its strict mode."""

import random
import time
import warnings

import numpy as np
import pytest
from seqeval import metrics as reference
from seqeval import scheme as schemes
from seqeval.metrics.sequence_labeling import get_entities

from yanmo.errors import DataError
from yanmo.tasks.metrics import entities

SCHEMES = {"iob1": schemes.IOB1, "iob2": schemes.IOB2, "bioes": schemes.IOBES}
LETTERS = {"iob1": "BI", "iob2": "BI", "bioes": "BIES", "bmes": "BMES"}


def drawn(letters: str, seed: int, rows: int = 40) -> list[list[str]]:
    """Tags at random, right and wrong ones alike; some rows are empty, some tags have no type, or one with a hyphen."""
    generator = random.Random(seed)
    tags = ["O", "O", *(f"{letter}{kind}" for letter in letters for kind in ("-PER", "-LOC", "-LOC", "-A-B", ""))]
    return [generator.choices(tags, k=generator.randint(0, 12)) for _ in range(rows)]


def flat(tags: list[list[str]], spans: list[entities.Span]) -> list[tuple[str, int, int]]:
    """As seqeval has them: the type, the first and the last tag, rows joined with an O after each."""
    offsets = np.cumsum([0, *(len(row) + 1 for row in tags)])
    return [(kind, int(offsets[row]) + first, int(offsets[row]) + last - 1) for row, first, last, kind in spans]


@pytest.mark.parametrize("letters", ["BI", "BIES", "BMES", "IE", "BILU", "BIX"])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.filterwarnings("ignore:.*seems not to be NE tag")
def test_spans_are_those_of_get_entities(letters: str, seed: int) -> None:
    tags = [row for row in drawn(letters, seed, rows=200) if letters in ("BI", "BIES", "IE") or not {*"MLUX"} & {*row}]
    assert flat(tags, entities.spans(tags)) == get_entities(tags)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("seed", range(10))
def test_strict_spans_are_those_of_the_scheme(name: str, seed: int) -> None:
    tags = drawn(LETTERS[name], seed, rows=200)
    expected = [
        (entity.sent_id, entity.start, entity.end, entity.tag)
        for row in schemes.Entities(tags, SCHEMES[name]).entities
        for entity in row
    ]
    assert entities.spans(tags, name) == expected


def test_bmes_is_bioes_with_an_m() -> None:
    tags = drawn("BMES", 0)
    renamed = [[tag.replace("M", "I", 1) for tag in row] for row in tags]
    assert entities.spans(tags, "bmes") == entities.spans(renamed, "bioes") != []


CASES = [
    (["I-PER", "I-PER", "O", "B-LOC"], [(0, 0, 2, "PER"), (0, 3, 4, "LOC")], [(0, 3, 4, "LOC")]),
    (["B-PER", "I-LOC"], [(0, 0, 1, "PER"), (0, 1, 2, "LOC")], [(0, 0, 1, "PER")]),
    (["B-PER", "B-PER", "I-PER"], [(0, 0, 1, "PER"), (0, 1, 3, "PER")], [(0, 0, 1, "PER"), (0, 1, 3, "PER")]),
    (["B", "I"], [(0, 0, 2, "_")], [(0, 0, 2, "_")]),
    ([], [], []),
    (["O"], [], []),
]


@pytest.mark.parametrize(("tags", "forgiving", "strict"), CASES, ids=repr)
def test_by_hand(tags: list[str], forgiving: list[entities.Span], strict: list[entities.Span]) -> None:
    assert entities.spans([tags]) == forgiving
    assert entities.spans([tags], "iob2") == strict


def test_no_rows_no_spans() -> None:
    assert entities.spans([]) == entities.spans([], "iob2") == entities.spans([[], []], "bioes") == []


@pytest.mark.parametrize(("name", "tag"), [("iob2", "S-PER"), ("iob1", "E-PER"), ("bioes", "M-PER"), ("bmes", "I-PER")])
def test_tags_of_another_scheme_are_named(name: str, tag: str) -> None:
    with pytest.raises(DataError, match=f"(?s){name} doesn't know.*'{tag}'"):
        entities.spans([["O", tag]], name)


@pytest.mark.parametrize("name", [None, *SCHEMES])
@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_the_reference(name: str | None, seed: int) -> None:
    generator = random.Random(seed)
    truths = [row for row in drawn(LETTERS[name or "iob2"], seed) if row]
    guesses = [[tag if generator.random() < 0.8 else "B-PER" for tag in row] for row in truths]
    ours = entities.tagging(truths, guesses, name, resamples=50)
    strict = {} if name is None else {"mode": "strict", "scheme": SCHEMES[name]}
    for average in ("micro", "macro", "weighted"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = [
                score(truths, guesses, average=average, zero_division=0, **strict)
                for score in (reference.precision_score, reference.recall_score, reference.f1_score)
            ]
        assert [ours[f"{average}_{n}"] for n in ("precision", "recall", "f1")] == pytest.approx(expected, abs=1e-9)
    report = reference.classification_report(truths, guesses, output_dict=True, zero_division=0, **strict)
    for kind, scores in ours["types"].items():
        theirs = report[kind]
        assert list(scores.values()) == pytest.approx(
            [theirs[n] for n in ("precision", "recall", "f1-score", "support")], abs=1e-9
        )
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(truths, guesses), abs=1e-9)
    assert ours["rows"] == len(truths) and ours["tokens"] == sum(map(len, truths))


def test_spans_may_be_sets_lists_and_arrays() -> None:
    truths, guesses = [(0, 0, 2, 1), (1, 3, 4, 0), (1, 5, 6, 0)], [(0, 0, 2, 1), (1, 3, 4, 1)]
    expected = entities.entities(set(truths), set(guesses), rows=3)
    assert expected == entities.entities(np.array(truths), np.array(guesses), rows=3)
    assert expected == entities.entities(truths[::-1], guesses, rows=3)
    assert expected["micro_f1"] == pytest.approx(2 / 5) and expected["types"]["0"]["support"] == 2
    assert entities.statistics(truths, guesses, rows=3).tolist() == [[1, 1, 1], [0, 1, 2], [0, 0, 0]]
    assert entities.entities([], [], rows=2)["micro_f1"] == 0


def test_interval_resamples_rows() -> None:
    spans = {(row, 0, 1, "X") for row in range(400)}
    scores = entities.entities(spans, {span for span in spans if span[0] % 4}, rows=400)
    low, high = scores["interval"]
    assert low < scores["micro_f1"] < high and scores["micro_f1"] == pytest.approx(6 / 7)
    # Recall r is a binomial share, F1 = 2 r / (1 + r): its slope at 0.75 is 2 / 1.75 ** 2.
    assert high - low == pytest.approx(2 * 1.96 * (0.75 * 0.25 / 400) ** 0.5 * 2 / 1.75**2, rel=0.2)


def test_token_accuracy() -> None:
    scores = entities.token_accuracy([["n", "v"], ["n"]] * 50, [["n", "n"], ["n"]] * 50)
    assert scores["accuracy"] == pytest.approx(2 / 3) and scores["tokens"] == 150
    assert scores["interval"][0] < 2 / 3 < scores["interval"][1]


def test_a_hundred_thousand_tokens_take_half_a_second() -> None:
    tags = drawn("BI", 0, rows=17_000)
    assert sum(map(len, tags)) > 100_000
    guesses = [row[::-1] for row in tags]
    started = time.process_time()
    entities.entities(entities.spans(tags), entities.spans(guesses, "iob2"), rows=len(tags))
    assert time.process_time() - started < 1.5  # 0.4 on a quiet machine
