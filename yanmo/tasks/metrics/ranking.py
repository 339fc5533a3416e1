"""Documents in order: nDCG, mean average precision, reciprocal rank and recall, as trec_eval has them.

A run is {query: {document: score}}, grades are {query: {document: grade}}; what is not graded counts as 0, and above 0 is relevant.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from yanmo.tasks.metrics.significance import RESAMPLES, mean
from yanmo.tasks.metrics.significance import interval as bootstrap

Run = Mapping[str, Mapping[str, float]]
Grades = Mapping[str, Mapping[str, float]]
CUTOFFS = (10, 100)


def ranking(
    run: Run, grades: Grades, cutoffs: Sequence[int] = CUTOFFS, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Means over all graded queries (`rows`; one that the run doesn't answer scores 0) of `ndcg@k` (Järvelin & Kekäläinen 2002, a grade is
    its gain) and `recall@k` for each cutoff, `map` and `mrr` over all that was found; `interval` is of nDCG at the first cutoff."""
    each = per_query(run, grades, cutoffs)
    scores: dict[str, Any] = {"rows": len(grades)} | {name: float(values.mean()) for name, values in each.items()}
    counts = statistics(run, grades, cutoffs[0])
    return scores | {"interval": bootstrap(counts, mean, seed=seed, resamples=resamples)}


def statistics(run: Run, grades: Grades, k: int = CUTOFFS[0]) -> np.ndarray:
    """(queries, 2), in the order of the grades: nDCG@k, 1. Their score is `significance.mean`."""
    values = per_query(run, grades, [k])[f"ndcg@{k}"]
    return np.stack([values, np.ones(len(values))], 1)


def per_query(run: Run, grades: Grades, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, np.ndarray]:
    """Each score's (queries,) values, in the order of the grades."""
    rows = [_query(run.get(query, {}), judged, cutoffs) for query, judged in grades.items()]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _query(found: Mapping[str, float], judged: Mapping[str, float], cutoffs: Sequence[int]) -> dict[str, float]:
    gains = np.maximum(0, [judged.get(document, 0) for document in order(found)])
    best = np.sort(np.maximum(0, list(judged.values())))[::-1]
    relevant, ranks = gains > 0, np.flatnonzero(gains > 0) + 1
    total = max(1, np.count_nonzero(best))
    scores = {"map": float((np.arange(1, len(ranks) + 1) / ranks).sum() / total)}
    scores["mrr"] = float(1 / ranks[0]) if len(ranks) else 0.0
    for k in cutoffs:
        ideal = _gained(best[:k])
        scores[f"ndcg@{k}"] = _gained(gains[:k]) / ideal if ideal else 0.0
        scores[f"recall@{k}"] = float(relevant[:k].sum() / total)
    return scores


def _gained(gains: np.ndarray) -> float:
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())


def order(found: Mapping[str, float]) -> list[str]:
    """Documents, the best first. As in trec_eval scores are compared in single precision, and of equals the later name goes first."""
    documents = sorted(found, reverse=True)
    scores = np.array([found[document] for document in documents], np.float32)
    return [documents[i] for i in np.argsort(-scores, kind="stable")]
