"""Scores equal scikit-learn's to 1e-9; thresholds are the best there are."""

import numpy as np
import pytest
from sklearn import metrics as reference

from yanmo.tasks.metrics import multilabel
from yanmo.tasks.metrics.significance import sums

LABELS = ["joy", "anger", "grief", "never"]


def drawn(seed: int, rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truths = generator.random((rows, 4)) < [0.5, 0.2, 0.05, 0]
    return truths, truths ^ (generator.random((rows, 4)) < [0.1, 0.2, 0.05, 0.01 if seed else 0])


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_the_reference(seed: int) -> None:
    truths, guesses = drawn(seed)
    ours = multilabel.multilabel(truths, guesses, LABELS, resamples=50)
    assert ours["rows"] == 300
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(truths, guesses), abs=1e-9)
    assert ours["hamming_loss"] == pytest.approx(reference.hamming_loss(truths, guesses), abs=1e-9)
    for average in ("micro", "macro", "weighted"):
        expected = reference.precision_recall_fscore_support(truths, guesses, average=average, zero_division=0)
        assert [ours[f"{average}_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(
            expected[:3], abs=1e-9
        )
    per_label = reference.precision_recall_fscore_support(truths, guesses, zero_division=0)
    for i, label in enumerate(LABELS):
        assert list(ours["labels"][label].values()) == pytest.approx([column[i] for column in per_label], abs=1e-9)
    assert multilabel.score(multilabel.statistics(truths, guesses).sum(0)) == pytest.approx(ours["macro_f1"], abs=1e-9)


def test_interval_is_that_of_resampled_rows() -> None:
    truths, guesses = drawn(1)
    low, high = multilabel.multilabel(truths, guesses, LABELS)["interval"]
    generator = np.random.default_rng(9)
    scores = [
        reference.f1_score(truths[rows], guesses[rows], average="macro", zero_division=0)
        for rows in generator.integers(300, size=(500, 300))
    ]
    assert [low, high] == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=0.02)
    assert sums(multilabel.statistics(truths, guesses), resamples=3).shape == (3, 12)


def test_nothing_true_and_nothing_given_scores_nothing() -> None:
    none = np.zeros((5, 2), bool)
    scores = multilabel.multilabel(none, none, ["a", "b"])
    assert scores["accuracy"] == 1 and scores["weighted_f1"] == scores["macro_f1"] == scores["micro_f1"] == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truths = generator.random((60, 3)) < 0.3
    probabilities = np.clip(0.3 * truths + generator.random((60, 3)), 0, 1)
    if seed % 2:  # many equal ones, 0 and 1 among them
        probabilities = probabilities.round(1)
    found = multilabel.thresholds(truths, probabilities)
    for label in range(3):
        reached = reference.f1_score(truths[:, label], probabilities[:, label] >= found[label])
        best = max(
            reference.f1_score(truths[:, label], probabilities[:, label] >= cut) for cut in probabilities[:, label]
        )
        assert reached == pytest.approx(best, abs=1e-12)


def test_a_threshold_lies_between_and_a_label_never_true_has_a_half() -> None:
    truths = np.array([[True, False], [True, False], [False, False]])
    probabilities = np.array([[0.9, 0.1], [0.6, 0.7], [0.2, 0.2]])
    assert multilabel.thresholds(truths, probabilities) == pytest.approx([0.4, 0.5])
    assert multilabel.thresholds(np.array([[True], [True]]), np.array([[0.3], [0.3]])) == pytest.approx([0.15])


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_equals_the_reference(seed: int) -> None:
    truths, _ = drawn(seed)
    probabilities = np.random.default_rng(seed).random((300, 4)).round(2)  # some are equal
    ours = multilabel.average_precision(truths, probabilities)
    assert ours == pytest.approx(reference.average_precision_score(truths[:, :3], probabilities[:, :3]), abs=1e-9)
    assert multilabel.average_precision(truths[:, 3:], probabilities[:, 3:]) == 0
