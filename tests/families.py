"""The table that drives the contracts of every family: tiny configs, odd on purpose. A new family adds its rows here."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One configuration. `reference` names the config class of transformers, or None for a family of our own."""

    name: str
    family: str
    reference: str | None
    values: dict[str, Any]

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
    Case("plain", "yanmo-ngram-bert", None, {**TINY, "ngram_rows": 50}),
    Case(
        "odd",
        "yanmo-ngram-bert",
        None,
        {**TINY, "ngram_sizes": [2], "ngram_rows": 7, "kernel_size": 3, "num_attention_heads": 6},
    ),
]
REFERENCES = [case for case in CASES if case.reference]
