"""BART and mBART beyond the contracts: what their heads read."""

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

import yanmo
from tests.families import TINY_PAIR
from yanmo import checkpoint, models
from yanmo.checkpoint import Checkpoint
from yanmo.text import tokenizer
from yanmo.text.tokenizer import TokenizerSettings

CUTTER = tokenizer.train(["a b c d e f"], TokenizerSettings(kind="word", vocab=100))


def noisy(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def test_mbart_reads_the_last_end_of_a_text(tmp_path: Path) -> None:
    """A row of mBART's is text, end, language: the decoder begins with the language, and the head reads the end."""
    torch.manual_seed(0)
    theirs = noisy(transformers.MBartForSequenceClassification(transformers.MBartConfig(**TINY_PAIR, num_labels=3)))
    theirs.save_pretrained(tmp_path)
    CUTTER.save(tmp_path)
    ids = torch.tensor([[9, 2, 10, 2, 60], [11, 2, 2, 61, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask).logits
    assert (yanmo.load(tmp_path).logits(ids, mask) - expected).abs().max() < 1e-5


def test_published_keys(tmp_path: Path) -> None:
    """The keys of facebook/bart-base's config are known, and come back as they were."""
    published = {
        "activation_dropout": 0.1,
        "add_bias_logits": False,
        "add_final_layer_norm": False,
        "classif_dropout": 0.1,
        "classifier_dropout": 0.0,
        "early_stopping": True,
        "forced_bos_token_id": 0,
        "gradient_checkpointing": False,
        "is_encoder_decoder": True,
        "no_repeat_ngram_size": 3,
        "normalize_before": False,
        "normalize_embedding": True,
        "num_beams": 4,
        "num_hidden_layers": 2,
        "scale_embedding": False,
        "task_specific_params": {"summarization": {"length_penalty": 1.0}},
    }
    family = models.find("bart")
    config, unknown = family.config.read({**TINY_PAIR, **published}, "test")
    assert not unknown
    checkpoint.write(tmp_path, Checkpoint(checkpoint.create(family, config, "seq2seq"), family, "seq2seq", CUTTER))
    written = checkpoint.read_config(tmp_path)
    assert {key: written[key] for key in published} == published
    assert (written["pad_token_id"], written["eos_token_id"]) == (1, 2) and "decoder_vocab_size" not in written
    assert load_file(tmp_path / "model.safetensors")["final_logits_bias"].shape == (1, 67)


@pytest.mark.parametrize("name", ["bart", "mbart"])
def test_a_task_from_a_summariser(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    family = models.find(name)
    config, _ = family.config.read(TINY_PAIR, "test")
    checkpoint.write(tmp_path, Checkpoint(checkpoint.create(family, config, "seq2seq"), family, "seq2seq", CUTTER))
    opened = checkpoint.load(tmp_path, head="classify", labels=["good", "bad"])
    assert opened.fresh == [
        f"task_head.{part}.{kind}" for part in ("pool.dense", "output") for kind in ("weight", "bias")
    ]
    assert not any(parameter.is_meta for parameter in opened.model.parameters())
