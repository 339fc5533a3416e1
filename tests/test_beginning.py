"""What a run begins with: a base with more tokens, word vectors, and settings that contradict each other."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from yanmo import beginning, checkpoint, models
from yanmo.checkpoint import Checkpoint
from yanmo.errors import SettingsError
from yanmo.models import FAMILIES, ModelSettings
from yanmo.text import tokenizer
from yanmo.text.batches import pack
from yanmo.text.tokenizer import TokenizerSettings

TEXTS = ["a good film", "a bad film", "这部电影很好", "这部电影不好"] * 5
WORDS = ["电影", "good film", "不好"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
PAIR = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
PAIR |= {key.replace("encoder", "decoder"): value for key, value in PAIR.items()}
T5 = {"d_model": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2, "d_ff": 32}
NAMED: dict[str, dict[str, object]] = {  # what families with keys of their own call those of SMALL
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2},
    "distilbert": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32},
    "xlnet": {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32},
    "transfo-xl": {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32},
    "yanmo-transformer-xl": {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32},
    "yanmo-rnn": {"hidden_size": 16, "num_hidden_layers": 1},
    "yanmo-cnn": {"hidden_size": 18},
    "yanmo-gated-cnn": {"hidden_size": 16, "num_hidden_layers": 1},
    "transformer": PAIR,
    "marian": {**PAIR, "share_encoder_decoder_embeddings": False},
    "bart": PAIR,
    "mbart": {**PAIR, "tie_word_embeddings": False},
    "t5": T5,
    "mt5": {**T5, "tie_word_embeddings": False},
}
NAMED["yanmo-autoencoder"] = {
    "encoder": {"model_type": "bert", **SMALL},
    "decoder": {"model_type": "gpt2", **NAMED["gpt2"]},
    "latent_size": 8,
}
SPARE = 3  # rows of the embedding that no token has


def made(name: str, head: str, **changes: object) -> Checkpoint:
    """A small model with weights that are all different, and a tokeniser."""
    cutter = tokenizer.train(TEXTS, TokenizerSettings(vocab=100))
    settings = ModelSettings(family=name, size={**NAMED.get(name, SMALL), **changes})
    family, config = models.configure(settings, vocab_size=cutter.size + SPARE, id2label={"0": "a", "1": "b"})
    torch.manual_seed(0)
    model = checkpoint.create(family, config, head)
    if family.learn is not None:
        family.learn(model, cutter.encode_all(TEXTS), cutter.special)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * 0.02
    return Checkpoint(model, family, head, cutter)


def begin(settings: ModelSettings, cutter: Path) -> Checkpoint:
    return beginning.start(
        settings,
        TokenizerSettings(base=cutter),
        "masked",
        folder=Path("no/run"),
        resuming=False,
        texts=TEXTS,
        longest=32,
    )


@pytest.mark.parametrize(("name", "head"), [(name, head) for name in FAMILIES for head in models.find(name).heads])
def test_a_family_names_all_that_has_a_row_a_token(name: str, head: str) -> None:
    opened = made(name, head)
    larger = beginning.extend(opened, tokenizer.add(opened.tokenizer, ["w" * n for n in range(2, 12)]), "x")
    assert larger.config.vocab_size == opened.config.vocab_size + 10 - SPARE  # type: ignore[attr-defined]
    shapes = {
        key: tensor.shape for key, tensor in checkpoint.create(opened.family, larger.config, head).state_dict().items()
    }
    assert {key: tensor.shape for key, tensor in larger.model.state_dict().items()} == shapes
    assert opened.family.embedding in shapes


@pytest.mark.parametrize(
    ("name", "changes"), [("bert", {}), ("bert", {"tie_word_embeddings": False}), ("yanmo-ngram-bert", {})]
)
def test_new_tokens_are_the_mean_of_their_pieces(name: str, changes: dict[str, object]) -> None:
    opened = made(name, "masked", **changes)
    old, cutter = opened.model.state_dict(), opened.tokenizer
    extended = tokenizer.add(cutter, WORDS)
    larger = beginning.extend(opened, extended, "x")
    assert larger.tokenizer is extended
    grown = [key for key, tensor in larger.model.state_dict().items() if not torch.equal(tensor, old[key])]
    assert set(grown) <= {"embeddings.word.weight", "masked.decoder.bias", "masked.decoder.output.weight"}
    assert ("masked.decoder.output.weight" in grown) == ("tie_word_embeddings" in changes)
    for key in grown:
        tensor = larger.model.state_dict()[key]
        assert torch.equal(tensor[: cutter.size], old[key][: cutter.size])
        for word in WORDS:
            expected = old[key][cutter.encode(word, special=False)].mean(0)
            torch.testing.assert_close(tensor[extended.inner.token_to_id(word)], expected)
    # Texts without the new words are read as before.
    run = pack([np.array(cutter.encode(text), np.int32) for text in ("a bad film", "部")])
    for model in (opened.model, larger.model):
        model.eval()
    with torch.no_grad():
        before, after = opened.model.encode(run), larger.model.encode(run)  # type: ignore[operator]
    assert torch.equal(before, after)


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_opens_the_larger_model(tied: bool, tmp_path: Path) -> None:
    opened = made("bert", "masked", tie_word_embeddings=tied)
    checkpoint.write(tmp_path / "old", opened)
    tokenizer.add(opened.tokenizer, [*WORDS, "covid", "A股"]).save(tmp_path / "cutter")
    larger = begin(ModelSettings(base=str(tmp_path / "old")), tmp_path / "cutter")
    checkpoint.write(tmp_path / "new", larger)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "new").eval()
    cutter = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    assert theirs.config.vocab_size == larger.tokenizer.size == opened.config.vocab_size + 5 - SPARE  # type: ignore[attr-defined]
    text = "这部电影不好, a good film covid A股"
    assert cutter(text)["input_ids"] == larger.tokenizer.encode(text)
    model = larger.model.eval()
    with torch.no_grad():
        expected = theirs(**cutter(text, return_tensors="pt")).logits[0]
        found = model.logits(model.encode(pack([np.array(larger.tokenizer.encode(text), np.int32)])))  # type: ignore[operator]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_another_tokeniser_is_refused() -> None:
    opened = made("bert", "masked")
    other = tokenizer.train(["其他文字", "other words"] * 5, TokenizerSettings(vocab=100))
    with pytest.raises(SettingsError, match=r"does not extend the model's own.*\n.*, there (missing|\d+)"):
        beginning.extend(opened, other, "other")
    rigid = dataclasses.replace(opened, family=dataclasses.replace(opened.family, vocabulary={}))
    with pytest.raises(SettingsError, match="vocabulary of a 'bert' can't grow"):
        beginning.extend(rigid, tokenizer.add(opened.tokenizer, WORDS), "x")


# name: (settings, the keys that the message names)
CONTRADICTIONS = {
    "size": ({"base": "m", "size": "mini"}, {}, ["model.size: "]),
    "family": ({"base": "m", "family": "bert"}, {}, ["model.family: "]),
    "vectors": ({"base": "m", "vectors": "x.vec"}, {}, ["model.vectors: "]),
    "kind": ({"base": "m"}, {"kind": "bpe"}, ["tokenizer.kind: "]),
    "all": ({"base": "m", "size": "mini", "family": "bert"}, {"vocab": 8000}, ["model.family", "model.size", "tokenizer.vocab"]),
    "an old tokeniser": ({}, {"base": "t", "vocab": 8000, "kind": "wordpiece"}, ["tokenizer.kind", "tokenizer.vocab"]),
}  # fmt: skip


@pytest.mark.parametrize(("model", "cutter", "named"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradictions(model: dict[str, str], cutter: dict[str, str], named: list[str]) -> None:
    asked = ModelSettings.model_validate(model), TokenizerSettings.model_validate(cutter)
    with pytest.raises(SettingsError) as caught:
        beginning.expected(*asked)
    assert all(key in str(caught.value) for key in named)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_word_vectors(kind: str, tmp_path: Path) -> None:
    lines = [
        f"{word} {' '.join(map(str, np.random.default_rng(n).normal(size=16)))}"
        for n, word in enumerate(("film", "好"))
    ]
    (tmp_path / "x.vec").write_text("\n".join(lines), "utf-8")
    cutter = tokenizer.train(TEXTS, TokenizerSettings.model_validate({"kind": kind, "vocab": 600}))
    cutter.save(tmp_path)
    tables = []
    for vectors in (None, tmp_path / "x.vec"):
        torch.manual_seed(0)
        asked = ModelSettings(size=SMALL, vectors=vectors)
        begun = begin(asked, tmp_path)
        tables.append(begun.model.get_parameter("embeddings.word.weight").detach())
    changed = (tables[0] != tables[1]).any(1).nonzero()[:, 0].tolist()
    assert changed == sorted(id for word in ("film", "好") for id in cutter.words().get(word, []))
    first = torch.from_numpy(np.random.default_rng(0).normal(size=16)).float()
    for id in cutter.words()["film"]:
        torch.testing.assert_close(torch.cosine_similarity(tables[1][id], first, 0), torch.tensor(1.0))
    (tmp_path / "x.vec").write_text("absent" + " 1" * 16, "utf-8")
    with pytest.raises(SettingsError, match=r"none of the .* words"):
        begin(asked, tmp_path)


@pytest.mark.parametrize("name", FAMILIES)
def test_room_for_the_longest_row(name: str) -> None:
    _, config = models.configure(ModelSettings(family=name, size="tiny"), 600, vocab_size=100)
    assert config.longest in (600, None)  # None: no end


@pytest.mark.parametrize(("name", "start"), [("bart", "sep"), ("t5", "pad"), ("transformer", "pad")])
def test_a_fresh_decoder_says_what_it_begins_with(name: str, start: str, tmp_path: Path) -> None:
    """transformers, which takes another token where the config is silent, begins with the same one."""
    settings = ModelSettings(family=name, size="tiny")
    opened = beginning.start(
        settings,
        TokenizerSettings(vocab=100),
        "seq2seq",
        folder=tmp_path / "run",
        resuming=False,
        texts=TEXTS,
        longest=32,
    )
    checkpoint.write(tmp_path / "model", opened)
    theirs = transformers.AutoConfig.from_pretrained(tmp_path / "model")
    assert theirs.decoder_start_token_id == getattr(opened.tokenizer, start) == opened.config.decoder_start
