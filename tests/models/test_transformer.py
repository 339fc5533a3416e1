"""The Transformer beyond the contracts: Marian's sinusoids and vocabularies, and what is refused."""

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding

import yanmo
from tests.families import TINY_MARIAN, TINY_PAIR
from yanmo import beginning, checkpoint, models
from yanmo.checkpoint import Checkpoint
from yanmo.compression.quantise import quantise
from yanmo.decoding.loop import follow
from yanmo.engine import Engine
from yanmo.errors import ModelError
from yanmo.models import ModelSettings, hf
from yanmo.models.base import Memory
from yanmo.nn.position import sinusoids
from yanmo.text import tokenizer
from yanmo.text.batches import Run, pack, shifted
from yanmo.text.tokenizer import TokenizerSettings


def made(name: str = "marian", head: str = "seq2seq", **keys: object) -> Checkpoint:
    torch.manual_seed(0)
    family = models.find(name)
    config, _ = family.config.read({**TINY_MARIAN, **keys}, "test")
    cutter = tokenizer.train(["a b c d e f"], TokenizerSettings(kind="word", vocab=100))
    return Checkpoint(checkpoint.create(family, config, head).eval(), family, head, cutter)


@pytest.mark.parametrize("width", [24, 15])
def test_sinusoids(width: int) -> None:
    table = MarianSinusoidalPositionalEmbedding(50, width).create_weight()
    places = torch.tensor([0, 49, 3, 3, 17])
    assert (sinusoids(places, width) - table[places]).abs().max() < 1e-6


def test_the_papers_name_makes_a_marian(tmp_path: Path) -> None:
    """A Transformer from scratch: its tokeniser's padding and end, the paper's sizes; transformers opens it."""
    asked = ModelSettings(family="transformer", size="tiny")
    opened = beginning.start(
        asked,
        TokenizerSettings(vocab=100),
        "seq2seq",
        folder=Path("no/run"),
        resuming=False,
        texts=["a good film", "a bad film"] * 5,
        longest=32,
    )
    config, cutter = opened.config, opened.tokenizer
    assert (config.pad_token_id, config.eos_token_id, config.decoder_start) == (cutter.pad, cutter.sep, cutter.pad)  # type: ignore[attr-defined]
    checkpoint.write(tmp_path, opened)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    assert type(theirs) is transformers.MarianMTModel
    ids, target = torch.tensor([[2, 7, 8, 3]]), torch.tensor([[0, 9, 9]])
    with torch.no_grad():
        expected = theirs(input_ids=ids, decoder_input_ids=target).logits
    assert (yanmo.load(tmp_path).logits(ids, decoder_ids=target) - expected).abs().max() < 1e-5


def test_published_files_hold_the_sinusoids_too(tmp_path: Path) -> None:
    opened = made()
    checkpoint.write(tmp_path, opened)
    tensors = load_file(tmp_path / "model.safetensors")
    assert not any("embed_positions" in name for name in tensors)
    table = sinusoids(torch.arange(40), 24)
    tensors |= {f"model.{side}.embed_positions.weight": table.clone() for side in ("encoder", "decoder")}
    tensors["model.encoder.embed_tokens.weight"] = tensors["model.shared.weight"].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    again = checkpoint.load(tmp_path)
    assert not again.fresh
    for name, tensor in opened.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    tensors["model.encoder.embed_tokens.weight"][7, 3] += 1
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"tie_word_embeddings, but.*shared\.weight:\n.*encoder\.embed_tokens"):
        checkpoint.load(tmp_path)


def test_a_targets_own_vocabulary_does_not_grow() -> None:
    opened = made(share_encoder_decoder_embeddings=False, decoder_vocab_size=71)
    longer = tokenizer.add(opened.tokenizer, ["w" * n for n in range(2, 80)])
    larger = beginning.extend(opened, longer, "x")
    grown, old = larger.model.state_dict(), opened.model.state_dict()
    assert len(grown["word.weight"]) == longer.size > 67
    assert torch.equal(grown["target_word.weight"], old["target_word.weight"])
    assert grown["language.bias"].shape == (71,)


def test_a_translator_from_an_encoder(tmp_path: Path) -> None:
    """A folder without a head gets one; any family's generic head reads the encoder."""
    checkpoint.write(tmp_path, made(head="base"))
    assert checkpoint.load(tmp_path, head="seq2seq").fresh == ["language.bias"]
    tagger = checkpoint.load(tmp_path, head="tag", labels=["a", "b", "c"])
    run = Run(torch.tensor([5, 6, 7, 8]), (3, 1))
    with torch.no_grad():
        hidden = tagger.model.encode(run)  # type: ignore[operator]
        expected = tagger.model.task_head(hidden, run.starts, run.ends)  # type: ignore[operator]
        assert torch.equal(tagger.model.head(hidden, run), expected)  # type: ignore[operator]


