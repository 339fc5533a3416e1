"""The table that drives the contracts of every family: tiny configs, odd on purpose. A new family adds its rows here."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yanmo import checkpoint, models
from yanmo.checkpoint import Checkpoint
from yanmo.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Case:
    """One configuration. `reference` names the config class of transformers, or None for a family of our own. heads: those that it
    can have, where they are not all of the family's."""

    name: str
    family: str
    reference: str | None
    values: dict[str, Any]
    heads: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.family}-{self.name}"


TINY = {
    "vocab_size": 67,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 40,
}

TINY_DISTILBERT = {
    "vocab_size": 67,
    "dim": 24,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 40,
    "max_position_embeddings": 40,
}
TINY_ROBERTA = {**TINY, "pad_token_id": 1, "type_vocab_size": 2}
TINY_GPT2 = {"vocab_size": 67, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 40, "pad_token_id": 0}
TINY_RNN = {"vocab_size": 67, "hidden_size": 24, "num_hidden_layers": 2}
TINY_CNN = {"vocab_size": 67, "hidden_size": 24, "embedding_size": 10}
BOTH_WAYS = ("base", "classify", "tag", "span", "seq2seq")
TINY_LLAMA = {**TINY, "num_key_value_heads": 2, "pad_token_id": 0, "num_attention_heads": 4}
TINY_XLNET = {"vocab_size": 67, "d_model": 24, "n_layer": 2, "n_head": 4, "d_inner": 40, "pad_token_id": 0}
TINY_TRANSFORMER_XL = {"vocab_size": 67, "d_model": 24, "n_layer": 2, "n_head": 4, "d_inner": 40, "mem_len": 20}

_DEPTHS = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
TINY_PAIR = {
    "vocab_size": 67,
    "d_model": 24,
    **_DEPTHS,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 40,
}
TINY_MARIAN = {**TINY_PAIR, "pad_token_id": 3, "eos_token_id": 2, "decoder_start_token_id": 3, "forced_eos_token_id": 2}
UNEVEN = {"encoder_layers": 1, "encoder_attention_heads": 3, "decoder_layers": 3, "decoder_attention_heads": 6}
TINY_T5 = {
    "vocab_size": 67,
    "d_model": 24,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
    "initializer_factor": 0.5,  # so that logits that nothing scales are of size 1
}


