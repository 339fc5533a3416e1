"""The official scores of SemEval-2010 task 8 against an output of its scorer; those of other relations against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as reference

from yanmo.tasks.metrics import relations

# What the official scorer (1.2) printed for a convolutional network of 2020: its confusion matrix, how many had the right relation in the
# wrong direction, and the scores in percent.
NAMES = [
    *("Cause-Effect", "Component-Whole", "Content-Container", "Entity-Destination", "Entity-Origin"),
    *("Instrument-Agency", "Member-Collection", "Message-Topic", "Product-Producer", "Other"),
]
MATRIX = [
    [296, 0, 0, 0, 9, 1, 0, 1, 2, 15],
    [2, 209, 5, 3, 1, 9, 13, 5, 2, 32],
    [0, 4, 160, 10, 2, 0, 0, 1, 0, 11],
    [0, 2, 10, 260, 0, 0, 0, 2, 1, 16],
    [2, 1, 0, 12, 221, 1, 0, 1, 3, 16],
    [0, 4, 1, 2, 2, 101, 1, 3, 9, 31],
    [0, 6, 0, 0, 2, 3, 195, 4, 2, 20],
    [1, 2, 0, 2, 0, 0, 3, 228, 3, 19],
    [4, 4, 2, 1, 9, 10, 0, 5, 167, 24],
    [20, 25, 25, 25, 32, 20, 39, 39, 26, 203],
]
TURNED = [4, 31, 4, 1, 1, 2, 1, 3, 5, 0]
PERCENT = {
    "Cause-Effect": (89.97, 90.24, 90.11),
    "Component-Whole": (72.57, 66.99, 69.67),
    "Content-Container": (77.29, 83.33, 80.20),
    "Entity-Destination": (82.28, 89.04, 85.53),
    "Entity-Origin": (79.21, 85.66, 82.31),
    "Instrument-Agency": (68.71, 64.74, 66.67),
    "Member-Collection": (77.38, 83.69, 80.41),
    "Message-Topic": (78.08, 87.36, 82.46),
    "Product-Producer": (75.91, 72.29, 74.06),
}


def labelled() -> tuple[list[str], list[str]]:
    """Rows with that matrix."""

    def label(name: str, turned: bool = False) -> str:
        return name if name == "Other" else f"{name}({'e2,e1' if turned else 'e1,e2'})"

    pairs = []
    for i, true in enumerate(NAMES):
        pairs += [(label(true), label(true, turned=True))] * TURNED[i]
        for j, guess in enumerate(NAMES):
            pairs += [(label(true), label(guess))] * MATRIX[i][j]
    return [true for true, _ in pairs], [guess for _, guess in pairs]


def test_the_official_scores() -> None:
    truths, guesses = labelled()
    scores = relations.semeval(truths, guesses)
    assert scores["rows"] == 2717 and scores["accuracy"] == pytest.approx(2040 / 2717)
    for average, expected in (("micro", (78.84, 81.18, 79.99)), ("macro", (77.93, 80.37, 79.05))):
        found = [100 * scores[f"{average}_{name}"] for name in ("precision", "recall", "f1")]
        assert found == pytest.approx(expected, abs=0.005)
    assert {
        name: tuple(round(100 * each[n], 2) for n in ("precision", "recall", "f1"))
        for name, each in scores["classes"].items()
    } == PERCENT
    assert scores["interval"][0] < scores["macro_f1"] < scores["interval"][1]
    # The same by hand: F1 = 2 hits / (guessed, the turned ones too, + true), its mean over nine relations.
    m, turned = np.array(MATRIX), np.array(TURNED)
    f1 = 2 * np.diagonal(m) / (m.sum(0) + turned + m.sum(1) + turned)
    assert scores["macro_f1"] == pytest.approx(f1[:9].mean(), abs=1e-9)
    assert relations.semeval_score(relations.semeval_statistics(truths, guesses).sum(0)) == pytest.approx(f1[:9].mean())


def test_by_hand() -> None:
    truths = ["A(e1,e2)", "A(e2,e1)", "A(e1,e2)", "B(e1,e2)", "Other", "Other"]
    guesses = ["A(e1,e2)", "A(e1,e2)", "Other", "C(e1,e2)", "B(e1,e2)", "Other"]
    scores = relations.semeval(truths, guesses)
    # A: 1 hit of 2 guesses and 3 truths; B: none of 1 and 1; C stands in no truth and has no part in the average.
    assert scores["classes"].keys() == {"A", "B"}
    assert scores["macro_f1"] == pytest.approx((2 / 5 + 0) / 2)
    assert scores["micro_f1"] == pytest.approx(2 * 1 / (3 + 4))
    assert scores["accuracy"] == pytest.approx(2 / 6)


@pytest.mark.parametrize("none", ["no_relation", None])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_reference(none: str | None, seed: int) -> None:
    labels = ["no_relation", "founded_by", "born_in", "owns", "never"]
    generator = np.random.default_rng(seed)
    truths = generator.choice(4, p=[0.6, 0.2, 0.15, 0.05], size=300)
    guesses = np.where(generator.random(300) < 0.7, truths, generator.integers(0, 4, 300))
    ours = relations.relations(truths, guesses, labels, none, resamples=50)
    kept = [i for i in range(4) if labels[i] != none]
    for average in ("micro", "macro", "weighted"):
        expected = reference.precision_recall_fscore_support(
            truths, guesses, labels=kept, average=average, zero_division=0
        )
        assert [ours[f"{average}_{n}"] for n in ("precision", "recall", "f1")] == pytest.approx(expected[:3], abs=1e-9)
    assert list(ours["classes"]) == [labels[i] for i in kept]
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(truths, guesses), abs=1e-9)
    assert relations.score(relations.statistics(truths, guesses, labels, none).sum(0)) == pytest.approx(
        ours["micro_f1"], abs=1e-9
    )


def test_directions_are_labels_of_their_own_for_the_reference_where_none_is_turned() -> None:
    """Where every relation has one direction, the official macro F1 is scikit-learn's over the relations."""
    generator = np.random.default_rng(0)
    names = [f"{name}(e1,e2)" for name in NAMES[:9]] + ["Other"]
    truths, guesses = ([names[i] for i in generator.integers(0, 10, 400)] for _ in range(2))
    expected = reference.f1_score(truths, guesses, labels=names[:9], average="macro", zero_division=0)
    assert relations.semeval(truths, guesses, resamples=50)["macro_f1"] == pytest.approx(expected, abs=1e-9)
