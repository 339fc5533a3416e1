"""BERT: a bidirectional Transformer encoder (Devlin et al. 2019, https://arxiv.org/abs/1810.04805).

The embeddings of word, position and segment are added and normed; each layer is attention and feed-forward, both post-norm; a
language-model head predicts masked words, a pooler on the first token feeds a classifier. DistilBERT (Sanh et al. 2019,
https://arxiv.org/abs/1910.01108) is one of half the layers, without segments and without a pooler of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from yanmo.errors import ModelError
from yanmo.models.base import Config, Family, answers, language_logits, task_logits
from yanmo.models.hf import Rule, Same
from yanmo.nn import init
from yanmo.nn.attention import SelfAttention
from yanmo.nn.embedding import Growth
from yanmo.nn.feedforward import ACTIVATIONS, FeedForward
from yanmo.nn.heads import MaskedHead, Pooler, RowHead, TokenHead
from yanmo.nn.position import sinusoids
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
    pools: ClassVar[bool] = True  # the model without a head has a pooler
    first_position: ClassVar[int] = 0

    @property
    def longest(self) -> int:
        return self.max_position_embeddings - self.first_position

    @property
    def head_dropout(self) -> float:
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ModelError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ModelError(f"hidden_act '{self.hidden_act}' is not known; known: {', '.join(ACTIVATIONS)}")


@dataclass(frozen=True, kw_only=True)
class DistilBertConfig(BertConfig):
    type_vocab_size: int = 0
    classifier_dropout: float | None = 0.2
    qa_dropout: float = 0.1

    keys: ClassVar[Mapping[str, str | None]] = {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "classifier_dropout": "seq_classif_dropout",
        "type_vocab_size": None,
        "layer_norm_eps": None,
    }
    harmless: ClassVar[frozenset[str]] = frozenset({"sinusoidal_pos_embds", "tie_weights_"})  # how training began
    pools: ClassVar[bool] = False


class Embeddings(nn.Module):
    """Word + position + segment (+ what `more` says of the run, in a variant), normed: a run of t tokens -> (t, width)."""

    def __init__(self, config: BertConfig, more: nn.Module | None = None) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.segment = nn.Embedding(config.type_vocab_size, config.hidden_size) if config.type_vocab_size else None
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.more = more
        self.first, self.longest = config.first_position, config.longest

    def forward(self, run: Run) -> Tensor:
        longest = max(run.lengths, default=0)
        if longest > self.longest:
            raise ModelError(
                f"a row of {longest} tokens, but this model has {self.longest} positions; shorten max_length"
            )
        x = self.word(run.ids) + self.position(run.positions + self.first)
        if self.segment is not None:
            x = x + (self.segment.weight[0] if run.types is None else self.segment(run.types))
        if self.more is not None:
            x = x + self.more(run)
        result: Tensor = self.dropout(self.norm(x))
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


def task_head(config: BertConfig, kind: str) -> nn.Module | None:
    """BERT's heads of tasks."""
    width, number = config.hidden_size, answers(config, kind)
    if kind in ("classify", "choose"):
        return RowHead(width, number, pool=Pooler(width), dropout=config.head_dropout)
    if kind in ("next", "pretrain"):
        return RowHead(width, number, pool=Pooler(width))
    if kind == "tag":
        return TokenHead(width, number, dropout=config.head_dropout)
    return TokenHead(width, number) if kind == "span" else None


def distilled_head(config: DistilBertConfig, kind: str) -> nn.Module | None:
    """DistilBERT's: its pooler comes with the task."""
    width, number = config.hidden_size, answers(config, kind)
    if kind in ("classify", "choose"):
        return RowHead(width, number, pool=Pooler(width, "relu"), dropout=config.head_dropout)
    if kind == "tag":
        return TokenHead(width, number, dropout=config.hidden_dropout_prob)
    return TokenHead(width, number, dropout=config.qa_dropout) if kind == "span" else None


