"""The decoding loop: prompts -> what follows them, a token of each row at a time. Knows a model by its State, `decode` and `logits`
only, so it serves every family that has these.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yanmo.models.base import Model
from yanmo.text.batches import Run, pack

Choose = Callable[[Tensor], Tensor]  # logits (rows, vocabulary) of the last tokens -> (rows,) the next tokens


def greedy(logits: Tensor) -> Tensor:
    """The likeliest token of each row."""
    return logits.argmax(-1)


@torch.inference_mode()
def follow(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    state: Any = None,
    stops: Collection[int] = (),
    max_new_tokens: int,
    choose: Choose = greedy,
    device: torch.device | str = "cpu",
) -> list[list[int]]:
    """The new ids of each row, up to and with the first that is one of `stops`, at most `max_new_tokens`. A finished row leaves the
    state, so that it costs nothing more.

    prompts: rows of any length, of at least one token each. state: what was decoded before them (of as many rows; an
    encoder-decoder's holds its memory); None begins afresh. Once given, it is used up.
    """
    if not all(map(len, prompts)):
        raise ValueError("a prompt needs at least one token")
    found: list[list[int]] = [[] for _ in prompts]
    if not prompts or max_new_tokens < 1:
        return found
    state = model.state() if state is None else state
    rows = list(range(len(prompts)))  # the prompts that are not finished, in the order of the state's rows
    run = pack([np.asarray(prompt) for prompt in prompts]).to(torch.device(device))
    while True:
        chosen = choose(model.logits(model.decode(run, state)[run.ends]))
        ids = chosen.tolist()
        for row, id in zip(rows, ids, strict=True):
            found[row].append(id)
        if len(found[rows[0]]) == max_new_tokens:
            return found
        going = [place for place, id in enumerate(ids) if id not in stops]
        if not going:
            return found
        if len(going) < len(rows):
            kept = torch.tensor(going, device=chosen.device)
            state, chosen, rows = state.select(kept), chosen[kept], [rows[place] for place in going]
        run = Run(chosen, (1,) * len(rows))
