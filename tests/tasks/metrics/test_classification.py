"""Scores equal scikit-learn's to 1e-9."""

import numpy as np
import pytest
from sklearn import metrics as reference

from yanmo.tasks.metrics import classification as metrics

LABELS = ["a", "b", "c", "never"]


@pytest.mark.parametrize("seed", range(5))
def test_classification_equals_the_reference(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truths = generator.integers(0, 3, 200)
    guesses = np.where(generator.random(200) < 0.6, truths, generator.integers(0, 3 if seed else 2, 200))
    ours = metrics.classification(truths, guesses, LABELS, resamples=50)
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(truths, guesses), abs=1e-9)
    assert ours["mcc"] == pytest.approx(reference.matthews_corrcoef(truths, guesses), abs=1e-9)
    for average in ("macro", "weighted"):
        expected = reference.precision_recall_fscore_support(truths, guesses, average=average, zero_division=0)
        assert [ours[f"{average}_{name}"] for name in ("precision", "recall", "f1")] == pytest.approx(
            expected[:3], abs=1e-9
        )
    per_class = reference.precision_recall_fscore_support(truths, guesses, labels=range(4), zero_division=0)
    for i, label in enumerate(LABELS):
        assert [ours["classes"][label][n] for n in ("precision", "recall", "f1", "support")] == pytest.approx(
            [column[i] for column in per_class], abs=1e-9
        )
    assert ours["confusion"] == reference.confusion_matrix(truths, guesses, labels=range(4)).tolist()


def test_interval_covers_and_narrows() -> None:
    generator = np.random.default_rng(0)
    widths = []
    for rows in (100, 10_000):
        truths = generator.integers(0, 2, rows)
        guesses = np.where(generator.random(rows) < 0.8, truths, 1 - truths)
        scores = metrics.classification(truths, guesses, ["a", "b"])
        low, high = scores["interval"]
        assert low < scores["macro_f1"] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 5
    # The normal approximation of a binomial share, 1.96 * sqrt(p (1 - p) / n) on either side, is close at 10,000 rows.
    assert widths[1] == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 10_000), rel=0.15)
