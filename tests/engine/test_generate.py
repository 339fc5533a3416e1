"""`Engine.generate`: what it takes, and what it says where it can't."""

from pathlib import Path

import pytest
import torch

import yanmo
from yanmo import checkpoint, models
from yanmo.checkpoint import Checkpoint
from yanmo.engine.engine import Engine
from yanmo.errors import ModelError
from yanmo.models import ModelSettings
from yanmo.text import tokenizer
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


def reference(cutter: tokenizer.Tokenizer, kind: str, folder: Path) -> Any:
    """A random model of transformers over this tokeniser, saved."""
    torch.manual_seed(3)
    shared = {"vocab_size": cutter.size, "pad_token_id": cutter.pad, "eos_token_id": cutter.sep}
    common = {**shared, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if kind == "llama":
        model: Any = transformers.LlamaForCausalLM(transformers.LlamaConfig(**common))
    else:
        model = transformers.BertForMaskedLM(transformers.BertConfig(**common))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * 0.3
    model.eval().save_pretrained(folder)
    cutter.save(folder)
    return model
