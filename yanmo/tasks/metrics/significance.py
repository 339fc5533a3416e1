"""How much of a score, or of the difference of two, is chance: bootstrap intervals and paired tests.

A score here is a function of counts summed over rows: (..., k) sums -> (...) scores, all resamples at once. Every p value is two-sided.
"""

from collections.abc import Callable, Iterator
from math import erfc, sqrt
from typing import Any

import numpy as np

Score = Callable[[np.ndarray], np.ndarray]

LEVEL = 0.95
RESAMPLES = 1000
_CELLS = 1 << 21  # of one block of weights: fits into memory, and mostly into the caches


def percentiles(scores: np.ndarray) -> list[float]:
    """(resamples,) scores -> the 95% percentile interval [low, high] (Efron & Tibshirani 1993, section 13.3)."""
    low, high = np.quantile(scores, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]


def draws(times: np.ndarray, *, seed: int, resamples: int) -> np.ndarray:
    """(kinds,) how often each kind of row stands in the data -> (resamples, kinds) how often in each resample of as many rows."""
    drawn: np.ndarray = np.random.default_rng(seed).multinomial(times.sum(), times / times.sum(), size=resamples)
    return drawn


def weights(rows: int, *, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """How often each row stands in each resample, in blocks (some resamples, rows)."""
    generator = np.random.default_rng(seed)
    size = max(1, _CELLS // rows)
    for start in range(0, resamples, size):
        block = min(size, resamples - start)
        drawn = generator.integers(rows, size=(block, rows)) + rows * np.arange(block)[:, None]
        yield np.bincount(drawn.ravel(), minlength=block * rows).reshape(block, rows)


def sums(counts: np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """(rows, k) counts -> (resamples, k), those of each resample summed. Resampling rows of which many are the same is drawing how often
    each kind comes; where they differ, rows are drawn."""
    counts = np.ascontiguousarray(counts, float)
    rows, k = counts.shape
    _, first, times = np.unique(counts.view(f"V{counts.itemsize * k}"), return_index=True, return_counts=True)
    if len(times) * 32 <= rows:
        summed: np.ndarray = draws(times, seed=seed, resamples=resamples) @ counts[first]
        return summed
    return np.concatenate([block @ counts for block in weights(rows, seed=seed, resamples=resamples)])


def mean(sums: np.ndarray) -> np.ndarray:
    """The score of rows that count (value, 1): (..., 2) -> (...)."""
    found: np.ndarray = sums[..., 0] / sums[..., 1]
    return found


def interval(counts: np.ndarray, score: Score, *, seed: int = 0, resamples: int = RESAMPLES) -> list[float]:
    """[low, high] of score(counts.sum(0)): the 95% percentile bootstrap over the rows of (rows, k) counts."""
    return percentiles(score(sums(counts, seed=seed, resamples=resamples)))


def paired_bootstrap(
    ours: np.ndarray, theirs: np.ndarray, score: Score, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Two runs' (rows, k) counts on the same rows -> `difference` of their scores, ours less theirs, its `interval`, and `p`: how often a
    resample lies as far from the difference as the difference from 0 (Berg-Kirkpatrick et al. 2012, https://aclanthology.org/D12-1091)."""
    observed = float(score(ours.sum(0)) - score(theirs.sum(0)))
    both = sums(np.hstack([ours, theirs]), seed=seed, resamples=resamples)
    differences = score(both[:, : ours.shape[1]]) - score(both[:, ours.shape[1] :])
    p = _share(np.abs(differences - observed), abs(observed))
    return {"rows": len(ours), "difference": observed, "interval": percentiles(differences), "p": p}


def approximate_randomisation(
    ours: np.ndarray, theirs: np.ndarray, score: Score, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """The same two -> `difference` and `p`: how often the scores differ as much when the two runs' answers to each row are swapped by the
    toss of a coin (Noreen 1989; Yeh 2000, https://aclanthology.org/C00-2137)."""
    observed = float(score(ours.sum(0)) - score(theirs.sum(0)))
    moved = (theirs - ours).astype(float)
    moved = moved[moved.any(1)]  # a row where both count the same stays the same when swapped
    generator = np.random.default_rng(seed)
    size = max(1, _CELLS // max(1, len(moved)))
    gains = np.concatenate(
        [
            generator.integers(2, size=(min(size, resamples - start), len(moved)), dtype=np.int8) @ moved
            for start in range(0, resamples, size)
        ]
    )
    differences = score(ours.sum(0) + gains) - score(theirs.sum(0) - gains)
    return {"rows": len(ours), "difference": observed, "p": _share(np.abs(differences), abs(observed))}


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Two runs' (rows,) hits -> how many rows only one has right, and the p values of McNemar's test (1947): `exact`, by the binomial
    distribution, and `corrected`, by chi squared with Edwards' continuity correction (1948). With many rows both agree."""
    gained, lost = int(np.sum(ours & ~theirs)), int(np.sum(~ours & theirs))
    apart = gained + lost
    statistic = max(0, abs(gained - lost) - 1) ** 2 / apart if apart else 0.0
    return {
        "rows": len(ours),
        "only_ours": gained,
        "only_theirs": lost,
        "exact": _binomial(min(gained, lost), apart),
        "statistic": statistic,
        "corrected": erfc(sqrt(statistic / 2)) if apart else 1.0,  # the tail of chi squared with one degree of freedom
    }


def _share(found: np.ndarray, bound: float) -> float:
    """How many reach the bound, the data itself counted as one of them, so that no p value is 0 (Davison & Hinkley 1997, section 4.2)."""
    return float((1 + np.sum(found >= bound - 1e-12)) / (1 + len(found)))


def _binomial(fewer: int, tosses: int) -> float:
    """The chance that a fair coin parts that many tosses at least as unevenly; in whole numbers, so exact."""
    ways = total = 1
    for i in range(fewer):
        ways = ways * (tosses - i) // (i + 1)
        total += ways
    return float(min(1.0, 2 * total / 2**tosses))
