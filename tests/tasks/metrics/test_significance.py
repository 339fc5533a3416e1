"""Intervals cover, tests reject as often as they should; exact tests equal SciPy's to 1e-9."""

import time

import numpy as np
import pytest
from scipy import stats

from yanmo.tasks.metrics import classification, significance

RANDOM = np.random.default_rng(0)


def values(shares: np.ndarray) -> np.ndarray:
    return np.stack([shares.astype(float), np.ones(len(shares))], 1)


@pytest.mark.parametrize("kinds", [2, 5, None], ids=["two kinds", "five kinds", "all rows differ"])
def test_interval_equals_scipys(kinds: int | None) -> None:
    sample = RANDOM.normal(size=400) if kinds is None else RANDOM.integers(kinds, size=400)
    found = significance.interval(values(sample), significance.mean, resamples=5000)
    theirs = stats.bootstrap((sample,), np.mean, n_resamples=5000, method="percentile", rng=1).confidence_interval
    assert found == pytest.approx([theirs.low, theirs.high], abs=0.05 * np.std(sample))


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    counts = values(RANDOM.normal(size=100))
    first, again, other = (significance.interval(counts, significance.mean, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_every_resample_has_as_many_rows() -> None:
    for counts in (values(RANDOM.normal(size=500)), values(RANDOM.integers(2, size=500))):
        assert (significance.sums(counts, resamples=7)[:, 1] == 500).all()
    blocks = list(significance.weights(3, seed=0, resamples=5))
    assert sum(len(block) for block in blocks) == 5 and all((block.sum(1) == 3).all() for block in blocks)


def test_intervals_cover_the_truth() -> None:
    covered = 0
    for seed in range(300):
        low, high = significance.interval(
            values(np.random.default_rng(seed).random(200) < 0.7), significance.mean, resamples=300, seed=seed
        )
        covered += low <= 0.7 <= high
    assert 0.91 < covered / 300 < 0.98


@pytest.mark.parametrize("test", [significance.paired_bootstrap, significance.approximate_randomisation])
def test_paired_tests_reject_a_true_null_as_often_as_they_say(test: object) -> None:
    rejected = 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        hard = generator.random(150)
        ours, theirs = (values(generator.random(150) < hard) for _ in range(2))
        rejected += test(ours, theirs, significance.mean, resamples=199)["p"] <= 0.05  # type: ignore[operator]
    assert 0.015 < rejected / 300 < 0.09


def test_paired_tests_find_a_difference_and_their_interval_holds_it() -> None:
    theirs = RANDOM.random(1000) < 0.7
    ours = theirs | (RANDOM.random(1000) < 0.2)
    found = significance.paired_bootstrap(values(ours), values(theirs), significance.mean)
    assert found["p"] == pytest.approx(1 / 1001) and found["rows"] == 1000
    assert 0 < found["interval"][0] < found["difference"] == pytest.approx(ours.mean() - theirs.mean())
    swapped = significance.approximate_randomisation(values(ours), values(theirs), significance.mean)
    assert swapped["p"] == pytest.approx(1 / 1001) and swapped["difference"] == found["difference"]


def test_a_run_does_not_differ_from_itself() -> None:
    counts = values(RANDOM.random(50))
    found = significance.paired_bootstrap(counts, counts, significance.mean)
    assert found["difference"] == 0 and found["interval"] == [0, 0] and found["p"] == 1
    assert significance.approximate_randomisation(counts, counts, significance.mean)["p"] == 1
    assert significance.mcnemar(counts[:, 0] > 0.5, counts[:, 0] > 0.5) == {
        "rows": 50,
        "only_ours": 0,
        "only_theirs": 0,
        "exact": 1.0,
        "statistic": 0.0,
        "corrected": 1.0,
    }


def test_approximate_randomisation_equals_the_exact_test_of_permutations() -> None:
    ours, theirs = RANDOM.random(9), RANDOM.random(9) + 0.2
    exact = stats.permutation_test(
        (ours, theirs), lambda a, b: np.mean(a) - np.mean(b), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    found = significance.approximate_randomisation(values(ours), values(theirs), significance.mean, resamples=20_000)
    assert found["p"] == pytest.approx(exact, abs=0.015)


def test_scores_that_are_no_means() -> None:
    """Macro F1 of two runs: the statistics of classification serve every test."""
    truths = RANDOM.integers(3, size=400)
    good, bad = (np.where(RANDOM.random(400) < share, truths, RANDOM.integers(3, size=400)) for share in (0.9, 0.5))
    rows = [classification.statistics(truths, guesses, 3) for guesses in (good, bad)]
    scores = [
        classification.classification(truths, guesses, ["a", "b", "c"], resamples=20)["macro_f1"]
        for guesses in (good, bad)
    ]
    found = significance.paired_bootstrap(*rows, classification.score)
    assert found["difference"] == pytest.approx(scores[0] - scores[1], abs=1e-9) and found["p"] < 0.01
    assert significance.approximate_randomisation(*rows, classification.score)["p"] < 0.01


@pytest.mark.parametrize(("gained", "lost"), [(0, 1), (3, 9), (10, 10), (25, 60), (400, 480), (0, 40)])
def test_mcnemar_equals_the_reference(gained: int, lost: int) -> None:
    ours = np.repeat([True, False, True, False], [gained, lost, 30, 20])
    theirs = np.repeat([False, True, True, False], [gained, lost, 30, 20])
    found = significance.mcnemar(ours, theirs)
    assert (found["only_ours"], found["only_theirs"], found["rows"]) == (gained, lost, gained + lost + 50)
    assert found["exact"] == pytest.approx(stats.binomtest(gained, gained + lost).pvalue, abs=1e-9)
    corrected = max(0, abs(gained - lost) - 1) ** 2 / (gained + lost)
    assert found["statistic"] == pytest.approx(corrected, abs=1e-9)
    assert found["corrected"] == pytest.approx(stats.chi2.sf(corrected, 1), abs=1e-9)


@pytest.mark.parametrize("kinds", [2, None], ids=["two kinds", "all rows differ"])
def test_a_hundred_thousand_rows_a_thousand_times(kinds: int | None) -> None:
    counts = values(RANDOM.random(100_000) if kinds is None else RANDOM.integers(kinds, size=100_000))
    started = time.process_time()
    significance.interval(counts, significance.mean)
    assert time.process_time() - started < 3  # 0.9 on a quiet machine
