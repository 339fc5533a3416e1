"""What encoder-decoders write, against transformers; and the loop over the State of each family that has a memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import yanmo
from tests.families import CASES, Case
from yanmo import checkpoint, models
from yanmo.decoding import loop
from yanmo.models.base import Memory
from yanmo.text import tokenizer
from yanmo.text.batches import pack
from yanmo.text.tokenizer import TokenizerSettings

CUTTER = tokenizer.train([" ".join(f"w{i}" for i in range(62))], TokenizerSettings(kind="word", vocab=100))
SOURCES = ["w1 w2 w3 w4", "w30", "w9 w9 w8 w40 w41 w42 w43"]
CLASSES = {
    "t5": "T5ForConditionalGeneration",
    "mt5": "MT5ForConditionalGeneration",
    "bart": "BartForConditionalGeneration",
    "mbart": "MBartForConditionalGeneration",
    "marian": "MarianMTModel",
}
FIRST = {case.family: case for case in reversed(CASES) if case.family in CLASSES}


@pytest.mark.parametrize("case", FIRST.values(), ids=lambda case: case.id)
@pytest.mark.parametrize("beams", [1, 3])
def test_equal_to_transformers(case: Case, beams: int, tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = getattr(transformers, case.reference or "")(**case.values)
    theirs: Any = getattr(transformers, CLASSES[case.family])(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.requires_grad:  # not the sinusoids
                parameter += 0.3 * torch.randn_like(parameter)
    own = theirs.generation_config
    own.eos_token_id = 50
    own.forced_eos_token_id = None  # what it does to a text that is cut off is not done here
    if case.family == "marian":
        own.bad_words_ids = [[own.pad_token_id]]
    if case.family == "mbart":
        own.forced_bos_token_id = 20
    if own.decoder_start_token_id is None:
        own.decoder_start_token_id = 2
    theirs.save_pretrained(tmp_path)
    CUTTER.save(tmp_path)
    opened = yanmo.load(tmp_path)
    keys: dict[str, Any] = {"beams": 3, "length_penalty": 0.5} if beams > 1 else {}
    found = opened.generate(SOURCES, max_new_tokens=10 - (case.family == "mbart"), **keys)
    for source, text in zip(SOURCES, found, strict=True):
        ids = torch.tensor([CUTTER.encode(source)])
        extra = {"length_penalty": 0.5, "early_stopping": "never"} if beams > 1 else {}
        expected = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, num_beams=beams, do_sample=False, **extra
        )
        skipped = 2 if case.family == "mbart" else 1
        ids = expected[0, skipped:].tolist()
        assert text == CUTTER.decode(ids[: ids.index(50)] if 50 in ids else ids)
    assert max(len(text.split()) for text in found) > 4


PAIRS = [case for case in CASES if "seq2seq" in (case.heads or models.find(case.family).heads)]


@pytest.mark.parametrize("case", PAIRS, ids=lambda case: case.id)
def test_the_loop_over_a_memory(case: Case) -> None:
    """Each row to its own end, beside sources of other lengths; against the whole target anew for each token."""
    family = models.find(case.family)
    config, _ = family.config.read(case.values, "test")
    torch.manual_seed(0)
    model: Any = checkpoint.create(family, config, "seq2seq").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * 0.4
    rows = [[5, 9, 2, 17], [7, 2], [3, 3, 8, 1, 60, 44, 2]]

    @torch.inference_mode()
    def plainly(row: list[int], stops: set[int]) -> list[int]:
        source, target = pack([np.array(row)]), [6]
        while len(target) < 9 and (len(target) == 1 or target[-1] not in stops):
            memory = Memory(model.encode(source), source.lengths)
            hidden = model.decode(pack([np.array(target)]), memory=memory)
            target.append(int(model.logits(hidden[-1:]).argmax()))
        return target[1:]

    def together(stops: set[int]) -> list[list[int]]:
        source = pack([np.array(row) for row in rows])
        with torch.inference_mode():
            state = model.state(Memory(model.encode(source), source.lengths))
        return loop.follow(model, [[6]] * 3, state=state, stops=stops, max_new_tokens=8)

    free = together(set())
    assert free == [plainly(row, set()) for row in rows]
    stops = {free[0][3], free[2][1]}
    assert together(stops) == [plainly(row, stops) for row in rows]