def joined(encoder: tuple[str, dict[str, Any]], decoder: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """An autoencoder's config of two parts: (model_type, config) of each."""
    common = ("vocab_size", "max_position_embeddings", "n_positions")
    parts = {
        name: {"model_type": kind, **{key: value for key, value in keys.items() if key not in common}}
        for name, (kind, keys) in (("encoder", encoder), ("decoder", decoder))
    }
    return {"vocab_size": 67, "max_position_embeddings": 40, "latent_size": 7, **parts}


CASES = [
    Case("plain", "bert", "BertConfig", TINY),
    Case(
        "relu-odd-heads",
        "bert",
        "BertConfig",
        {**TINY, "hidden_act": "relu", "num_attention_heads": 3, "layer_norm_eps": 1e-5},
    ),
    Case(
        "gelu-new-one-layer",
        "bert",
        "BertConfig",
        {**TINY, "hidden_act": "gelu_new", "num_hidden_layers": 1, "type_vocab_size": 3},
    ),
    Case("untied", "bert", "BertConfig", {**TINY, "tie_word_embeddings": False, "intermediate_size": 24}),
    Case("classifier-dropout", "bert", "BertConfig", {**TINY, "classifier_dropout": 0.3, "hidden_dropout_prob": 0.0}),
    Case("plain", "distilbert", "DistilBertConfig", TINY_DISTILBERT),
    Case(
        "untied-sinusoids",
        "distilbert",
        "DistilBertConfig",
        {
            **TINY_DISTILBERT,
            "n_heads": 3,
            "activation": "relu",
            "tie_word_embeddings": False,
            "sinusoidal_pos_embds": True,
            "dropout": 0.2,
        },
    ),
    Case("plain", "roberta", "RobertaConfig", TINY_ROBERTA),
    Case(
        "odd",
        "roberta",
        "RobertaConfig",
        {
            **TINY_ROBERTA,
            "pad_token_id": 3,
            "type_vocab_size": 1,
            "hidden_act": "relu",
            "num_attention_heads": 6,
            "tie_word_embeddings": False,
        },
    ),
    Case("plain", "xlm-roberta", "XLMRobertaConfig", {**TINY_ROBERTA, "layer_norm_eps": 1e-6}),
    Case("plain", "gpt2", "GPT2Config", TINY_GPT2),
    Case(
        "odd",
        "gpt2",
        "GPT2Config",
        {
            **TINY_GPT2,
            "n_head": 3,
            "n_inner": 20,
            "activation_function": "relu",
            "n_layer": 3,
            "scale_attn_by_inverse_layer_idx": True,
        },
    ),
    Case(
        "untied-unscaled",
        "gpt2",
        "GPT2Config",
        {**TINY_GPT2, "tie_word_embeddings": False, "scale_attn_weights": False},
    ),
    Case("plain", "llama", "LlamaConfig", TINY_LLAMA),
    Case(
        "tied-one-group-wide-heads",
        "llama",
        "LlamaConfig",
        {**TINY_LLAMA, "num_key_value_heads": 1, "head_dim": 10, "tie_word_embeddings": True, "hidden_act": "gelu"},
    ),
    Case(
        "biases",
        "llama",
        "LlamaConfig",
        {**TINY_LLAMA, "num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True},
    ),
    Case(
        "llama3-rope",
        "llama",
        "LlamaConfig",
        {
            **TINY_LLAMA,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        },
    ),
    Case(
        "linear-rope",
        "llama",
        "LlamaConfig",
        {**TINY_LLAMA, "rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 3.0}},
    ),
    Case(
        "yarn-rope",
        "llama",
        "LlamaConfig",
        {
            **TINY_LLAMA,
            "head_dim": 16,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 10,
            },
        },
    ),
    Case("window", "mistral", "MistralConfig", {**TINY_LLAMA, "sliding_window": 5}),
    Case("plain", "qwen2", "Qwen2Config", {**TINY_LLAMA, "tie_word_embeddings": True}),
    Case(
        "window-of-one-layer",
        "qwen2",
        "Qwen2Config",
        {**TINY_LLAMA, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    Case("plain", "qwen3", "Qwen3Config", {**TINY_LLAMA, "head_dim": 8}),
    Case("plain", "xlnet", "XLNetConfig", TINY_XLNET),
    Case(
        "odd",
        "xlnet",
        "XLNetConfig",
        {
            **TINY_XLNET,
            "n_head": 3,
            "n_layer": 3,
            "ff_activation": "relu",
            "clamp_len": 4,
            "tie_word_embeddings": False,
        },
    ),
    Case("plain", "yanmo-transformer-xl", None, TINY_TRANSFORMER_XL),
    Case(
        "divided",
        "yanmo-transformer-xl",
        None,
        {
            **TINY_TRANSFORMER_XL,
            "d_embed": 32,
            "cutoffs": [20, 40],
            "div_val": 4,
            "n_head": 3,
            "d_head": 5,
            "clamp_len": 6,
            "untie_r": False,
            "pre_lnorm": True,
        },
    ),
    Case(
        "projected-untied",
        "yanmo-transformer-xl",
        None,
        {
            **TINY_TRANSFORMER_XL,
            "d_embed": 10,
            "cutoffs": [30],
            "proj_share_all_but_first": False,
            "tie_word_embeddings": False,
        },
    ),
    Case(
        "same-length",
        "transfo-xl",
        None,
        {
            **TINY_TRANSFORMER_XL,
            "cutoffs": [25, 26, 50],
            "same_length": True,
            "mem_len": 6,
            "init_range": 0.01,
            "sample_softmax": -1,
            "adaptive": True,
        },
    ),
    Case("swish", "marian", "MarianConfig", {**TINY_MARIAN, "activation_function": "swish", "scale_embedding": True}),
    Case("uneven", "marian", "MarianConfig", {**TINY_MARIAN, **UNEVEN, "d_model": 30, "activation_function": "relu"}),
    Case("untied", "marian", "MarianConfig", {**TINY_MARIAN, "tie_word_embeddings": False, "encoder_ffn_dim": 24}),
    Case(
        "two-vocabularies",
        "marian",
        "MarianConfig",
        {**TINY_MARIAN, "share_encoder_decoder_embeddings": False, "decoder_vocab_size": 71, "d_model": 18, **UNEVEN},
    ),
    Case("plain", "bart", "BartConfig", TINY_PAIR),
    Case(
        "uneven-scaled",
        "bart",
        "BartConfig",
        {**TINY_PAIR, **UNEVEN, "scale_embedding": True, "activation_function": "relu", "decoder_start_token_id": 4},
    ),
    Case("untied", "bart", "BartConfig", {**TINY_PAIR, "tie_word_embeddings": False, "decoder_ffn_dim": 20}),
    Case("plain", "mbart", "MBartConfig", {**TINY_PAIR, "scale_embedding": True}),
    Case("uneven", "mbart", "MBartConfig", {**TINY_PAIR, **UNEVEN, "activation_function": "gelu_new"}),
    Case("relu", "t5", "T5Config", TINY_T5),
    Case(
        "gated-untied",
        "t5",
        "T5Config",
        {**TINY_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_decoder_layers": 1},
    ),
    Case(
        "few-buckets",
        "t5",
        "T5Config",
        {
            **TINY_T5,
            "d_kv": 5,
            "num_heads": 3,
            "num_decoder_layers": 3,
            "feed_forward_proj": "gated-silu",
            "relative_attention_num_buckets": 6,
            "relative_attention_max_distance": 9,
            "layer_norm_epsilon": 1e-5,
        },
    ),
    Case("tied", "mt5", "MT5Config", TINY_T5),
    Case("untied", "mt5", "MT5Config", {**TINY_T5, "tie_word_embeddings": False, "d_ff": 20}),
    Case("plain", "yanmo-bert-ngrams", None, {**TINY, "ngram_rows": 50}),
    Case(
        "odd",
        "yanmo-bert-ngrams",
        None,
        {**TINY, "ngram_sizes": [3], "ngram_rows": 7, "ngram_width": 12, "tie_word_embeddings": False},
    ),
    Case("plain", "yanmo-ngram-bert", None, {**TINY, "ngram_rows": 50}),
    Case(
        "odd",
        "yanmo-ngram-bert",
        None,
        {**TINY, "ngram_sizes": [2], "ngram_rows": 7, "kernel_size": 3, "num_attention_heads": 6},
    ),
    Case("lstm", "yanmo-rnn", None, TINY_RNN),
    Case("lstm-narrow-words", "yanmo-rnn", None, {**TINY_RNN, "embedding_size": 10, "num_hidden_layers": 3}),
    Case("gru-untied", "yanmo-rnn", None, {**TINY_RNN, "cell": "gru", "tie_word_embeddings": False}),
    Case("lstm-both-ways", "yanmo-rnn", None, {**TINY_RNN, "bidirectional": True}, BOTH_WAYS),
    Case(
        "gru-both-ways",
        "yanmo-rnn",
        None,
        {**TINY_RNN, "cell": "gru", "bidirectional": True, "embedding_size": 10, "num_hidden_layers": 1},
        BOTH_WAYS,
    ),
    Case("plain", "yanmo-cnn", None, TINY_CNN),
    Case("even", "yanmo-cnn", None, {"vocab_size": 67, "hidden_size": 24, "kernel_sizes": [2, 6]}),
    Case("plain", "yanmo-gated-cnn", None, {**TINY_RNN, "num_hidden_layers": 3}),
    Case(
        "odd",
        "yanmo-gated-cnn",
        None,
        {**TINY_RNN, "num_hidden_layers": 3, "kernel_size": 4, "dilation_cycle": 2, "tie_word_embeddings": False},
    ),
    Case("bert-to-gpt2", "yanmo-autoencoder", None, joined(("bert", TINY), ("gpt2", TINY_GPT2))),
    Case(
        "rnn-to-rnn-variational",
        "yanmo-autoencoder",
        None,
        {
            **joined(("yanmo-rnn", {**TINY_RNN, "bidirectional": True}), ("yanmo-rnn", {**TINY_RNN, "cell": "gru"})),
            "variational": True,
            "latent_size": 5,
        },
    ),
    Case("cnn-to-llama", "yanmo-autoencoder", None, joined(("yanmo-cnn", TINY_CNN), ("llama", TINY_LLAMA))),
]
REFERENCES = [case for case in CASES if case.reference]


def folders(place: Path, tokenizer: Tokenizer) -> dict[str, Path]:
    """A tiny folder of each family, without a head, by its model_type; the tokeniser has at most 120 tokens."""
    found = {}
    for case in CASES:
        if case.family not in found:
            folder = found[case.family] = place / case.family
            family = models.find(case.family)
            config, _ = family.config.read({**json.loads(json.dumps(case.values)), "vocab_size": 120}, case.id)
            checkpoint.write(folder, Checkpoint(checkpoint.create(family, config, "base"), family, "base", tokenizer))
    return found
