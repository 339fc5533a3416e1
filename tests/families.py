"""The table that drives the contracts of every family: tiny configs, odd on purpose. A new family adds its rows here."""

from dataclasses import dataclass
from typing import Any


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
