"""One label of several: accuracy, precision, recall, F1, Matthews' coefficient; all from the confusion matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from yanmo.tasks.metrics.counts import NAMES, by_label, precision_recall_f1, ratio
from yanmo.tasks.metrics.significance import RESAMPLES, draws, percentiles


def confusion(truths: np.ndarray, guesses: np.ndarray, classes: int) -> np.ndarray:
    """(rows,) class numbers -> (classes, classes) counts: true classes down, predicted across."""
    return np.bincount(truths * classes + guesses, minlength=classes * classes).reshape(classes, classes)


def from_confusion(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(classes, classes) counts -> hits, predicted and true counts per class (classes,)."""
    return np.diagonal(matrix), matrix.sum(0), matrix.sum(1)


def classification(
    truths: np.ndarray, guesses: np.ndarray, labels: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """(rows,) class numbers -> accuracy, macro and weighted precision, recall and F1, the same per class, the confusion matrix, Matthews'
    coefficient; `interval` is of macro F1."""
    matrix = confusion(truths, guesses, len(labels))
    counts = from_confusion(matrix)
    parts, (hits, predicted, true) = precision_recall_f1(*counts), counts
    # Classes that neither stand in the truths nor were predicted have no F1 to average.
    present = (true + predicted) > 0
    scores: dict[str, Any] = {"rows": len(truths), "accuracy": float(hits.sum() / max(1, matrix.sum()))}
    scores |= {f"macro_{name}": float(parts[name][present].mean()) for name in NAMES}
    scores |= {f"weighted_{name}": float(np.average(parts[name], weights=true)) for name in NAMES}
    scores["mcc"] = matthews(matrix)
    scores["interval"] = interval(matrix, present, seed=seed, resamples=resamples)
    scores["classes"] = by_label(labels, *counts)
    scores["confusion"] = matrix.tolist()
    return scores


def statistics(truths: np.ndarray, guesses: np.ndarray, classes: int) -> np.ndarray:
    """(rows,) class numbers -> (rows, 3 classes): hits, predicted, true of each class."""
    guessed, true = np.eye(classes)[guesses], np.eye(classes)[truths]
    return np.hstack([guessed * true, guessed, true])


def score(sums: np.ndarray) -> np.ndarray:
    """(..., 3 classes) -> (...) macro F1 over the classes that are true or predicted anywhere in the sums."""
    hits, predicted, true = np.split(sums, 3, axis=-1)
    present = ((predicted + true) > 0).sum(-1)
    return ratio(ratio(2 * hits, predicted + true).sum(-1), present)


def interval(matrix: np.ndarray, present: np.ndarray, *, seed: int, resamples: int) -> list[float]:
    """[low, high] of macro F1. Resampling rows is drawing new counts for the cells of the confusion matrix."""
    cells = np.argwhere(matrix)  # the empty ones stay empty
    diagonal = cells[:, 0] == cells[:, 1]
    f1 = np.empty(resamples)
    for i, draw in enumerate(draws(matrix[cells[:, 0], cells[:, 1]], seed=seed, resamples=resamples)):
        true, predicted = (np.bincount(cells[:, axis], draw, len(matrix)) for axis in (0, 1))
        hits = np.bincount(cells[:, 0], draw * diagonal, len(matrix))
        f1[i] = ratio(2 * hits, predicted + true)[present].mean()
    return percentiles(f1)


def matthews(matrix: np.ndarray) -> float:
    """Matthews' correlation coefficient of a confusion matrix (Gorodkin 2004); 0 where it is undefined."""
    m = matrix.astype(float)
    total, hits, true, predicted = m.sum(), np.trace(m), m.sum(1), m.sum(0)
    spread = (total**2 - (predicted**2).sum()) * (total**2 - (true**2).sum())
    return float((hits * total - true @ predicted) / np.sqrt(spread)) if spread > 0 else 0.0
