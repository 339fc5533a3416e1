"""T5 beyond the contracts: its buckets, its versions as they stand on disk, and how it begins."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.t5.modeling_t5 import T5Attention

import yanmo
from tests.families import TINY_T5
from yanmo import checkpoint, models
from yanmo.checkpoint import Checkpoint
from yanmo.errors import ModelError
from yanmo.models.base import Memory
from yanmo.nn.position import RelativeBias
from yanmo.text import tokenizer
from yanmo.text.batches import pack, shifted
from yanmo.text.tokenizer import TokenizerSettings

CUTTER = tokenizer.train(["a b c d e f"], TokenizerSettings(kind="word", vocab=100))
IDS, TARGET = torch.tensor([[5, 9, 11, 1]]), torch.tensor([[0, 8, 12, 13, 9]])


def made(head: str = "seq2seq", **keys: object) -> Checkpoint:
    torch.manual_seed(0)
    family = models.find("t5")
    config, _ = family.config.read({**TINY_T5, **keys}, "test")
    return Checkpoint(checkpoint.create(family, config, head).eval(), family, head, CUTTER)


@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (8, 20), (6, 9), (4, 64), (64, 1000)])
@pytest.mark.parametrize("both_ways", [True, False])
def test_buckets(buckets: int, furthest: int, both_ways: bool) -> None:
    distances = torch.arange(-2 * furthest, 2 * furthest + 1)
    expected = T5Attention._relative_position_bucket(distances, both_ways, buckets, furthest)
    found = RelativeBias(2, buckets, furthest, both_ways=both_ways).bucket(distances)
    assert torch.equal(found, expected) and int(found.max()) < buckets


def said(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        theirs = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
        return theirs(input_ids=IDS, decoder_input_ids=TARGET).logits


def test_version_1_1_as_published(tmp_path: Path) -> None:
    """tie_word_embeddings is false, and the output's matrix stands in the file: nothing is scaled."""
    checkpoint.write(tmp_path, made(feed_forward_proj="gated-gelu", tie_word_embeddings=False))
    engine = yanmo.load(tmp_path)
    assert not engine.model.config.tie_word_embeddings and engine.model.output_scale == 1.0
    assert (engine.logits(IDS, decoder_ids=TARGET) - said(tmp_path)).abs().max() < 1e-5


def test_as_transformers_5_writes_it(tmp_path: Path) -> None:
    """Of an output with a matrix of its own it says that it is tied; of one that it made itself with tie_word_embeddings=False, too, and
    there it is."""
    checkpoint.write(tmp_path / "old", made(tie_word_embeddings=False))
    transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "old").save_pretrained(tmp_path / "own")
    torch.manual_seed(0)
    fresh = transformers.T5ForConditionalGeneration(transformers.T5Config(**TINY_T5, tie_word_embeddings=False))
    fresh.save_pretrained(tmp_path / "tied")
    for name, tied in (("own", False), ("tied", True)):
        CUTTER.save(tmp_path / name)
        assert json.loads((tmp_path / name / "config.json").read_text())["tie_word_embeddings"]
        engine = yanmo.load(tmp_path / name)
        assert engine.model.config.tie_word_embeddings is tied and engine.model.output_scale == 1.0
        assert (engine.logits(IDS, decoder_ids=TARGET) - said(tmp_path / name)).abs().max() < 1e-5
        checkpoint.write(tmp_path / f"{name}-again", engine.checkpoint)
        assert torch.equal(said(tmp_path / f"{name}-again"), said(tmp_path / name))


def test_a_file_that_names_the_embedding_otherwise(tmp_path: Path) -> None:
    opened = made()
    checkpoint.write(tmp_path, opened)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["encoder.embed_tokens.weight"] = tensors.pop("shared.weight")
    save_file(tensors, tmp_path / "model.safetensors")
    assert torch.equal(checkpoint.load(tmp_path).model.word.weight, opened.model.word.weight)  # type: ignore[union-attr]


def test_a_tagger_has_no_decoder(tmp_path: Path) -> None:
    """Made of a folder that has one; transformers opens what is written; it can't be made to speak again."""
    checkpoint.write(tmp_path / "speaks", made())
    tagger = checkpoint.load(tmp_path / "speaks", head="tag", labels=["a", "b", "c"])
    assert tagger.fresh == ["task_head.output.weight", "task_head.output.bias"] and tagger.model.decoder is None
    checkpoint.write(tmp_path / "tags", tagger)
    report = transformers.T5ForTokenClassification.from_pretrained(tmp_path / "tags", output_loading_info=True)[1]
    assert not report["missing_keys"] and not report["unexpected_keys"]
    with pytest.raises(ModelError, match=r"missing: transformer\.decoder"):
        checkpoint.load(tmp_path / "tags", head="seq2seq")
    with pytest.raises(ModelError, match="no decoder"):
        tagger.model.decode(pack([TARGET[0].numpy()]))  # type: ignore[operator]


@pytest.mark.parametrize("name", ["t5", "mt5"])
def test_begins_knowing_nothing(name: str) -> None:
    """A fresh model says every token about as likely, tied or not: the loss is near log(vocabulary)."""
    torch.manual_seed(0)
    family = models.find(name)
    config, _ = family.config.read({"vocab_size": 500, **family.sizes["tiny"]}, "test")
    model = checkpoint.create(family, config, "seq2seq").eval()
    run = pack([torch.randint(5, 500, (40,)).numpy()])
    with torch.no_grad():
        memory = Memory(model.encode(run), run.lengths)  # type: ignore[operator]
        logits = model.logits(model.decode(shifted(run, 0), memory=memory))  # type: ignore[operator]
    assert abs(torch.nn.functional.cross_entropy(logits, run.ids).item() - math.log(500)) < 1.0


REFUSED = [
    ({"feed_forward_proj": "gated-mish"}, "feed_forward_proj 'gated-mish' is not known"),
    ({"relative_attention_num_buckets": 5}, "is no even number from 4 on"),
    ({"relative_attention_max_distance": 16}, "is not more than half of relative_attention_num_buckets 32"),
    ({"dense_act_fn": "silu"}, "dense_act_fn 'silu' is not what feed_forward_proj 'relu' says"),
    ({"is_decoder": True}, "'is_decoder' is True"),
    ({"num_layers": 0}, "'num_layers' is 0"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=lambda value: str(value)[:24])
def test_configs_that_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        models.find("t5").config.read({**TINY_T5, **change}, "test")


def test_published_keys() -> None:
    """The keys of google/flan-t5-small's config are known."""
    published = {
        "architectures": ["T5ForConditionalGeneration"],
        "decoder_start_token_id": 0,
        "dense_act_fn": "gelu_new",
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": True,
        "is_gated_act": True,
        "n_positions": 512,
        "output_past": True,
        "task_specific_params": {"summarization": {"prefix": "summarize: "}},
        "tie_word_embeddings": False,
        "use_cache": True,
    }
    config, unknown = models.find("t5").config.read({**TINY_T5, **published}, "test")
    assert not unknown and config.decoder_start == 0
    assert replace(config, decoder_start_token_id=None, pad_token_id=4).decoder_start == 4  # type: ignore[call-arg]
