"""Numbers: correlations and errors; levels in order: quadratic kappa."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from yanmo.tasks.metrics.significance import RESAMPLES, percentiles, weights


def rating(
    truths: np.ndarray,
    guesses: np.ndarray,
    levels: Sequence[float] | None = None,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """(rows,) numbers -> Pearson's and Spearman's correlation (equal numbers share their mean rank), the mean absolute error, the root of
    the mean squared one. With `levels`, the numbers that a truth can be, in order, also the accuracy and the quadratic kappa of the guesses
    moved to the nearest level. `interval` is of Spearman's; a correlation with a constant is 0."""
    truths, guesses = np.asarray(truths, float), np.asarray(guesses, float)
    ranked = [_Ranks(truths), _Ranks(guesses)]
    every = np.ones((1, len(truths)))
    scores: dict[str, Any] = {
        "rows": len(truths),
        "pearson": float(_correlation(truths[None], guesses[None], every)[0]),
        "spearman": float(_spearman(ranked, every)[0]),
        "mae": float(np.abs(truths - guesses).mean()),
        "rmse": float(np.sqrt(((truths - guesses) ** 2).mean())),
    }
    if levels is not None:
        numbers = [nearest(values, levels) for values in (truths, guesses)]
        scores["accuracy"] = float((numbers[0] == numbers[1]).mean())
        scores["quadratic_kappa"] = quadratic_kappa(*numbers)
    scores["interval"] = percentiles(
        np.concatenate([_spearman(ranked, block) for block in weights(len(truths), seed=seed, resamples=resamples)])
    )
    return scores


def statistics(truths: np.ndarray, guesses: np.ndarray) -> np.ndarray:
    """(rows,) numbers -> (rows, 6): what Spearman's correlation is computed of. The ranks are those among all rows, also in resamples."""
    every = np.ones((1, len(truths)))
    x, y = (_Ranks(values).among(every)[0] - (len(values) + 1) / 2 for values in (truths, guesses))
    return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], 1)


def score(sums: np.ndarray) -> np.ndarray:
    """(..., 6) -> (...) Spearman's correlation."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    return _divided(n * xy - x * y, n * xx - x * x, n * yy - y * y)


def nearest(values: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """(rows,) numbers -> (rows,) the number of the nearest of the rising levels; midway, the higher."""
    steps = np.asarray(levels, float)
    return np.searchsorted((steps[1:] + steps[:-1]) / 2, values, side="right")


def quadratic_kappa(truths: np.ndarray, guesses: np.ndarray) -> float:
    """(rows,) level numbers -> Cohen's kappa with squared distances as weights (Cohen 1968): 1 less the squared distance over what chance
    would give. Where chance gives none (one level only), 0."""
    x, y = truths.astype(float), guesses.astype(float)
    chance = float((x * x).mean() + (y * y).mean() - 2 * x.mean() * y.mean())
    return 1 - float(((x - y) ** 2).mean()) / chance if chance > 0 else 0.0


class _Ranks:
    """Numbers sorted once, so that their ranks in any resample cost no more than a running sum."""

    def __init__(self, values: np.ndarray) -> None:
        _, self.group = np.unique(values, return_inverse=True)  # equal numbers are one group
        self.order = np.argsort(self.group, kind="stable")
        self.starts = np.searchsorted(self.group[self.order], np.arange(self.group.max() + 1))

    def among(self, weights: np.ndarray) -> np.ndarray:
        """(resamples, rows) how often each row was drawn -> (resamples, rows) their ranks, equals sharing the mean."""
        size = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        ranks: np.ndarray = (size.cumsum(1) - (size - 1) / 2)[:, self.group]
        return ranks


def _spearman(ranked: Sequence[_Ranks], weights: np.ndarray) -> np.ndarray:
    x, y = (each.among(weights) for each in ranked)
    return _correlation(x, y, weights)


def _correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's correlation of (resamples, rows) numbers, each row counted `weights` times."""
    total = weights.sum(1, keepdims=True)
    x, y = x - x[:, :1], y - y[:, :1]  # a constant is 0 now, whatever its mean is rounded to
    x, y = (z - (weights * z).sum(1, keepdims=True) / total for z in (x, y))
    return _divided((weights * x * y).sum(1), (weights * x * x).sum(1), (weights * y * y).sum(1))


def _divided(top: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.divide(
        top, np.sqrt(np.maximum(x, 0)) * np.sqrt(np.maximum(y, 0)), out=np.zeros(np.shape(top)), where=(x > 0) & (y > 0)
    )
    return found
