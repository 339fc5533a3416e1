"""BERT: a bidirectional Transformer encoder (Devlin et al. 2019, https://arxiv.org/abs/1810.04805).

The embeddings of word, position and segment are added and normed; each layer is attention and feed-forward, both post-norm; a
language-model head predicts masked words, a pooler on the first token feeds a classifier.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from yanmo.errors import ModelError
from yanmo.models.base import Config, Family
from yanmo.models.hf import Rule, Same
from yanmo.nn import init
from yanmo.nn.attention import SelfAttention
from yanmo.nn.embedding import Growth
from yanmo.nn.feedforward import ACTIVATIONS, FeedForward
from yanmo.nn.heads import ClassifyHead, MaskedHead, Pooler
from yanmo.nn.residual import Residual
from yanmo.text.batches import Batch, Run


@dataclass(frozen=True, kw_only=True)
class BertConfig(Config):
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True

    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "position_embedding_type": ("absolute", None),
        "is_decoder": (False, None),
        "add_cross_attention": (False, None),
        "is_encoder_decoder": (False, None),
        "pruned_heads": ({}, None),
        "embedding_size": (None,),
    }

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ModelError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ModelError(f"hidden_act '{self.hidden_act}' is not known; known: {', '.join(ACTIVATIONS)}")


class Embeddings(nn.Module):
    """Word + position + segment, normed: a run of t tokens -> (t, width)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.segment = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, run: Run, more: Tensor | float = 0.0) -> Tensor:
        longest = max(run.lengths, default=0)
        if longest > self.position.num_embeddings:
            raise ModelError(
                f"a row of {longest} tokens, but this model has {self.position.num_embeddings} positions; shorten max_length"
            )
        kind = self.segment.weight[0] if run.types is None else self.segment(run.types)
        result: Tensor = self.dropout(self.norm(self.word(run.ids) + self.position(run.positions) + kind + more))
        return result


