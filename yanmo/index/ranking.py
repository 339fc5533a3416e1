"""Scores -> the best of them, and rankings joined into one. Knows numbers, no text and no file."""

from collections.abc import Sequence

import numpy as np

RRF = 60  # Cormack, Clarke & Buettcher 2009, section 2: it lessens what the first few places of one ranking weigh


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """The places of the k highest of scores (n,), the highest first; of equals the earlier."""
    among = np.arange(len(scores))
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k] if k else np.inf
        above = np.flatnonzero(scores > least)
        among = np.concatenate([above, np.flatnonzero(scores == least)[: k - len(above)]])
    return among[np.lexsort((among, -scores[among]))]


def fuse(rankings: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Reciprocal rank fusion: what stands in any ranking (each the numbers of documents, the best first), the best first, and the sum
    of 1 / (RRF + rank) over the rankings, of each."""
    documents, inverse = np.unique(np.concatenate(rankings), return_inverse=True)
    shares = np.concatenate([1 / (RRF + np.arange(1, len(ranking) + 1)) for ranking in rankings])
    sums = np.bincount(inverse, shares, len(documents))
    order = best(sums, len(sums))
    return documents[order], sums[order]
