"""Hits, predicted and true counts -> precision, recall and F1; what classes, labels, entities and relations share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

NAMES = ("precision", "recall", "f1")


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom of counts of one shape; 0 where it is undefined."""
    found: np.ndarray = np.divide(top, bottom, out=np.zeros(np.shape(bottom)), where=bottom > 0)
    return found


def precision_recall_f1(hits: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    """Counts of any one shape -> the three scores in that shape."""
    return {"precision": ratio(hits, predicted), "recall": ratio(hits, true), "f1": ratio(2 * hits, predicted + true)}


def averages(hits: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """(labels,) counts -> micro (of the summed counts), macro (labels weigh the same) and weighted (by true counts) scores."""
    each, whole = (
        precision_recall_f1(hits, predicted, true),
        precision_recall_f1(hits.sum(), predicted.sum(), true.sum()),
    )
    shares = ratio(true, np.full(np.shape(true), true.sum()))
    found = {f"micro_{name}": float(whole[name]) for name in NAMES}
    found |= {f"macro_{name}": float(each[name].mean()) if len(true) else 0.0 for name in NAMES}
    return found | {f"weighted_{name}": float(each[name] @ shares) for name in NAMES}


def by_label(labels: Sequence[str], hits: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """(labels,) counts -> label -> its three scores and `support`, how often it is true."""
    each = precision_recall_f1(hits, predicted, true)
    return {
        label: {name: float(each[name][i]) for name in NAMES} | {"support": int(true[i])}
        for i, label in enumerate(labels)
    }
