"""Correlations, errors and kappa equal SciPy's and scikit-learn's to 1e-9."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, root_mean_squared_error

from yanmo.tasks.metrics import rating

LEVELS = [1, 2, 3, 4, 5]


def drawn(seed: int, rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truths = generator.integers(1, 6, rows).astype(float)
    guesses = truths + generator.normal(0, 1, rows)
    return truths, guesses.round(1) if seed % 2 else guesses  # rounded: with ties on both sides


@pytest.mark.parametrize("scale", [1, 1e-7, 1e7])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_reference(seed: int, scale: float) -> None:
    truths, guesses = (scale * values for values in drawn(seed))
    ours = rating.rating(truths, guesses, resamples=50)
    assert ours["pearson"] == pytest.approx(stats.pearsonr(truths, guesses).statistic, abs=1e-9)
    assert ours["spearman"] == pytest.approx(stats.spearmanr(truths, guesses).statistic, abs=1e-9)
    assert ours["mae"] / scale == pytest.approx(mean_absolute_error(truths, guesses) / scale, abs=1e-9)
    assert ours["rmse"] / scale == pytest.approx(root_mean_squared_error(truths, guesses) / scale, abs=1e-9)
    assert rating.score(rating.statistics(truths, guesses).sum(0)) == pytest.approx(ours["spearman"], abs=1e-9)
    assert "quadratic_kappa" not in ours


@pytest.mark.parametrize("seed", range(4))
def test_kappa_equals_the_reference(seed: int) -> None:
    truths, guesses = drawn(seed)
    nearest = np.clip(np.floor(guesses + 0.5), 1, 5)
    ours = rating.rating(truths, guesses, LEVELS, resamples=50)
    assert ours["quadratic_kappa"] == pytest.approx(
        cohen_kappa_score(truths, nearest, labels=LEVELS, weights="quadratic"), abs=1e-9
    )
    assert ours["accuracy"] == pytest.approx((truths == nearest).mean(), abs=1e-9)


def test_levels_need_not_be_whole_numbers() -> None:
    assert rating.nearest(np.array([-9, 0.24, 0.26, 1.0, 1.5, 7]), [0, 0.5, 1, 2]).tolist() == [0, 0, 1, 2, 3, 3]


def test_interval_ranks_each_resample_anew() -> None:
    truths, guesses = drawn(1)
    low, high = rating.rating(truths, guesses, resamples=2000)["interval"]
    generator = np.random.default_rng(5)
    scores = [stats.spearmanr(truths[r], guesses[r]).statistic for r in generator.integers(200, size=(2000, 200))]
    assert [low, high] == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=0.01)


def test_ranks_in_a_resample_are_those_of_the_repeated_rows() -> None:
    values = np.array([3.0, 1, 2, 2, 5])
    times = np.array([2, 0, 1, 3, 1])
    ours = rating._Ranks(values).among(times[None])[0]
    expected = stats.rankdata(np.repeat(values, times))
    assert np.repeat(ours, times) == pytest.approx(expected)


@pytest.mark.parametrize("constant", [0.1, 3.0])
def test_a_constant_correlates_with_nothing(constant: float) -> None:
    scores = rating.rating(np.full(7, constant), np.arange(7.0), [0, constant])
    assert scores["pearson"] == scores["spearman"] == 0 and scores["interval"] == [0, 0]
    alike = rating.rating(np.full(3, constant), np.full(3, constant), [0, constant])
    assert alike["quadratic_kappa"] == 0 and alike["accuracy"] == 1