def test_int8_beside_the_sinusoids(tmp_path: Path) -> None:
    opened, ids = made(head="base"), torch.tensor([[5, 6, 7]])
    quantise(opened.model)
    checkpoint.write(tmp_path, opened)
    assert torch.equal(yanmo.load(tmp_path).hidden(ids), Engine(opened, torch.device("cpu")).hidden(ids))


def test_the_engine_says_what_it_needs(tmp_path: Path) -> None:
    ids = torch.tensor([[5, 6, 7]])
    checkpoint.write(tmp_path / "a", made())
    checkpoint.write(tmp_path / "b", made(head="base"))
    for folder, keys in (("a", {}), ("b", {"decoder_ids": ids})):
        with pytest.raises(ValueError, match="decoder_ids: for an encoder-decoder"):
            yanmo.load(tmp_path / folder).logits(ids, **keys)


def test_long_rows_and_no_memory() -> None:
    model = made().model
    long = pack([torch.arange(41).numpy()])
    with pytest.raises(ModelError, match="a row of 41 tokens, but this model has 40 positions"):
        model.encode(long)  # type: ignore[operator]
    with pytest.raises(ValueError, match="attends to a memory"):
        model.decode(pack([torch.arange(3).numpy()]))  # type: ignore[operator]


def test_shifted() -> None:
    run = Run(torch.tensor([1, 2, 3, 4, 5]), (3, 2))
    assert shifted(run, 9).ids.tolist() == [9, 1, 2, 9, 4]
    assert shifted(run, None).ids.tolist() == [3, 1, 2, 5, 4]
    assert run.ids.tolist() == [1, 2, 3, 4, 5]
    assert run.last(2).tolist() == [1, 4] and run.last(None).tolist() == [2, 4]


REFUSED = [
    ("marian", {"pad_token_id": 58100}, "pad_token_id 58100 is not a token"),
    ("marian", {"decoder_vocab_size": 50}, "decoder_vocab_size 50"),
    ("marian", {"normalize_before": True}, "'normalize_before' is True; this family implements only False"),
    ("marian", {"static_position_embeddings": False}, "'static_position_embeddings' is False"),
    ("bart", {"static_position_embeddings": True}, "'static_position_embeddings' is True"),
    ("bart", {"encoder_layerdrop": 0.1}, "'encoder_layerdrop' is 0.1"),
    ("bart", {"is_decoder": True}, "'is_decoder' is True"),
    ("bart", {"decoder_attention_heads": 5}, "d_model 24 is not a multiple of decoder_attention_heads 5"),
    ("mbart", {"normalize_before": False}, "'normalize_before' is False; this family implements only True"),
    ("mbart", {"activation_function": "mish"}, "activation_function 'mish' is not known"),
]


@pytest.mark.parametrize(("name", "change", "message"), REFUSED, ids=lambda value: str(value)[:24])
def test_configs_that_are_refused(name: str, change: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        models.find(name).config.read({**TINY_PAIR, **change}, "test")


@torch.no_grad()
def test_the_decoding_loop_writes_what_transformers_generates() -> None:
    """Greedy, for rows of unequal sources, which end one after the other."""
    opened = made(scale_embedding=True)
    torch.manual_seed(3)
    for tensor in opened.model.state_dict().values():
        tensor += 0.2 * torch.randn_like(tensor)
    opened.model.language.bias[2] += 3.0  # type: ignore[union-attr,index]  # so that some rows end
    theirs = transformers.MarianMTModel(transformers.MarianConfig(**TINY_MARIAN, scale_embedding=True)).eval()
    rules = opened.family.rules(opened.config, "seq2seq", "model.")
    theirs.load_state_dict(hf.save(opened.model, rules), strict=False)
    theirs.tie_weights()
    rows = torch.randint(5, 67, (8, 6))
    lengths = (6, 3, 1, 6, 4, 2, 5, 6)
    mask = (torch.arange(6) < torch.tensor(lengths)[:, None]).long()
    written = theirs.generate(
        input_ids=rows, attention_mask=mask, num_beams=1, do_sample=False, max_new_tokens=9, forced_eos_token_id=None
    )[:, 1:].tolist()
    expected = [row[: row.index(2) + 1] if 2 in row else row for row in written]
    assert len(set(map(len, expected))) > 2

    model, source = opened.model, Run(rows[mask.bool()], lengths)
    state = model.state(Memory(model.encode(source), lengths))  # type: ignore[operator]
    start = opened.config.decoder_start
    assert follow(model, [[start]] * 8, state=state, stops={2}, max_new_tokens=9) == expected  # type: ignore[arg-type,list-item]
