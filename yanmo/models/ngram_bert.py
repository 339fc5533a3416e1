"""A small encoder that reads n-grams: BERT's objective and heads, with four changes that make it learn fast from little text.

The embedding of a token adds those of the 2- and 3-grams that end there (frequent ones, learnt from the training text); a narrow
convolution mixes neighbours; position is a rotation of q and k; norms come first (Xiong et al. 2020). The classifier reads the
mean and the maximum over a row. Only Yanmo opens it: `model_type: yanmo-ngram-bert`.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from yanmo.errors import ModelError
from yanmo.models.base import Config, Family, answers, language_logits, task_logits
from yanmo.models.hf import Rule, Same
from yanmo.nn import init
from yanmo.nn.attention import SelfAttention
from yanmo.nn.conv import NeighbourConv
from yanmo.nn.embedding import Growth, NgramEmbedding, learn_ngrams
from yanmo.nn.feedforward import ACTIVATIONS, FeedForward
from yanmo.nn.heads import MaskedHead, RowHead
from yanmo.nn.position import Rotary
from yanmo.nn.residual import Residual
from yanmo.text.batches import Batch, Run


@dataclass(frozen=True, kw_only=True)
class NgramBertConfig(Config):
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    ngram_sizes: tuple[int, ...] = (2, 3)
    ngram_rows: int = 40_000  # known n-grams of each size
    kernel_size: int = 5
    rotary_base: float = 1000.0
    hidden_act: str = "gelu_pytorch_tanh"
    embedding_dropout: float = 0.0
    ngram_dropout: float = 0.0  # share of n-grams that are left out
    hidden_dropout: float = 0.0
    classifier_dropout: float = 0.0
    max_position_embeddings: int = 512  # longest row; positions have no parameters
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ModelError(
                f"hidden_size {self.hidden_size} is not a multiple of 2 * num_attention_heads {self.num_attention_heads}"
            )
        if self.hidden_act not in ACTIVATIONS:
            raise ModelError(f"hidden_act '{self.hidden_act}' is not known; known: {', '.join(ACTIVATIONS)}")
        if self.kernel_size % 2 == 0:
            raise ModelError(f"kernel_size {self.kernel_size} is even; a window needs a middle")
        if max(self.ngram_sizes, default=1) * math.log2(self.vocab_size) >= 63:  # the power itself could take for ever
            raise ModelError(f"vocab_size {self.vocab_size} is too large for n-grams of {max(self.ngram_sizes)} tokens")


class Embeddings(nn.Module):
    """Word + n-grams, normed, + convolution: a run of t tokens -> (t, width)."""

    def __init__(self, config: NgramBertConfig) -> None:
        super().__init__()
        width, epsilon = config.hidden_size, config.layer_norm_eps
        self.word = nn.Embedding(config.vocab_size, width)
        self.ngrams = nn.ModuleList(
            NgramEmbedding(size, config.ngram_rows, config.vocab_size, width) for size in config.ngram_sizes
        )
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.conv = NeighbourConv(width, config.kernel_size, config.hidden_act, epsilon)
        self.dropout = nn.Dropout(config.embedding_dropout)
        self.ngram_dropout = config.ngram_dropout

    def forward(self, run: Run) -> Tensor:
        x = self.word(run.ids)
        for ngram in self.ngrams:
            x = x + ngram(run.ids, run.positions, self.ngram_dropout)
        x = self.norm(x)
        result: Tensor = self.dropout(x + self.conv(x, row_of=run.row_of))
        return result


class Layer(nn.Module):
    """One pre-norm encoder layer: (t, width) -> (t, width)."""

    def __init__(self, config: NgramBertConfig) -> None:
        super().__init__()
        width, drop = config.hidden_size, config.hidden_dropout

        def residual(part: nn.Module) -> Residual:
            return Residual(part, nn.LayerNorm(width, eps=config.layer_norm_eps), pre=True, dropout=drop)

        self.attention = residual(SelfAttention(width, config.num_attention_heads))
        self.feedforward = residual(FeedForward(width, config.intermediate_size, config.hidden_act))

    def forward(self, x: Tensor, **context: object) -> Tensor:
        result: Tensor = self.feedforward(self.attention(x, **context))
        return result


class NgramBert(nn.Module):
    """The encoder, with the head of the given kind: "base" (none), "masked" or "classify"."""

    def __init__(self, config: NgramBertConfig, head: str) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.embeddings = Embeddings(config)
        self.rotary = Rotary(width // config.num_attention_heads, config.rotary_base)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.masked: MaskedHead | None = None
        self.task_head: nn.Module | None = None
        if head == "masked":
            self.masked = MaskedHead(width, config.vocab_size, config.hidden_act, config.layer_norm_eps, tied=True)
        if head == "classify":
            self.task_head = RowHead(width, answers(config, head), place="mean_max", dropout=config.classifier_dropout)

    def encode(self, run: Run) -> Tensor:
        x: Tensor = self.embeddings(run)
        rotate = self.rotary(run.positions)
        for layer in self.layers:
            x = layer(x, lengths=run.lengths, rotate=rotate)
        result: Tensor = self.norm(x)
        return result

    def hidden(self, batch: Batch) -> Tensor:
        return self.encode(batch.source)

    def logits(self, hidden: Tensor) -> Tensor:
        return language_logits(self.masked, hidden, self.embeddings.word.weight)

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        return task_logits(self.task_head, hidden, run)


def rules(config: NgramBertConfig, head: str, prefix: str) -> list[Rule]:
    """The names on disk are our own."""
    with init.shapes_only():
        return [Same(name, name) for name in NgramBert(config, head).state_dict()]


def initialise(module: nn.Module, config: NgramBertConfig) -> None:
    init.normal(module, config.initializer_range)
    if isinstance(module, NeighbourConv):
        nn.init.normal_(module.weight, 0.0, 0.2)
    if isinstance(module, Embeddings):  # words louder than n-grams at the start, so that rare n-grams do not drown them
        nn.init.normal_(module.word.weight, 0.0, 0.1)


def _size(layers: int, width: int, heads: int, rows: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "ngram_rows": rows,
    }


FAMILY = Family(
    model_type="yanmo-ngram-bert",
    about="small encoder with n-gram embeddings, for little text and little time",
    paper="our own; n-grams as in Bojanowski et al. 2017, https://arxiv.org/abs/1607.04606",
    config=NgramBertConfig,
    module=NgramBert,
    heads={
        "base": "YanmoNgramBertModel",
        "masked": "YanmoNgramBertForMaskedLM",
        "classify": "YanmoNgramBertForSequenceClassification",
    },
    rules=rules,
    prefix="",
    initialise=initialise,
    learn=learn_ngrams,
    sizes={
        "tiny": _size(2, 128, 4, 40_000),
        "mini": _size(3, 192, 6, 60_000),
        "small": _size(4, 256, 8, 80_000),
        "medium": _size(6, 384, 12, 120_000),
    },
    vocabulary={
        r"embeddings\.word\.weight|masked\.decoder\.bias": Growth.rows,
        r"embeddings\.ngrams\.\d+\.keys": Growth.keys,
    },
    embedding="embeddings.word.weight",
    ignorable=(r"masked\..*", r"task_head\..*"),
)
