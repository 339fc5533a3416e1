"""The decoding loop against decoding without a state, for every family that has one."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.families import CASES, Case
from yanmo import checkpoint, models
from yanmo.decoding import loop
from yanmo.models.base import Model
from yanmo.text.batches import pack

DECODERS = [case for case in CASES if "causal" in (case.heads or models.find(case.family).heads)]
PROMPTS = [[5, 9, 2], [7], [3, 3, 8, 1, 60, 44, 2], [11, 12]]


def made(case: Case) -> Model:
    family = models.find(case.family)
    config, _ = family.config.read(case.values, "test")
    torch.manual_seed(0)
    model: Any = checkpoint.create(family, config, "causal").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * 0.6
    found: Model = model
    return found


@torch.inference_mode()
def plainly(model: Model, prompt: list[int], stops: list[int], limit: int) -> list[int]:
    """The whole row anew for each token."""
    row = list(prompt)
    while len(row) < len(prompt) + limit and (len(row) == len(prompt) or row[-1] not in stops):
        run = pack([np.array(row)])
        row.append(int(model.logits(model.decode(run)[-1:]).argmax()))
    return row[len(prompt) :]


@pytest.mark.parametrize("case", DECODERS, ids=lambda case: case.id)
def test_rows_of_any_length_each_to_its_own_end(case: Case) -> None:
    model = made(case)
    free = [plainly(model, prompt, [], 12) for prompt in PROMPTS]
    assert loop.follow(model, PROMPTS, max_new_tokens=12) == free
    stops = [free[0][4], free[2][8]]
    expected = [plainly(model, prompt, stops, 12) for prompt in PROMPTS]
    assert loop.follow(model, PROMPTS, stops=stops, max_new_tokens=12) == expected
    assert len({len(row) for row in expected}) > 1


def test_a_state_goes_on() -> None:
    model = made(next(case for case in DECODERS if case.family == "llama"))
    state = model.state()
    with torch.inference_mode():
        model.decode(pack([np.array(prompt[:-1]) for prompt in PROMPTS if len(prompt) > 1]), state)
    prompts = [prompt for prompt in PROMPTS if len(prompt) > 1]
    found = loop.follow(model, [prompt[-1:] for prompt in prompts], state=state, max_new_tokens=5)
    assert found == loop.follow(model, prompts, max_new_tokens=5)


def test_a_prompt_is_read_once_and_a_finished_text_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(DECODERS[0])
    read: list[tuple[int, ...]] = []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda run, state: (read.append(tuple(run.lengths)), decode(run, state))[1])
    told = loop.steps(
        model,
        PROMPTS,
        n=3,
        ends=lambda new: len(new) > new[0] % 3,  # of a prompt's three texts one a step
        max_new_tokens=9,
        choose=lambda logits, rows: torch.tensor([row.number for row in rows]),
    )
    assert [len(rows) for rows in told] == [3 * len(PROMPTS), 2 * len(PROMPTS), len(PROMPTS)]
    assert read == [tuple(map(len, PROMPTS)), (1,) * 2 * len(PROMPTS), (1,) * len(PROMPTS)]


def test_another_choice() -> None:
    model = made(DECODERS[0])
    assert loop.follow(
        model, [[1], [2]], max_new_tokens=3, choose=lambda logits, rows: torch.full((len(logits),), 7)
    ) == [
        [7, 7, 7],
        [7, 7, 7],
    ]


def test_nothing_to_do() -> None:
    model = made(DECODERS[0])
    assert loop.follow(model, [], max_new_tokens=3) == []
    assert loop.follow(model, [[1]], max_new_tokens=0) == [[]]
    with pytest.raises(ValueError, match="at least one token"):
        loop.follow(model, [[1], []], max_new_tokens=3)
