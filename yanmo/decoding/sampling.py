"""Drawing the next token: row-wise transforms of logits, then a draw. A transform is a pure function: logits (rows, vocabulary) and the
rows so far -> logits; what may not come has -inf.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from yanmo.decoding.loop import Choose, Row
from yanmo.settings import Block

Transform = Callable[[Tensor, Sequence[Row]], Tensor]


class Sampling(Block):
    temperature: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="how freely tokens are drawn; 0: always the likeliest"
    )
    top_k: int | None = Field(None, ge=1, description="draw from this many likeliest tokens; null: from all")
    top_p: float | None = Field(
        None, gt=0, le=1, description="draw from the likeliest tokens that have this probability together; null: all"
    )
    min_p: float | None = Field(
        None, gt=0, le=1, description="draw from tokens at least this likely, the likeliest being 1; null: all"
    )
    repetition_penalty: float | None = Field(
        None, gt=0, description="above 1: tokens of the prompt and the text come less often; null: 1"
    )
    frequency_penalty: float | None = Field(
        None,
        allow_inf_nan=False,
        description="subtracted from a token's logit for each time that the text has it; null: 0",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of the draws")

    @model_validator(mode="after")
    def _something_to_draw(self) -> "Sampling":
        idle = [name for name in ("top_k", "top_p", "min_p") if getattr(self, name) is not None]
        if self.temperature == 0 and idle:
            raise ValueError(
                f"{', '.join(idle)} says what to draw from, but nothing is drawn at temperature 0; set temperature too, such as to 1"
            )
        return self


def temperature(logits: Tensor, rows: Sequence[Row], value: float) -> Tensor:
    """Above 1 flatter, below 1 steeper (Ackley, Hinton & Sejnowski 1985, "A Learning Algorithm for Boltzmann Machines")."""
    return logits / value


def top_k(logits: Tensor, rows: Sequence[Row], number: int) -> Tensor:
    """The likeliest tokens, and those as likely as the last of them (Fan, Lewis & Dauphin 2018, "Hierarchical Neural Story Generation")."""
    least = logits.topk(min(number, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def top_p(logits: Tensor, rows: Sequence[Row], share: float) -> Tensor:
    """The fewest tokens whose probabilities come to `share` (Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration")."""
    ordered, places = logits.sort(descending=True, stable=True)
    chances = ordered.softmax(-1)
    before = chances.cumsum(-1) - chances  # of all that are likelier; 0 for the first, so that one is always left
    dropped = (before >= share).scatter(-1, places, before >= share)
    return logits.masked_fill(dropped, -torch.inf)


def min_p(logits: Tensor, rows: Sequence[Row], share: float) -> Tensor:
    """The tokens with at least this share of the likeliest one's probability (Nguyen et al. 2024, "Turning Up the Heat")."""
    chances = logits.softmax(-1)
    return logits.masked_fill(chances < share * chances.amax(-1, keepdim=True), -torch.inf)


def repetition_penalty(logits: Tensor, rows: Sequence[Row], value: float) -> Tensor:
    """A token of the prompt or the text has its logit divided by `value`, a negative one multiplied (Keskar et al. 2019, "CTRL", 4.1)."""
    logits = logits.clone()
    for scores, row in zip(logits, rows, strict=True):
        seen = torch.tensor(sorted({*row.prompt, *row.new}), device=logits.device)
        scores[seen] = torch.where(scores[seen] > 0, scores[seen] / value, scores[seen] * value)
    return logits


def frequency_penalty(logits: Tensor, rows: Sequence[Row], value: float) -> Tensor:
    """`value` less for each time that the text, the prompt not counted, has a token (OpenAI's API reference)."""
    counts = [np.bincount(np.array(row.new, np.int64), minlength=logits.shape[-1]) for row in rows]
    return logits - value * torch.from_numpy(np.stack(counts)).to(logits)


# In the order in which they work: a setting's name -> what it does.
TRANSFORMS: Mapping[str, Callable[..., Tensor]] = {
    "repetition_penalty": repetition_penalty,
    "frequency_penalty": frequency_penalty,
    "temperature": temperature,
    "top_k": top_k,
    "top_p": top_p,
    "min_p": min_p,
}


def transforms(asked: Sampling) -> list[Transform]:
    values: dict[str, Any] = {name: getattr(asked, name) for name in TRANSFORMS}
    return [_with(TRANSFORMS[name], value) for name, value in values.items() if value]


def _with(transform: Callable[..., Tensor], value: float) -> Transform:
    return lambda logits, rows: transform(logits, rows, value)


def applied(transforms: Sequence[Transform], logits: Tensor, rows: Sequence[Row]) -> Tensor:
    for transform in transforms:
        logits = transform(logits, rows)
    return logits


def without(ids: Sequence[int]) -> Transform:
    """These tokens never come."""
    return lambda logits, rows: logits.index_fill(-1, torch.tensor(ids, device=logits.device), -torch.inf)


def chooser(asked: Sampling, before: Sequence[Transform] = ()) -> Choose:
    """What takes a row's next token, as asked. before: what else is done to the logits first."""
    chosen = [*before, *transforms(asked)]

    def choose(logits: Tensor, rows: Sequence[Row]) -> Tensor:
        logits = applied(chosen, logits.float(), rows)
        return draw(logits, rows, asked.seed) if asked.temperature else logits.argmax(-1)

    return choose


def draw(logits: Tensor, rows: Sequence[Row], seed: int) -> Tensor:
    """(rows,) A token of each row, by its probability: where the distribution function passes a number from [0, 1) that belongs to the
    seed, the row's number and its step, so that no row depends on the others of its batch."""
    numbers = [_uniform(seed, row.number, len(row.new)) for row in rows]
    passed = logits.double().softmax(-1).cumsum(-1)
    passed = passed / passed[:, -1:]  # so that the last is 1, and no number beyond it
    return torch.searchsorted(passed, passed.new_tensor(numbers)[:, None], right=True)[:, 0]


def _uniform(seed: int, row: int, step: int) -> float:
    return float(np.random.Generator(np.random.Philox(key=[seed, row], counter=step)).random())
