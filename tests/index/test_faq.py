"""The threshold of answers, held against every threshold there is."""

import numpy as np
import pytest

from yanmo.index.faq import tune


@pytest.mark.parametrize("seed", range(20))
def test_no_other_threshold_is_better(seed: int) -> None:
    generator = np.random.default_rng(seed)
    known = generator.random(30) < 0.7
    right = known & (generator.random(30) < 0.7)
    matches = np.round(np.clip(generator.normal(0.4 + 0.3 * right, 0.2), 0, 1), 1)  # rounded: some are equal

    def well(threshold: float) -> int:
        answered = matches >= threshold
        return int((answered & right).sum() + (~answered & ~known).sum())

    tuned = tune(matches.tolist(), right.tolist(), known.tolist())
    assert well(tuned.threshold) == max(map(well, np.linspace(0, 1.05, 211)))
    assert tuned.right + tuned.rightly_unanswered == well(tuned.threshold)
    assert tuned.right + tuned.wrong + tuned.rightly_unanswered + tuned.wrongly_unanswered == tuned.rows == 30


@pytest.mark.parametrize(
    ("matches", "right", "known", "threshold"),
    [
        ([0.9, 0.3], [True, False], [True, False], 0.6),  # halfway
        ([0.9, 0.3], [True, False], [True, True], 0.6),  # a wrong answer is worse than none
        ([0.8, 0.6], [True, True], [True, True], 0.3),
        ([0.8, 0.6], [False, False], [False, False], 0.9),
        ([], [], [], 0.5),
    ],
)
def test_by_hand(matches: list[float], right: list[bool], known: list[bool], threshold: float) -> None:
    assert tune(matches, right, known).threshold == pytest.approx(threshold)
