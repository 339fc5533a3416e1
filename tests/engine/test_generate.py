"""`Engine.generate`: what it takes, and what it says where it can't."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import yanmo
from yanmo import checkpoint, models
from yanmo.checkpoint import Checkpoint
from yanmo.engine import writing
from yanmo.engine.engine import Engine
from yanmo.engine.writing import Generation
from yanmo.errors import ModelError, YanmoError
from yanmo.models import ModelSettings
from yanmo.models.base import Memory
from yanmo.text import tokenizer
from yanmo.text.batches import Run, pack
from yanmo.text.chat import Chat
from yanmo.text.tokenizer import TokenizerSettings

SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
TURN = [{"role": "user", "content": "a bad film"}]


def made(chat: Chat | None = None, **changes: object) -> Engine:
    cutter = tokenizer.train(["a good film", "a bad film"] * 5, TokenizerSettings(vocab=100))
    settings = ModelSettings(family="llama", size={**SIZE, "max_position_embeddings": 20})
    family, config = models.configure(settings, vocab_size=cutter.size)
    torch.manual_seed(0)
    model = checkpoint.create(family, config, "causal")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * 0.3
    config.extra.update(changes)
    return Engine(Checkpoint(model, family, "causal", cutter, chat=chat), torch.device("cpu"))


def test_one_or_several() -> None:
    opened = made(Chat("{{ messages[0].content }}"))
    one = opened.generate("a good film", max_new_tokens=5)
    assert isinstance(one, str)
    # The template's text has no special tokens but its own.
    chat = opened.generate(TURN, max_new_tokens=5)
    assert opened.generate(["a good film", TURN], max_new_tokens=5) == [one, chat]
    assert opened.generate([], max_new_tokens=5) == []


def test_it_ends_where_the_config_says() -> None:
    opened = made()
    ids = opened.tokenizer.encode("a good film")[:-1]  # without [SEP]: the text goes on
    found = [int(id) for id in ids]
    with torch.inference_mode():
        for _ in range(5):
            found.append(int(opened.logits(torch.tensor([found]))[0, -1].argmax()))
    new = found[len(ids) :]
    assert opened.generate("a good film", max_new_tokens=5) == opened.tokenizer.decode(new)
    for ends in (new[2], [new[2], 10_000]):
        stopped = made(eos_token_id=ends).generate("a good film", max_new_tokens=5)
        assert stopped == opened.tokenizer.decode(new[: new.index(new[2])])


def test_a_saved_template_comes_back(tmp_path: Path) -> None:
    opened = made(Chat("{{ bos_token }}{{ messages[0].content }}", {"bos_token": "[CLS]"}))
    checkpoint.write(tmp_path / "model", opened.checkpoint)
    again = yanmo.load(tmp_path / "model")
    assert again.checkpoint.chat is not None
    assert again.checkpoint.chat.template == "{{ bos_token }}{{ messages[0].content }}"
    assert again.generate(TURN, max_new_tokens=5) == opened.generate(TURN, max_new_tokens=5)


def test_what_it_says(small_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"small0/model: no head that writes \(it has: classify\)"):
        yanmo.load(small_folder).generate("a")
    opened = made()
    with pytest.raises(ModelError, match="no chat template"):
        opened.generate(TURN)
    with pytest.raises(
        ModelError, match=r"room in the 20 positions of the model:\n  prompt 2: 6 tokens and 16 new ones"
    ):
        opened.generate(["a", "a good film a bad"], max_new_tokens=16)


def test_an_unfinished_run_names_its_newest_checkpoint(small_folder: Path, tmp_path: Path) -> None:
    for step in (8, 16):
        shutil.copytree(small_folder, tmp_path / f"checkpoints/step-{step:08d}")
    with pytest.raises(ModelError, match=r"not finished: give its command again, or open .*step-00000016$"):
        yanmo.load(tmp_path)


def test_equal_to_transformers(tmp_path: Path) -> None:
    """Greedy text, and where it ends: by generation_config.json, which comes before config.json."""
    cutter = made().tokenizer
    torch.manual_seed(3)
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=cutter.size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
        )
    ).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += torch.randn_like(parameter) * 0.3
    ids = cutter.encode("a good film")[:-1]
    free = theirs.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)
    theirs.generation_config.eos_token_id = [free[0, len(ids) + 6].item()]
    theirs.save_pretrained(tmp_path)
    cutter.save(tmp_path)
    expected = theirs.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False, pad_token_id=0)[0, len(ids) :]
    assert 1 < len(expected) < 12
    assert yanmo.load(tmp_path).generate("a good film", max_new_tokens=12) == cutter.decode(expected[:-1].tolist())


DRAWN = {"sampling": {"temperature": 1.5, "seed": 4}, "max_new_tokens": 8}


def test_samples_are_those_of_the_seed() -> None:
    opened = made()
    prompts = ["a", "a good film", "bad"]
    found = opened.generate(prompts, n=4, **DRAWN)
    assert [len(texts) for texts in found] == [4, 4, 4] and len({text for texts in found for text in texts}) == 12
    assert opened.generate(prompts, n=4, **DRAWN) == found
    assert opened.generate("a", n=4, **DRAWN) == found[0]  # whatever else is in its batch
    assert opened.generate(["a", "film film film", "bad"], n=4, **DRAWN)[2] == found[2]
    other = {**DRAWN, "sampling": {"temperature": 1.5, "seed": 5}}
    assert opened.generate("a", n=4, **other) != found[0]


def test_many_prompts_are_those_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, prompts = made(), ["a", "a good film", "bad", "film"]
    found = opened.generate(prompts, n=2, **DRAWN)
    monkeypatch.setattr(writing, "_AT_ONCE", 3)
    assert opened.generate(prompts, n=2, **DRAWN) == found


@pytest.mark.parametrize("keys", [{}, {"beams": 3}, DRAWN], ids=str)
def test_it_stops_before_a_text(keys: dict[str, object]) -> None:
    opened = made()
    keys = {"max_new_tokens": 8, **keys}
    whole = opened.generate("a good film", **{**keys, "beams": 1})
    middle = whole[len(whole) // 2 : len(whole) // 2 + 2]
    stopped = opened.generate("a good film", stop=[middle], **keys)
    assert middle not in stopped
    assert keys.get("beams") or (whole.startswith(stopped) and len(stopped) < len(whole))


def test_streamed_pieces_are_the_text() -> None:
    opened = made()
    prompts = ["a", "a good film"]
    found = opened.generate(prompts, n=3, **DRAWN)
    pieces = list(opened.stream(prompts, Generation(n=3, **DRAWN)))
    texts = {(p, s): "".join(one.text for one in pieces if one[:2] == (p, s)) for p in range(2) for s in range(3)}
    assert [[texts[p, s] for s in range(3)] for p in range(2)] == found
    assert len(pieces) > 20 and sum(piece.last for piece in pieces) == 6


def test_keys_without_a_meaning() -> None:
    opened = made()
    for keys, message in (
        ({"n": 2}, "would all be the same"),
        ({"beams": 2, "n": 3}, "raise beams"),
        ({"beams": 2, "sampling": {"temperature": 1}}, "draws nothing"),
        ({"length_penalty": 2}, "only beside beams"),
        ({"stop": [""]}, "empty text"),
        ({"temperature": 1}, "did you mean 'sampling.temperature'"),
    ):
        with pytest.raises(YanmoError, match=message):
            opened.generate("a", **keys)


def rnn(tmp_path: Path, pairs: list[tuple[str, str]], steps: int, extra: tuple[str, ...] = ()) -> Engine:
    """A small encoder-decoder that has learnt these pairs."""
    words = [word for pair in pairs for text in pair for word in text.split()]
    cutter = tokenizer.train([" ".join(words)], TokenizerSettings(kind="word", vocab=100))
    if extra:
        cutter.inner.add_special_tokens(list(extra))
    settings = ModelSettings(family="yanmo-rnn", size={"hidden_size": 32, "num_hidden_layers": 1})
    family, config = models.configure(settings, vocab_size=cutter.size)
    config.extra["eos_token_id"] = cutter.sep
    torch.manual_seed(0)
    model: Any = checkpoint.create(family, config, "seq2seq")
    sources = pack([np.array(cutter.encode(text)) for text, _ in pairs])
    target = pack([np.array(cutter.encode(text)[1:]) for _, text in pairs])
    begun = Run(target.ids.roll(1), target.lengths)  # each row begins with the [SEP] that ended the one before
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        said = model.logits(model.decode(begun, memory=Memory(model.encode(sources), sources.lengths)))
        torch.nn.functional.cross_entropy(said, target.ids).backward()
        optimiser.step()
    checkpoint.write(tmp_path / "model", Checkpoint(model, family, "seq2seq", cutter))
    return yanmo.load(tmp_path / "model")


PAIRS = [("a b c", "c b a"), ("d e", "e d"), ("b d a e", "e a d b")]


def test_an_encoder_decoder_writes_the_target(tmp_path: Path) -> None:
    opened = rnn(tmp_path, PAIRS, 150)
    for keys in ({}, {"beams": 3}):
        assert opened.generate([source for source, _ in PAIRS], **keys) == [target for _, target in PAIRS]


def test_gaps_between_sentinels_are_filled(tmp_path: Path) -> None:
    """What an encoder-decoder writes behind each sentinel of the source stands in its place."""
    zero, one, two = (f"<extra_id_{i}>" for i in range(3))
    pairs = [
        (f"a {zero} c {one} e", f"{zero} b {one} d d {two}"),
        (f"b {zero} d", f"{zero} c e {one}"),
    ]
    opened = rnn(tmp_path, pairs, 150, (zero, one, two))
    assert opened.generate([source for source, _ in pairs]) == ["a b c d d e", "b c e d"]


MASKED = ["the film is good", "the film is bad", "a film"]


def test_masks_are_filled(tmp_path: Path, minilm: Path) -> None:
    """One mask: the likeliest tokens, as transformers' own pipeline has them; the words around it stand as they were given."""
    cutter = tokenizer.train(MASKED * 3, TokenizerSettings(vocab=100))
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=cutter.size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    theirs = transformers.BertForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += torch.randn_like(parameter) * 0.4
    theirs.save_pretrained(tmp_path)
    cutter.save(tmp_path)
    opened = yanmo.load(tmp_path)
    text = "The  film [MASK] good"
    ids = cutter.encode(text)
    with torch.no_grad():
        scores = theirs(torch.tensor([ids])).logits[0, ids.index(cutter.mask)]
    scores[cutter.special] = -torch.inf
    best = scores.softmax(-1).topk(4)
    found = opened.fill(text, n=4)
    assert torch.tensor([share for _, share in found]).sub(best.values).abs().max() < 1e-5
    for (filled, _), id in zip(found, best.indices.tolist(), strict=True):
        word = cutter.inner.id_to_token(id)
        glued = word.startswith("##")
        assert filled == ("The  film" + word[2:] if glued else f"The  film {word}") + " good"
    assert opened.generate(text, n=4) == [filled for filled, _ in found]
    with pytest.raises(ModelError, match=r"expected a text with \[MASK\]"):
        opened.fill("no gap")
