"""Beam search against transformers' token for token, and against every text that there is."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import yanmo
from tests.decoding.test_loop import DECODERS, made
from yanmo.decoding import beam, sampling
from yanmo.decoding.sampling import Sampling
from yanmo.text import tokenizer
from yanmo.text.batches import pack
from yanmo.text.tokenizer import TokenizerSettings

PROMPTS = [[5, 9, 2], [7], [3, 3, 8, 1, 30, 4, 2]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A random model, as transformers and as we have it."""
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(4)
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * 0.12
    model.save_pretrained(folder)
    tokenizer.train(["a b"], TokenizerSettings(kind="word", vocab=100)).save(folder)
    return model, yanmo.load(folder).model


@pytest.mark.parametrize("penalty", [-1.0, 0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize(("beams", "stops"), [(2, [11]), (3, [11, 23]), (5, [11]), (4, [13])])
def test_equal_to_transformers(pair: tuple[Any, Any], beams: int, stops: list[int], penalty: float) -> None:
    theirs, ours = pair
    keys = {"num_beams": beams, "num_return_sequences": beams, "length_penalty": penalty, "early_stopping": "never"}
    found = beam.search(
        ours,
        PROMPTS,
        beams=beams,
        ends=lambda new: new[-1] in stops,
        endings=len(stops),
        max_new_tokens=9,
        length_penalty=penalty,
    )
    lengths = set()
    for prompt, best in zip(PROMPTS, found, strict=True):
        expected = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=9,
            eos_token_id=stops,
            pad_token_id=0,
            do_sample=False,
            output_scores=True,
            return_dict_in_generate=True,
            **keys,
        )
        texts = [until(row[len(prompt) :].tolist(), stops) for row in expected.sequences]
        assert [one.ids for one in best] == texts
        assert np.allclose([one.score for one in best], expected.sequences_scores, rtol=1e-6, atol=0)
        lengths |= {len(text) for text in texts}
    assert len(lengths) > 1 or penalty >= 1


def until(ids: list[int], stops: list[int]) -> list[int]:
    return ids[: next((place + 1 for place, id in enumerate(ids) if id in stops), len(ids))]


def test_a_penalty_of_repetition_is_transformers_own(pair: tuple[Any, Any]) -> None:
    theirs, ours = pair
    transforms = sampling.transforms(Sampling(repetition_penalty=1.8))
    found = beam.search(ours, [PROMPTS[0]], beams=3, ends=lambda new: False, max_new_tokens=8, transforms=transforms)
    expected = theirs.generate(
        torch.tensor([PROMPTS[0]]),
        attention_mask=torch.ones(1, 3, dtype=torch.long),
        max_new_tokens=8,
        num_beams=3,
        repetition_penalty=1.8,
        eos_token_id=None,
        pad_token_id=0,
        early_stopping="never",
    )
    assert found[0][0].ids == expected[0, 3:].tolist()


FAMILIES = {case.family: case for case in DECODERS if case.family in ("llama", "yanmo-rnn", "yanmo-transformer-xl")}


@pytest.mark.parametrize("case", FAMILIES.values(), ids=lambda case: case.id)
@pytest.mark.parametrize("penalty", [0.0, 1.5])
def test_a_beam_as_wide_as_all_texts_finds_the_best(case: Any, penalty: float) -> None:
    """Of four tokens (the others never come), one of which ends a text, every text of at most four tokens."""
    model, stop, words, most = made(case), 8, [6, 7, 8, 9], 4
    barred = [id for id in range(case.values["vocab_size"]) if id not in words]
    scores = {}
    for size in range(1, most + 1):
        for text in itertools.product(words, repeat=size):
            if stop in text[:-1] or (size < most and text[-1] != stop):
                continue
            with torch.inference_mode():
                hidden = model.decode(pack([np.array([5, 3, *text])]))
                chances = model.logits(hidden).log_softmax(-1)
            scores[text] = sum(float(chances[1 + i, id]) for i, id in enumerate(text)) / size**penalty
    best = sorted(scores.items(), key=lambda entry: -entry[1])[:5]
    (found,) = beam.search(
        model,
        [[5, 3]],
        beams=200,
        ends=lambda new: new[-1] == stop,
        max_new_tokens=most,
        length_penalty=penalty,
        transforms=[sampling.without(barred)],
    )
    assert [tuple(one.ids) for one in found[:5]] == [text for text, _ in best]
    assert max(abs(one.score - score) for one, (_, score) in zip(found, best, strict=False)) < 1e-5


def test_a_prompt_does_not_depend_on_the_others(pair: tuple[Any, Any]) -> None:
    keys: dict[str, Any] = {"beams": 3, "ends": lambda new: new[-1] == 11, "max_new_tokens": 7}
    together = beam.search(pair[1], PROMPTS, **keys)
    alone = [beam.search(pair[1], [prompt], **keys)[0] for prompt in PROMPTS]
    assert [[one.ids for one in best] for best in together] == [[one.ids for one in best] for best in alone]
