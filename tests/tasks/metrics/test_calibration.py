"""Calibration: scikit-learn's Brier score and calibration curve, and the definition written out."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from yanmo.tasks.metrics.calibration import calibration


def drawn(classes: int, rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(classes)
    probabilities = generator.dirichlet(np.full(classes, 0.7), rows)
    return np.array([generator.choice(classes, p=row) for row in probabilities]), probabilities


@pytest.mark.parametrize("classes", [2, 5])
def test_equals_the_reference(classes: int) -> None:
    truths, probabilities = drawn(classes)
    ours = calibration(truths, probabilities, bins=10, resamples=50)
    theirs = brier_score_loss(truths, probabilities[:, 1] if classes == 2 else probabilities)
    assert ours["brier"] == pytest.approx(theirs, abs=1e-9)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truths
    accuracies, confidences = calibration_curve(right, confidence, n_bins=10)
    filled = [each for each in ours["bins"] if each["rows"]]
    assert [each["accuracy"] for each in filled] == pytest.approx(accuracies, abs=1e-9)
    assert [each["confidence"] for each in filled] == pytest.approx(confidences, abs=1e-9)
    shares = [each["rows"] / 500 for each in filled]
    assert ours["ece"] == pytest.approx(float(np.abs(accuracies - confidences) @ shares), abs=1e-9)
    assert sum(each["rows"] for each in ours["bins"]) == ours["rows"] == 500


def test_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.0, 1.0]])
    ours = calibration(np.array([0, 1, 1, 1]), probabilities, bins=5)
    # Bins (0.6, 0.8] with 0.8 (wrong) and 0.7 (right), (0.8, 1] with 0.9 and 1 (both right).
    assert ours["ece"] == pytest.approx(2 / 4 * abs(0.75 - 0.5) + 2 / 4 * abs(0.95 - 1))
    assert ours["brier"] == pytest.approx((0.01 + 0.64 + 0.09 + 0) / 4)
    assert [each["rows"] for each in ours["bins"]] == [0, 0, 0, 2, 2]


def test_probabilities_that_mean_what_they_say_have_a_small_error() -> None:
    truths, probabilities = drawn(3, rows=5000)
    honest = calibration(truths, probabilities)
    boasting = calibration(truths, np.where(probabilities == probabilities.max(1, keepdims=True), 0.98, 0.01))
    assert honest["ece"] < 0.02 < 0.1 < boasting["ece"]
    assert boasting["interval"][0] < boasting["ece"] < boasting["interval"][1]
