"""Gaps: masks filled by a masked language model, and sentinels by what was written for them."""

import math
from typing import Any

import numpy as np
import torch

from tests.families import CASES
from yanmo import checkpoint, models
from yanmo.decoding import filling
from yanmo.text.batches import Batch, pack

MASK, WITHOUT = 4, [0, 1, 2, 3]


def bert() -> Any:
    case = next(case for case in CASES if case.family == "bert")
    family = models.find(case.family)
    config, _ = family.config.read(case.values, "test")
    torch.manual_seed(0)
    model = checkpoint.create(family, config, "masked").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * 0.3
    return model


@torch.inference_mode()
def chances(model: Any, row: list[int]) -> torch.Tensor:
    logits = model.logits(model.hidden(Batch(pack([np.array(row)]))))
    logits[:, [MASK, *WITHOUT]] = -torch.inf
    return logits.softmax(-1)


def test_one_mask_takes_its_likeliest_tokens() -> None:
    model, row = bert(), [2, 9, MASK, 12, 3]
    best = chances(model, row)[2].topk(5)
    found = filling.masks(model, row, MASK, n=5, without=WITHOUT)
    assert [one.ids for one in found] == [[id] for id in best.indices.tolist()]
    assert max(abs(one.probability - share) for one, share in zip(found, best.values.tolist(), strict=True)) < 1e-6


def test_several_masks_the_surest_first() -> None:
    """By hand, for n = 1: the surest mask is filled, then the row is read anew."""
    model, row, total = bert(), [2, MASK, 9, MASK, MASK, 12, 3], 0.0
    filled, order = list(row), []
    while MASK in filled:
        shares = chances(model, filled)
        gaps = [place for place, id in enumerate(filled) if id == MASK]
        place = max(gaps, key=lambda gap: float(shares[gap].max()))
        order.append(place)
        total += math.log(shares[place].max())
        filled[place] = int(shares[place].argmax())
    (found,) = filling.masks(model, row, MASK, without=WITHOUT)
    assert found.ids == [filled[place] for place in (1, 3, 4)]
    assert abs(found.probability - math.exp(total)) < 1e-6
    assert order != sorted(order), "a case in which left to right would be the same shows nothing"


def test_alternatives() -> None:
    found = filling.masks(bert(), [2, MASK, 9, MASK, 3], MASK, n=6, without=WITHOUT)
    assert len({tuple(one.ids) for one in found}) == 6
    assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)
    assert not {id for one in found for id in one.ids} & {MASK, *WITHOUT}


def test_more_than_there_are() -> None:
    allowed = [id for id in range(67) if id not in (7, 8)]
    found = filling.masks(bert(), [2, MASK, 3], MASK, n=5, without=allowed)
    assert {tuple(one.ids) for one in found} == {(7,), (8,)}
    assert abs(sum(one.probability for one in found) - 1) < 1e-6


def test_spans() -> None:
    sentinels = {90, 91, 92}
    assert filling.spans([1, 90, 2, 91, 3], [90, 5, 6, 91, 7, 92], sentinels) == [1, 5, 6, 2, 7, 3]
    assert filling.spans([1, 90, 2, 91, 3], [8, 91, 7], sentinels) == [1, 2, 7, 3]  # nothing for 90; 8 is of no gap
    assert filling.spans([1, 90, 2], [90, 5, 91, 6, 90, 9], sentinels) == [1, 5, 2]
    assert filling.spans([1, 2], [90, 5], sentinels) == [1, 2]
