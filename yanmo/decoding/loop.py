"""The decoding loop: prompts -> what follows them, a token of each row at a time. Knows a model by its State, `decode` and `logits`
only, so it serves every family that has these.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yanmo.models.base import Model
from yanmo.text.batches import Run, pack


@dataclass(frozen=True)
class Row:
    """A text that is being written."""

    number: int  # its place among all that were asked for
    prompt: Sequence[int]
    new: list[int] = field(default_factory=list)


Choose = Callable[
    [Tensor, Sequence[Row]], Tensor
]  # logits (rows, vocabulary) of the last tokens -> (rows,) the next tokens
Ends = Callable[[Sequence[int]], bool]  # whether these new tokens end a text


def greedy(logits: Tensor, rows: Sequence[Row]) -> Tensor:
    """The likeliest token of each row."""
    return logits.argmax(-1)


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
    """The new ids of each prompt, up to and with the first that is one of `stops`, at most `max_new_tokens`; the rest as `steps` has
    it."""
    found: list[list[int]] = [[] for _ in prompts]
    ends: Ends = lambda new: new[-1] in stops  # noqa: E731 (one use)
    for rows in steps(
        model, prompts, state=state, ends=ends, max_new_tokens=max_new_tokens, choose=choose, device=device
    ):
        for row, _ in rows:
            found[row.number] = row.new
    return found


@torch.inference_mode()
def steps(
    model: Model,
    prompts: Sequence[Sequence[int]],
    *,
    n: int = 1,
    first: int = 0,
    state: Any = None,
    ends: Ends,
    max_new_tokens: int,
    choose: Choose = greedy,
    device: torch.device | str = "cpu",
) -> Iterator[list[tuple[Row, bool]]]:
    """After each step the rows that have a new token, and whether it is their last: because it `ends` them, or is the
    `max_new_tokens`-th. A finished row leaves the state, so that it costs nothing more.

    prompts: rows of any length, of at least one token each. n: texts of each prompt, which is read once; those of prompt p have the
    numbers first + p * n and on. state: what was decoded before the prompts (of as many rows; an encoder-decoder's holds its memory);
    None begins afresh. Once given, it is used up.
    """
    if not all(map(len, prompts)):
        raise ValueError("a prompt needs at least one token")
    if not prompts or max_new_tokens < 1:
        return
    rows = [Row(first + place, prompt) for place, prompt in enumerate(prompt for prompt in prompts for _ in range(n))]
    state, logits = begin(model, prompts, state, device)
    if n > 1:
        copies = torch.arange(len(prompts), device=logits.device).repeat_interleave(n)
        state, logits = state.select(copies), logits[copies]
    while True:
        chosen = choose(logits, rows)
        for row, id in zip(rows, chosen.tolist(), strict=True):
            row.new.append(id)
        told = [(row, len(row.new) == max_new_tokens or ends(row.new)) for row in rows]
        yield told
        going = [place for place, (_, last) in enumerate(told) if not last]
        if not going:
            return
        if len(going) < len(rows):
            kept = torch.tensor(going, device=chosen.device)
            state, chosen, rows = state.select(kept), chosen[kept], [rows[place] for place in going]
        logits = further(model, state, chosen)


def begin(model: Model, prompts: Sequence[Sequence[int]], state: Any, device: torch.device | str) -> tuple[Any, Tensor]:
    """The state behind the prompts, and the logits (rows, vocabulary) of what comes next."""
    state = model.state() if state is None else state
    run = pack([np.asarray(prompt) for prompt in prompts]).to(torch.device(device))
    return state, model.logits(model.decode(run, state)[run.ends])


def further(model: Model, state: Any, ids: Tensor) -> Tensor:
    """A token more of each row: (rows,) -> the logits of the next."""
    return model.logits(model.decode(Run(ids, (1,) * len(ids)), state))
