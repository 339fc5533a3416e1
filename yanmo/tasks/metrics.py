"""Scores, computed from counts; each equals its reference tool to 1e-9 (a test)."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def confusion(truths: np.ndarray, guesses: np.ndarray, classes: int) -> np.ndarray:
    """(rows,) class numbers -> (classes, classes) counts: true classes down, predicted across."""
    return np.bincount(truths * classes + guesses, minlength=classes * classes).reshape(classes, classes)


def from_confusion(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """(..., classes, classes) counts -> precision, recall, f1 and support per class (..., classes). An undefined ratio is 0."""
    hits = np.diagonal(matrix, axis1=-2, axis2=-1).astype(float)
    predicted, true = matrix.sum(-2), matrix.sum(-1)
    precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
    recall = np.divide(hits, true, out=np.zeros_like(hits), where=true > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=np.zeros_like(hits), where=both > 0)
    return {"precision": precision, "recall": recall, "f1": f1, "support": true}


def classification(
    truths: np.ndarray, guesses: np.ndarray, labels: Sequence[str], *, seed: int = 0, resamples: int = 1000
) -> dict[str, Any]:
    """Accuracy, macro and weighted precision, recall and F1, the same per class, the confusion matrix, Matthews' coefficient, and a
    95% percentile-bootstrap interval of macro F1 (Efron & Tibshirani 1993, section 13.3; rows resampled `resamples` times)."""
    matrix = confusion(truths, guesses, len(labels))
    parts = from_confusion(matrix)
    # Classes that neither stand in the truths nor were predicted have no F1 to average.
    present = (parts["support"] + matrix.sum(0)) > 0
    names = ("precision", "recall", "f1")
    scores: dict[str, Any] = {"rows": len(truths), "accuracy": float(np.trace(matrix) / max(1, matrix.sum()))}
    scores |= {f"macro_{name}": float(parts[name][present].mean()) for name in names}
    scores |= {f"weighted_{name}": float(np.average(parts[name], weights=parts["support"])) for name in names}
    scores["mcc"] = matthews(matrix)
    scores["interval"] = interval(matrix, present, seed=seed, resamples=resamples)
    scores["classes"] = {
        label: {name: float(parts[name][i]) for name in names} | {"support": int(parts["support"][i])}
        for i, label in enumerate(labels)
    }
    scores["confusion"] = matrix.tolist()
    return scores


def interval(matrix: np.ndarray, present: np.ndarray, *, seed: int, resamples: int) -> list[float]:
    """[low, high] of macro F1. Resampling rows is drawing new counts for the cells of the confusion matrix."""
    cells = np.argwhere(matrix)  # the empty ones stay empty
    counts = matrix[cells[:, 0], cells[:, 1]]
    draws = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=resamples)
    f1 = np.empty(resamples)
    for i, draw in enumerate(draws):
        true, predicted = (np.bincount(cells[:, axis], draw, len(matrix)) for axis in (0, 1))
        hits = np.bincount(cells[:, 0], draw * (cells[:, 0] == cells[:, 1]), len(matrix))
        f1[i] = np.divide(2 * hits, true + predicted, out=np.zeros(len(matrix)), where=true + predicted > 0)[
            present
        ].mean()
    low, high = np.quantile(f1, [0.025, 0.975])
    return [float(low), float(high)]


def matthews(matrix: np.ndarray) -> float:
    """Matthews' correlation coefficient of a confusion matrix (Gorodkin 2004); 0 where it is undefined."""
    m = matrix.astype(float)
    total, hits, true, predicted = m.sum(), np.trace(m), m.sum(1), m.sum(0)
    spread = (total**2 - (predicted**2).sum()) * (total**2 - (true**2).sum())
    return float((hits * total - true @ predicted) / np.sqrt(spread)) if spread > 0 else 0.0
