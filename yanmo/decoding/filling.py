"""Filling gaps: the likeliest tokens for the masks of a text, and what an encoder-decoder writes for the sentinels of one."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch

from yanmo.models.base import Model
from yanmo.text.batches import Batch, pack


class Filling(NamedTuple):
    ids: list[int]  # a token for each mask, from left to right
    probability: float  # of all of them: the product of what each had when it was filled in


@torch.inference_mode()
def masks(
    model: Model,
    row: Sequence[int],
    mask: int,
    *,
    n: int = 1,
    without: Collection[int] = (),
    device: torch.device | str = "cpu",
) -> list[Filling]:
    """The n best fillings of a row's masks, at most, the best first. without: tokens that fill none.

    The masks are filled one at a time: of each filling the mask that the model is surest of, then all is read anew, since what fills one
    changes the others; of all ways to go on, the n likeliest do. (For n = 1 this is easy-first decoding.)"""
    gaps = [place for place, id in enumerate(row) if id == mask]
    best = {tuple(row): 0.0}  # what is filled in so far -> the logarithm of its probability
    for _ in gaps:
        texts = list(best)
        run = pack([np.array(text) for text in texts]).to(torch.device(device))
        hidden = model.hidden(Batch(run))
        wider: dict[tuple[int, ...], float] = {}
        for text, start in zip(texts, run.starts.tolist(), strict=True):
            left = [place for place in gaps if text[place] == mask]
            logits = model.logits(hidden[[start + place for place in left]]).float()
            logits[:, [mask, *without]] = -torch.inf
            values, ids = logits.log_softmax(-1).topk(min(n, logits.shape[-1]))
            surest = int(values[:, 0].argmax())
            for value, id in zip(values[surest].tolist(), ids[surest].tolist(), strict=True):
                if value == -np.inf:
                    break
                filled = (*text[: left[surest]], id, *text[left[surest] + 1 :])
                wider[filled] = max(wider.get(filled, -np.inf), best[text] + value)
        best = dict(sorted(wider.items(), key=lambda entry: -entry[1])[:n])
    return [Filling([text[place] for place in gaps], float(np.exp(value))) for text, value in best.items()]


def spans(source: Sequence[int], target: Sequence[int], sentinels: Collection[int]) -> list[int]:
    """The source with each of its sentinels replaced by what the target writes behind the same one, up to the next (Raffel et al. 2020,
    section 3.1.4); nothing where it writes none. What the target writes first of a sentinel counts."""
    parts: dict[int, list[int]] = {}
    part: list[int] = []  # before the first sentinel: dropped
    for id in target:
        if id in sentinels:
            part = []
            parts.setdefault(id, part)
        else:
            part.append(id)
    return [new for id in source for new in (parts.get(id, []) if id in sentinels else [id])]
