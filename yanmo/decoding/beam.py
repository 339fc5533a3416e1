"""Beam search: the texts with the best score, as far as a beam of so many texts sees. A text's score is the logarithm of its probability
divided by its length (new tokens, the end among them) to the power of a penalty: above 0 it favours long texts, below short ones.

There are three ways to stop it in use. This is the exact one: a prompt is done when no text that is still being written can come to a
better score than its `beams` finished ones, or at `max_new_tokens`, where what is being written counts as finished ("never" in
transformers' `early_stopping`). A text finishes only from among the `beams` best of its step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yanmo.decoding.loop import Ends, Row, begin, further
from yanmo.decoding.sampling import Transform, applied
from yanmo.models.base import Model


class Found(NamedTuple):
    ids: list[int]  # the new ones
    score: float


@dataclass
class _Beam:
    """Of one prompt."""

    live: list[Row]  # what is being written, the best first
    scores: list[float]  # the logarithms of their probabilities
    found: list[Found] = field(default_factory=list)  # the best first


@torch.inference_mode()
def search(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    beams: int,
    first: int = 0,
    state: Any = None,
    ends: Ends,
    endings: int = 1,
    max_new_tokens: int,
    length_penalty: float = 1.0,
    transforms: Sequence[Transform] = (),
    device: torch.device | str = "cpu",
) -> list[list[Found]]:
    """The best texts of each prompt, at most `beams`, the best first.

    endings: how many tokens may end a text; so many more are looked at, that enough remain to go on with. transforms: of the logarithms
    of the probabilities, before they are added up. The rest as `loop.steps` has it."""
    if not all(map(len, prompts)):
        raise ValueError("a prompt needs at least one token")
    if not prompts or max_new_tokens < 1:
        return [[Found([], 0.0)] for _ in prompts]
    every = going = [_Beam([Row(first + place, prompt)], [0.0]) for place, prompt in enumerate(prompts)]
    state, logits = begin(model, prompts, state, device)
    for length in range(1, max_new_tokens + 1):
        chances = applied(transforms, logits.float().log_softmax(-1), [row for one in going for row in one.live])
        best = max_new_tokens if length_penalty > 0 else length  # the length at which a probability scores best
        open_, sources, at = [], [], 0
        for one, part in zip(going, torch.split(chances, [len(one.live) for one in going]), strict=True):
            taken, finished = _candidates(one, part, beams, max(2, 1 + endings), ends, length == max_new_tokens)
            one.found += [Found(row.new, score / length**length_penalty) for row, score in finished]
            one.found = sorted(one.found, key=lambda found: -found.score)[:beams]
            one.live, one.scores = [row for row, _, _ in taken], [score for _, score, _ in taken]
            if taken and (len(one.found) < beams or one.scores[0] / best**length_penalty > one.found[-1].score):
                open_.append(one)
                sources += [at + source for _, _, source in taken]
            at += len(part)
        if not open_:
            break
        going = open_
        state = state.select(torch.tensor(sources, device=logits.device))
        ids = torch.tensor([row.new[-1] for one in going for row in one.live], device=logits.device)
        logits = further(model, state, ids)
    return [one.found for one in every]


def _candidates(
    one: _Beam, chances: Tensor, beams: int, times: int, ends: Ends, last: bool
) -> tuple[list[tuple[Row, float, int]], list[tuple[Row, float]]]:
    """A step of one prompt, chances (live, vocabulary): what goes on, with its score and the place of the row that it continues; and what
    has finished, with its score."""
    total = (chances + torch.tensor(one.scores, device=chances.device)[:, None]).flatten()
    scores, places = total.topk(min(times * beams, len(total)))
    taken: list[tuple[Row, float, int]] = []
    finished: list[tuple[Row, float]] = []
    for rank, (score, place) in enumerate(zip(scores.tolist(), places.tolist(), strict=True)):
        source, id = divmod(place, chances.shape[-1])
        old = one.live[source]
        row = Row(old.number, old.prompt, [*old.new, id])
        if last or ends(row.new):
            if rank < beams:
                finished.append((row, score))
        elif len(taken) < beams:
            taken.append((row, score, source))
    return taken, finished
