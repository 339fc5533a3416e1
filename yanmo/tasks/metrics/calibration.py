"""Whether probabilities mean what they say: of the answers given with 0.8, are 80% right?"""

from typing import Any

import numpy as np

from yanmo.tasks.metrics.significance import RESAMPLES
from yanmo.tasks.metrics.significance import interval as bootstrap

BINS = 10


def calibration(
    truths: np.ndarray, probabilities: np.ndarray, *, bins: int = BINS, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """(rows,) class numbers and (rows, classes) probabilities -> `ece`, the expected calibration error of the likeliest class (Guo et al.
    2017, https://arxiv.org/abs/1706.04599, equation 3), the Brier score (the squared error summed over the classes, halved where there are
    two, as scikit-learn has it), and `bins` to draw: low < confidence <= high, its rows, their mean confidence and accuracy. `interval` is
    of `ece`."""
    rows, classes = probabilities.shape
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == truths
    edges = np.linspace(0, 1, bins + 1)
    number = np.searchsorted(edges[1:-1], confidence)
    gaps = np.zeros((rows, bins))
    gaps[np.arange(rows), number] = confidence - right
    squares = float(((probabilities - np.eye(classes)[truths]) ** 2).sum(1).mean())

    def error(sums: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.abs(sums).sum(-1) / rows
        return found

    held = np.bincount(number, minlength=bins)
    means = [np.bincount(number, values, bins) / np.maximum(1, held) for values in (confidence, right)]
    return {
        "rows": rows,
        "ece": float(error(gaps.sum(0))),
        "brier": squares / 2 if classes == 2 else squares,
        "interval": bootstrap(gaps, error, seed=seed, resamples=resamples),
        "bins": [
            {
                "low": float(edges[i]),
                "high": float(edges[i + 1]),
                "rows": int(held[i]),
                "confidence": float(means[0][i]),
                "accuracy": float(means[1][i]),
            }
            for i in range(bins)
        ],
    }


def calibrated(truths: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """The same as scores beside others, without an interval, which takes its time."""
    found = calibration(truths, probabilities, resamples=1)
    return {"ece": found["ece"], "brier": found["brier"], "calibration": found["bins"]}