class Bert(nn.Module):
    """The encoder, with a head of the given kind. task_head: makes that of a task; None for other kinds. more: makes what a variant
    adds to the embeddings."""

    def __init__(
        self,
        config: BertConfig,
        head: str,
        *,
        task_head: Callable[[Any, str], nn.Module | None],
        masked_activation: str | None = None,
        more: Callable[[Any], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        width, activation = config.hidden_size, masked_activation or config.hidden_act
        self.embeddings = Embeddings(config, more(config) if more else None)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.pooler = Pooler(width) if head == "base" and config.pools else None
        self.masked: MaskedHead | None = None
        if head in ("masked", "pretrain"):
            self.masked = MaskedHead(
                width, config.vocab_size, activation, config.layer_norm_eps, tied=config.tie_word_embeddings
            )
        self.task_head = task_head(config, head)

    def encode(self, run: Run) -> Tensor:
        x: Tensor = self.embeddings(run)
        for layer in self.layers:
            x = layer(x, run.lengths)
        return x

    def hidden(self, batch: Batch) -> Tensor:
        return self.encode(batch.source)

    def logits(self, hidden: Tensor) -> Tensor:
        return language_logits(self.masked, hidden, self.embeddings.word.weight)

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        return task_logits(self.task_head, hidden, run)


@dataclass(frozen=True)
class Names:
    """What a relative calls its linear layers and norms. A name of the base model begins with "{}", where the prefix goes."""

    layer: str  # what a layer's names begin with
    parts: Mapping[str, str]  # of a layer
    masked: Mapping[str, str]
    bias: str  # of the language-model head
    heads: Mapping[str, Mapping[str, str]]  # head kind -> parts


_POOLED = {"task_head.pool.dense": "{}pooler.dense"}
BERT = Names(
    layer="encoder.layer",
    parts={
        "attention.part.query": "attention.self.query",
        "attention.part.key": "attention.self.key",
        "attention.part.value": "attention.self.value",
        "attention.part.output": "attention.output.dense",
        "attention.norm": "attention.output.LayerNorm",
        "feedforward.part.up": "intermediate.dense",
        "feedforward.part.down": "output.dense",
        "feedforward.norm": "output.LayerNorm",
    },
    masked={
        "dense": "cls.predictions.transform.dense",
        "norm": "cls.predictions.transform.LayerNorm",
        "decoder.output": "cls.predictions.decoder",
    },
    bias="cls.predictions.bias",
    heads={
        "classify": {**_POOLED, "task_head.output": "classifier"},
        "choose": {**_POOLED, "task_head.output": "classifier"},
        "next": {**_POOLED, "task_head.output": "cls.seq_relationship"},
        "pretrain": {**_POOLED, "task_head.output": "cls.seq_relationship"},
        "tag": {"task_head.output": "classifier"},
        "span": {"task_head.output": "qa_outputs"},
    },
)
DISTILBERT = Names(
    layer="transformer.layer",
    parts={
        "attention.part.query": "attention.q_lin",
        "attention.part.key": "attention.k_lin",
        "attention.part.value": "attention.v_lin",
        "attention.part.output": "attention.out_lin",
        "attention.norm": "sa_layer_norm",
        "feedforward.part.up": "ffn.lin1",
        "feedforward.part.down": "ffn.lin2",
        "feedforward.norm": "output_layer_norm",
    },
    masked={"dense": "vocab_transform", "norm": "vocab_layer_norm", "decoder.output": "vocab_projector"},
    bias="vocab_projector.bias",
    heads={
        "classify": {"task_head.pool.dense": "pre_classifier", "task_head.output": "classifier"},
        "choose": {"task_head.pool.dense": "pre_classifier", "task_head.output": "classifier"},
        "tag": {"task_head.output": "classifier"},
        "span": {"task_head.output": "qa_outputs"},
    },
)


def rules(config: BertConfig, head: str, prefix: str, names: Names) -> list[Rule]:
    tables = (("word", "word"), ("position", "position"), ("segment", "token_type"))
    found: list[Rule] = [
        Same(f"embeddings.{ours}.weight", f"{prefix}embeddings.{theirs}_embeddings.weight")
        for ours, theirs in tables
        if ours != "segment" or config.type_vocab_size
    ]
    linear = {"embeddings.norm": "{}embeddings.LayerNorm"}  # and norms
    for number in range(config.num_hidden_layers):
        for ours, theirs in names.parts.items():
            linear[f"layers.{number}.{ours}"] = f"{{}}{names.layer}.{number}.{theirs}"
    if head in ("masked", "pretrain"):
        linear |= {f"masked.{part}": names.masked[part] for part in ("dense", "norm")}
        found.append(Same("masked.decoder.bias", names.bias))
        if not config.tie_word_embeddings:
            decoder = names.masked["decoder.output"]
            found.append(Same("masked.decoder.output.weight", f"{decoder}.weight"))
            # Untied, some stock classes keep two biases and use the decoder's: it is read last, and both are written.
            if f"{decoder}.bias" != names.bias:
                found.append(Same("masked.decoder.bias", f"{decoder}.bias"))
    if head == "base" and config.pools:
        linear["pooler.dense"] = "{}pooler.dense"
    linear |= names.heads.get(head, {})
    return found + [
        Same(f"{ours}.{part}", f"{theirs.format(prefix)}.{part}")
        for ours, theirs in linear.items()
        for part in ("weight", "bias")
    ]


def initialise(module: nn.Module, config: BertConfig) -> None:
    """BERT's rule, but for the positions: they begin as sinusoids of the same deviation, so that near ones are alike at once. Drawn by
    chance they have to become so first."""
    init.normal(module, config.initializer_range)
    if isinstance(module, Embeddings):
        table = sinusoids(torch.arange(module.position.num_embeddings), module.position.embedding_dim)
        with torch.no_grad():
            module.position.weight.copy_(table * (config.initializer_range * 2**0.5))


def size(layers: int, width: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "intermediate_size": 4 * width,
    }


# The sizes of Turc et al. 2019 (https://arxiv.org/abs/1908.08962).
SIZES = {
    "tiny": size(2, 128),
    "mini": size(4, 256),
    "small": size(4, 512),
    "medium": size(8, 512),
    "base": size(12, 768),
}
CLASSES = {
    "base": "Model",
    "masked": "ForMaskedLM",
    "classify": "ForSequenceClassification",
    "tag": "ForTokenClassification",
    "span": "ForQuestionAnswering",
    "choose": "ForMultipleChoice",
}
VOCABULARY = {r"embeddings\.word\.weight|masked\.decoder\.(bias|output\.weight)": Growth.rows}


FAMILY = Family(
    model_type="bert",
    about="a bidirectional encoder: reads a text as a whole, for labels, tags and answers",
    paper="Devlin et al. 2019, https://arxiv.org/abs/1810.04805",
    config=BertConfig,
    module=partial(Bert, task_head=task_head),
    heads={kind: f"Bert{name}" for kind, name in CLASSES.items()}
    | {"next": "BertForNextSentencePrediction", "pretrain": "BertForPreTraining"},
    rules=partial(rules, names=BERT),
    prefix="bert.",
    initialise=initialise,
    sizes=SIZES,
    vocabulary=VOCABULARY,
    embedding="embeddings.word.weight",
    # The files that Google published, as they stand on the hub, still have TensorFlow's names of a norm's parts.
    aliases={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
    ignorable=(
        r"(bert\.)?embeddings\.position_ids",
        r"cls\..*",
        r"(bert\.)?pooler\..*",
        r"(classifier|qa_outputs)\..*",
    ),
)
DISTIL = Family(
    model_type="distilbert",
    about="BERT with half the layers, distilled from it",
    paper="Sanh et al. 2019, https://arxiv.org/abs/1910.01108",
    config=DistilBertConfig,
    module=partial(Bert, task_head=distilled_head),
    heads={kind: f"DistilBert{name}" for kind, name in CLASSES.items()},
    rules=partial(rules, names=DISTILBERT),
    prefix="distilbert.",
    initialise=initialise,
    sizes={
        name: {str(DistilBertConfig.keys[field]): value for field, value in keys.items()}
        for name, keys in {**SIZES, "base": size(6, 768)}.items()
    },
    vocabulary=VOCABULARY,
    embedding="embeddings.word.weight",
    ignorable=(r"(vocab_|pre_classifier|classifier|qa_outputs).*",),
)