class Layer(nn.Module):
    """One encoder layer: (t, width) -> (t, width)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width, drop = config.hidden_size, config.hidden_dropout_prob

        def residual(part: nn.Module) -> Residual:
            return Residual(part, nn.LayerNorm(width, eps=config.layer_norm_eps), pre=False, dropout=drop)

        self.attention = residual(
            SelfAttention(width, config.num_attention_heads, dropout=config.attention_probs_dropout_prob)
        )
        self.feedforward = residual(FeedForward(width, config.intermediate_size, config.hidden_act))

    def forward(self, x: Tensor, lengths: tuple[int, ...]) -> Tensor:
        result: Tensor = self.feedforward(self.attention(x, lengths=lengths))
        return result


class Bert(nn.Module):
    """The encoder, with the head of the given kind: "base" (pooler only), "masked" or "classify"."""

    def __init__(self, config: BertConfig, head: str) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.pooler = None if head == "masked" else Pooler(width)
        self.masked: MaskedHead | None = None
        self.classifier: ClassifyHead | None = None
        if head == "masked":
            self.masked = MaskedHead(
                width, config.vocab_size, config.hidden_act, config.layer_norm_eps, tied=config.tie_word_embeddings
            )
        if head == "classify":
            drop = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
            self.classifier = ClassifyHead(width, len(config.id2label), drop)

    def encode(self, run: Run) -> Tensor:
        x: Tensor = self.embeddings(run)
        for layer in self.layers:
            x = layer(x, run.lengths)
        return x

    def hidden(self, batch: Batch) -> Tensor:
        return self.encode(batch.source)

    def logits(self, hidden: Tensor) -> Tensor:
        if self.masked is None:
            raise ModelError(
                "this model has no language-model head; pre-train it, or load a folder of a ...ForMaskedLM class"
            )
        result: Tensor = self.masked(hidden, self.embeddings.word.weight)
        return result

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        if self.classifier is None or self.pooler is None:
            raise ModelError("this model has no classification head; fine-tune it with task.name=classify")
        result: Tensor = self.classifier(self.pooler(hidden[run.starts]))
        return result


def linear(ours: str, theirs: str) -> list[Rule]:
    """The rules of a linear layer or a norm."""
    return [Same(f"{ours}.{part}", f"{theirs}.{part}") for part in ("weight", "bias")]


def encoder_rules(config: BertConfig, prefix: str) -> list[Rule]:
    """Embeddings and layers; `prefix` is "bert." in the classes that have a head, "" in BertModel."""
    rules: list[Rule] = [
        Same(f"embeddings.{ours}.weight", f"{prefix}embeddings.{theirs}_embeddings.weight")
        for ours, theirs in (("word", "word"), ("position", "position"), ("segment", "token_type"))
    ]
    rules += linear("embeddings.norm", f"{prefix}embeddings.LayerNorm")
    for number in range(config.num_hidden_layers):
        ours, theirs = f"layers.{number}", f"{prefix}encoder.layer.{number}"
        for name in ("query", "key", "value"):
            rules += linear(f"{ours}.attention.part.{name}", f"{theirs}.attention.self.{name}")
        rules += linear(f"{ours}.attention.part.output", f"{theirs}.attention.output.dense")
        rules += linear(f"{ours}.attention.norm", f"{theirs}.attention.output.LayerNorm")
        rules += linear(f"{ours}.feedforward.part.up", f"{theirs}.intermediate.dense")
        rules += linear(f"{ours}.feedforward.part.down", f"{theirs}.output.dense")
        rules += linear(f"{ours}.feedforward.norm", f"{theirs}.output.LayerNorm")
    return rules


_UNTIED = (("decoder.weight", "decoder.weight"), ("bias", "decoder.bias"))


def masked_rules(config: BertConfig) -> list[Rule]:
    predictions = "cls.predictions"
    rules = linear("masked.dense", f"{predictions}.transform.dense") + linear(
        "masked.norm", f"{predictions}.transform.LayerNorm"
    )
    rules.append(Same("masked.bias", f"{predictions}.bias"))
    if not config.tie_word_embeddings:
        # Untied, the stock class keeps two biases and uses the decoder's: it is read last, and both are written.
        rules += [Same(f"masked.{ours}", f"{predictions}.{theirs}") for ours, theirs in _UNTIED]
    return rules


def rules(config: BertConfig, head: str, prefix: str) -> list[Rule]:
    found = encoder_rules(config, prefix)
    if head == "masked":
        return found + masked_rules(config)
    found += linear("pooler.dense", f"{prefix}pooler.dense")
    return found + (linear("classifier.output", "classifier") if head == "classify" else [])


def initialise(module: nn.Module, config: BertConfig) -> None:
    init.normal(module, config.initializer_range)
    if isinstance(module, MaskedHead):
        nn.init.zeros_(module.bias)


def _size(layers: int, width: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "intermediate_size": 4 * width,
    }


FAMILY = Family(
    model_type="bert",
    about="bidirectional encoder; masked language model, classification",
    config=BertConfig,
    module=Bert,
    heads={"base": "BertModel", "masked": "BertForMaskedLM", "classify": "BertForSequenceClassification"},
    rules=rules,
    prefix="bert.",
    initialise=initialise,
    # The sizes of Turc et al. 2019 (https://arxiv.org/abs/1908.08962).
    sizes={
        "tiny": _size(2, 128),
        "mini": _size(4, 256),
        "small": _size(4, 512),
        "medium": _size(8, 512),
        "base": _size(12, 768),
    },
    vocabulary={r"embeddings\.word\.weight|masked\.(bias|decoder\.weight)": Growth.rows},
    embedding="embeddings.word.weight",
    # The files that Google published, as they stand on the hub, still have TensorFlow's names of a norm's parts.
    aliases={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
    ignorable=(
        r"(bert\.)?embeddings\.position_ids",
        r"cls\..*",  # the other pre-training heads
        r"(bert\.)?pooler\..*",
        r"classifier\..*",
    ),
)
