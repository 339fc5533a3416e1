"""The transforms against transformers' own, and each of them by the distribution of what is drawn."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from transformers.generation import logits_process as theirs

from yanmo.decoding import sampling
from yanmo.decoding.loop import Row
from yanmo.decoding.sampling import TRANSFORMS, Sampling
from yanmo.errors import SettingsError
from yanmo.settings import from_arguments

WORDS = 12
ROWS = [Row(number, [1, 2, number], [3, 3, 5][: number % 4]) for number in range(6)]


def logits(rows: int = 6) -> Tensor:
    return 2 * torch.randn(rows, WORDS, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(
    ("name", "value", "processor"),
    [
        ("temperature", 0.7, theirs.TemperatureLogitsWarper),
        ("top_k", 4, theirs.TopKLogitsWarper),
        ("top_k", 50, theirs.TopKLogitsWarper),
        ("top_p", 0.6, theirs.TopPLogitsWarper),
        ("top_p", 0.001, theirs.TopPLogitsWarper),
        ("min_p", 0.2, theirs.MinPLogitsWarper),
        ("repetition_penalty", 1.4, theirs.RepetitionPenaltyLogitsProcessor),
        ("repetition_penalty", 0.8, theirs.RepetitionPenaltyLogitsProcessor),
    ],
)
def test_equal_to_transformers(name: str, value: float, processor: Any) -> None:
    given = logits()
    ours = TRANSFORMS[name](given, ROWS, value)
    assert torch.equal(given, logits())  # a pure function
    for row, before, after in zip(ROWS, given, ours, strict=True):  # theirs take rows of one length
        expected = processor(value)(torch.tensor([[*row.prompt, *row.new]]), before[None].clone())
        torch.testing.assert_close(after[None], expected, rtol=0, atol=1e-6)


def test_all_together_equal_to_transformers() -> None:
    asked = Sampling(temperature=1.3, top_k=7, top_p=0.9, min_p=0.05, repetition_penalty=1.2)
    ours = sampling.applied(sampling.transforms(asked), logits(), ROWS)
    steps = [
        theirs.RepetitionPenaltyLogitsProcessor(1.2),
        theirs.TemperatureLogitsWarper(1.3),
        theirs.TopKLogitsWarper(7),
        theirs.TopPLogitsWarper(0.9),
        theirs.MinPLogitsWarper(0.05),
    ]
    for row, before, after in zip(ROWS, logits(), ours, strict=True):
        expected = theirs.LogitsProcessorList(steps)(torch.tensor([[*row.prompt, *row.new]]), before[None].clone())
        torch.testing.assert_close(after[None], expected, rtol=0, atol=1e-6)


def test_frequency_penalty() -> None:
    penalised = TRANSFORMS["frequency_penalty"](torch.zeros(2, 6), [Row(0, [1, 1], []), Row(1, [1], [3, 3, 5])], 0.5)
    assert penalised.tolist() == [[0] * 6, [0, 0, 0, -1, 0, -0.5]]


P = np.array([0.35, 0.25, 0.2, 0.1, 0.06, 0.04])  # of six tokens; what the settings make of them is worked out by hand
NEW = [0, 0, 2]  # what the row has written


def raised(power: float) -> np.ndarray:
    return P**power / (P**power).sum()


def kept(number: int) -> np.ndarray:
    return np.where(np.arange(6) < number, P, 0) / P[:number].sum()


def lessened() -> np.ndarray:
    weights = P * np.exp(-0.5 * np.bincount(NEW, minlength=6))
    return weights / weights.sum()


def repeated() -> np.ndarray:
    weights = np.where(np.isin(np.arange(6), [*NEW, 4]), P**1.5, P)  # the logits are negative: the logarithms of P
    return weights / weights.sum()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, P),
        ({"temperature": 0.5}, raised(2)),
        ({"temperature": 2.0}, raised(0.5)),
        ({"top_k": 3}, kept(3)),
        ({"top_p": 0.7}, kept(3)),
        ({"min_p": 0.25}, kept(4)),
        ({"frequency_penalty": 0.5}, lessened()),
        ({"repetition_penalty": 1.5}, repeated()),
    ],
    ids=str,
)
def test_distribution(keys: dict[str, float], expected: np.ndarray) -> None:
    """20,000 draws, of 200 rows and 100 steps; the chi-square test at 0.001, with a fixed seed."""
    choose = sampling.chooser(Sampling(**{"temperature": 1.0, "seed": 5, **keys}))
    counts = np.zeros(6)
    for step in range(100):
        rows = [Row(number, [4], [*NEW]) for number in range(step * 200, step * 200 + 200)]
        ids = choose(torch.tensor(np.log(P), dtype=torch.float32).expand(200, 6), rows)
        counts += np.bincount(ids.numpy(), minlength=6)
    assert (counts[expected == 0] == 0).all()
    possible = expected > 0
    assert stats.chisquare(counts[possible], 20_000 * expected[possible]).pvalue > 0.001


def test_draws_are_independent_of_batch_and_of_each_other() -> None:
    """A row's numbers depend on seed, row and step only; those of neighbouring rows, steps and seeds don't follow one another."""
    given = torch.zeros(50, 400)
    rows = [Row(number, [1], [0] * (number % 7)) for number in range(50)]
    together = sampling.draw(given, rows, 3)
    alone = [int(sampling.draw(given[:1], [row], 3)) for row in rows]
    assert together.tolist() == alone

    def uniform(seed: int, row: int, step: int) -> float:
        return sampling._uniform(seed, row, step)

    base = [uniform(s, r, t) for s in range(12) for r in range(12) for t in range(12)]
    assert len(set(base)) == 12**3
    assert stats.kstest(base, "uniform").pvalue > 0.001
    cube = np.array(base).reshape(12, 12, 12)
    for axis in range(3):
        one, two = np.split(cube, 2, axis) if axis == 0 else (np.delete(cube, -1, axis), np.delete(cube, 0, axis))
        assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.1


def test_a_token_without_probability_never_comes() -> None:
    given = torch.full((1000, 5), -torch.inf)
    given[:, 2] = 0
    assert (sampling.draw(given, [Row(number, [1]) for number in range(1000)], 0) == 2).all()


def test_temperature_0_takes_the_likeliest() -> None:
    assert sampling.chooser(Sampling())(logits(), ROWS).equal(logits().argmax(-1))
    penalised = sampling.chooser(Sampling(frequency_penalty=100.0))(torch.tensor([[5.0, 4.0]]), [Row(0, [1], [0])])
    assert penalised.tolist() == [1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"top_p": 0.9}, "nothing is drawn at temperature 0"),
        ({"temperature": 1, "top_p": 0}, "top_p"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 1, "top_k": 0}, "top_k"),
    ],
)
def test_settings_without_a_meaning(keys: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        from_arguments(Sampling, None, keys)
