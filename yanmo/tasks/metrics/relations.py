"""The relation of two entities, or none: F1 over the relations, where to guess none gains nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from yanmo.tasks.metrics.classification import confusion, from_confusion
from yanmo.tasks.metrics.counts import averages, by_label, ratio
from yanmo.tasks.metrics.significance import RESAMPLES
from yanmo.tasks.metrics.significance import interval as bootstrap


def relations(
    truths: np.ndarray,
    guesses: np.ndarray,
    labels: Sequence[str],
    none: str | None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """(rows,) class numbers -> accuracy over all classes; micro, macro and weighted precision, recall and F1 over those that are true or
    guessed anywhere, without the one named `none`; the same per relation. `interval` is of micro F1."""
    hits, predicted, true = from_confusion(confusion(truths, guesses, len(labels)))
    kept = [i for i, label in enumerate(labels) if label != none and true[i] + predicted[i]]
    counts = [each[kept] for each in (hits, predicted, true)]
    rows = statistics(truths, guesses, labels, none)
    return (
        {"rows": len(truths), "accuracy": float((truths == guesses).mean())}
        | averages(*counts)
        | {"interval": bootstrap(rows, score, seed=seed, resamples=resamples)}
        | {"classes": by_label([labels[i] for i in kept], *counts)}
    )


def statistics(truths: np.ndarray, guesses: np.ndarray, labels: Sequence[str], none: str | None) -> np.ndarray:
    """(rows,) class numbers -> (rows, 3): hits, guessed, true, of relations."""
    there = np.array([label != none for label in labels])
    return np.stack([there[truths] & (truths == guesses), there[guesses], there[truths]], 1).astype(float)


def score(sums: np.ndarray) -> np.ndarray:
    """(..., 3) -> (...) micro F1."""
    return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


OTHER = "Other"


def semeval(
    truths: Sequence[str], guesses: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Labels as in SemEval-2010 task 8, "Cause-Effect(e1,e2)" or "Other" -> its scores; `interval` is of macro F1, the official one.

    That is the "(9+1)-way evaluation with directionality taken into account" (Hendrickx et al. 2010, https://aclanthology.org/S10-1006;
    scorer 1.2): a relation guessed in the wrong direction is a wrong guess of it and a miss of it; Other has no score; the average is over
    the relations that stand in the truths, nine of them in the official test rows."""
    names = _relations(truths)
    rows = semeval_statistics(truths, guesses)
    counts = np.split(rows.sum(0), 3)
    return (
        {"rows": len(truths), "accuracy": float(np.mean([a == b for a, b in zip(truths, guesses, strict=True)]))}
        | averages(*counts)
        | {"interval": bootstrap(rows, semeval_score, seed=seed, resamples=resamples)}
        | {"classes": by_label(names, *counts)}
    )


def semeval_statistics(truths: Sequence[str], guesses: Sequence[str]) -> np.ndarray:
    """(rows, 3 relations): hits, guessed, true of each relation that stands in the truths."""
    names = np.array(_relations(truths))
    true, guessed = (np.array([_relation(label) for label in labels])[:, None] == names for labels in (truths, guesses))
    right = np.array([a == b for a, b in zip(truths, guesses, strict=True)])
    return np.hstack([true & right[:, None], guessed, true]).astype(float)


def semeval_score(sums: np.ndarray) -> np.ndarray:
    """(..., 3 relations) -> (...) macro F1."""
    hits, predicted, true = np.split(sums, 3, axis=-1)
    found: np.ndarray = ratio(2 * hits, predicted + true).mean(-1)
    return found


def _relation(label: str) -> str:
    return label.partition("(")[0]


def _relations(truths: Sequence[str]) -> list[str]:
    return sorted({_relation(label) for label in truths} - {OTHER})
