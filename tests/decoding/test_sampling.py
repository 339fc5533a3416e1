"""The transforms against transformers' own, and each of them by the distribution of what is drawn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from transformers.generation import logits_process as theirs

from yanmo.decoding import sampling
from yanmo.decoding.loop import Row
from yanmo.decoding.sampling import Sampling
from yanmo.errors import SettingsError
from yanmo.settings import from_arguments

WORDS = 12
ROWS = [Row(number, [1, 2, number], [3, 3, 5][: number % 4]) for number in range(6)]


def logits(rows: int = 6, words: int = WORDS) -> Tensor:
    return 2 * torch.randn(rows, words, generator=torch.Generator().manual_seed(7))


EQUALS: list[tuple[dict[str, Any], Callable[[], Any]]] = [
    ({"temperature": 0.7}, lambda: theirs.TemperatureLogitsWarper(0.7)),
    ({"top_k": 4}, lambda: theirs.TopKLogitsWarper(4)),
    ({"top_k": 50}, lambda: theirs.TopKLogitsWarper(50)),
    ({"top_p": 0.6}, lambda: theirs.TopPLogitsWarper(0.6)),
    ({"top_p": 0.001}, lambda: theirs.TopPLogitsWarper(0.001)),
    ({"min_p": 0.2}, lambda: theirs.MinPLogitsWarper(0.2)),
    ({"repetition_penalty": 1.4}, lambda: theirs.RepetitionPenaltyLogitsProcessor(1.4)),
    ({"repetition_penalty": 0.8}, lambda: theirs.RepetitionPenaltyLogitsProcessor(0.8)),
]


@pytest.mark.parametrize(("keys", "made"), EQUALS, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_equal_to_transformers(keys: dict[str, Any], made: Callable[[], Any]) -> None:
    """Row by row, since theirs take rows of one length."""
    (ours,) = sampling.transforms(Sampling(**{"temperature": 1.0, **keys}))[-1:] if "temperature" in keys else [
        transform for transform in sampling.transforms(Sampling(**{"temperature": 1.0, **keys})) if transform
    ][:1] if "repetition_penalty" in keys else sampling.transforms(Sampling(**{"temperature": 1.0, **keys}))[1:]
    for row, values in zip(ROWS, logits(), strict=True):
        expected = made()(torch.tensor([[*row.prompt, *row.new]]), values[None].clone())
        torch.testing.assert_close(ours(values[None], [row]), expected, rtol=0, atol=1e-6)
