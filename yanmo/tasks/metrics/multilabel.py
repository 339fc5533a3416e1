"""Several labels a row, or none: accuracy, precision, recall, F1; the thresholds from which labels are given."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from yanmo.tasks.metrics.counts import averages, by_label, ratio
from yanmo.tasks.metrics.significance import RESAMPLES
from yanmo.tasks.metrics.significance import interval as bootstrap


def multilabel(
    truths: np.ndarray, guesses: np.ndarray, labels: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """(rows, labels) booleans -> accuracy (rows with every label right), the share of wrong cells, micro, macro and weighted precision,
    recall and F1, the same per label; `interval` is of macro F1. All labels count in the macro scores, also those that never occur."""
    counts = statistics(truths, guesses)
    total = np.split(counts.sum(0), 3)
    scores: dict[str, Any] = {"rows": len(truths), "accuracy": float((truths == guesses).all(1).mean())}
    scores |= {"hamming_loss": float((truths != guesses).mean())} | averages(*total)
    scores["interval"] = bootstrap(counts, score, seed=seed, resamples=resamples)
    scores["labels"] = by_label(labels, *total)
    return scores


def statistics(truths: np.ndarray, guesses: np.ndarray) -> np.ndarray:
    """(rows, labels) booleans -> (rows, 3 labels): hits, predicted, true of each label."""
    return np.hstack([truths & guesses, guesses, truths]).astype(float)


def score(sums: np.ndarray) -> np.ndarray:
    """(..., 3 labels) -> (...) macro F1."""
    hits, predicted, true = np.split(sums, 3, axis=-1)
    found: np.ndarray = ratio(2 * hits, predicted + true).mean(-1)
    return found


def thresholds(truths: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(rows, labels) booleans and probabilities -> (labels,): a label given from its threshold on (>=) has the best F1 that it can have on
    these rows. A threshold lies midway between two probabilities; of equals the highest is taken; a label that is never true gets 0.5."""
    order = np.argsort(-probabilities, axis=0, kind="stable")
    falling = np.take_along_axis(probabilities, order, 0)
    hits = np.take_along_axis(truths, order, 0).cumsum(0)
    given = np.arange(1, len(truths) + 1)[:, None]
    following = np.vstack([falling[1:], np.zeros(truths.shape[1])])
    f1 = np.where(following < falling, 2 * hits / (given + hits[-1]), -1.0)  # equal probabilities can't be parted
    f1[-1] = 2 * hits[-1] / (given[-1] + hits[-1])
    best = f1.argmax(0)[None]
    above, below = np.take_along_axis(falling, best, 0)[0], np.take_along_axis(following, best, 0)[0]
    middle = (above + below) / 2
    return np.where(hits[-1] == 0, 0.5, np.where(middle > below, middle, above))


def average_precision(truths: np.ndarray, probabilities: np.ndarray) -> float:
    """(rows, labels) booleans and probabilities -> the mean over the labels that are ever true of the precision at each row that bears the
    label, among the rows at least as probable; it needs no thresholds. Equal probabilities are one step."""
    found = []
    for true, probability in zip(truths.T, probabilities.T, strict=True):
        order = np.argsort(-probability, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(probability[order])), len(order) - 1)  # behind equal ones
        hits = true[order].cumsum()[ends]
        if hits[-1]:
            found.append(float((hits / (ends + 1)) @ np.diff(hits, prepend=0)) / hits[-1])
    return float(np.mean(found)) if found else 0.0
