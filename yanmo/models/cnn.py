"""Convolutions as an encoder, `model_type: yanmo-cnn`, and as a language model, `model_type: yanmo-gated-cnn`.

The encoder is the network of Kim 2014 ("Convolutional Neural Networks for Sentence Classification"), CNN-rand where it begins with no
word vectors: windows of several sizes, the maximum over a row, dropout, one linear layer. It looks to both sides, so it can't decode.
Each token has a state, the features of its windows, which tagging reads; so windows hang over the ends of a row, where zeros stand (the
paper pads "where necessary"), and a row may be shorter than a window. The paper's limit on the norm of the last weights is not here.

The language model has the gated convolutions of Dauphin et al. 2017 ("Language Modeling with Gated Convolutional Networks"), dilated 1,
2, 4 ... and again, as in WaveNet (van den Oord et al. 2016), in residual blocks that begin with a norm, as in ByteNet (Kalchbrenner et
al. 2016, section 3.6). It classifies by the last token, which alone has seen what can be seen of the row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from yanmo.errors import ModelError
from yanmo.models.base import Config, Family, Memory, answers, language_logits, task_logits
from yanmo.models.hf import Rule, Same
from yanmo.nn import init
from yanmo.nn.conv import GatedConv, WindowConv, after
from yanmo.nn.embedding import Growth
from yanmo.nn.heads import LanguageHead, RowHead, TokenHead
from yanmo.nn.recurrent import Carried
from yanmo.nn.residual import Residual
from yanmo.text.batches import Batch, Run


@dataclass(frozen=True, kw_only=True)
class CnnConfig(Config):
    vocab_size: int
    hidden_size: int  # the features of all sizes of windows together
    embedding_size: int | None = None  # None: hidden_size
    kernel_sizes: tuple[int, ...] = (3, 4, 5)
    classifier_dropout: float = 0.5
    initializer_range: float = (
        0.25  # word vectors are uniform within it: as loud as those of word2vec, for no norm follows
    )

    def __post_init__(self) -> None:
        if not self.kernel_sizes or min(self.kernel_sizes) < 1:
            raise ModelError(f"kernel_sizes {list(self.kernel_sizes)}: expected numbers of tokens, from 1 on")
        if self.hidden_size % len(self.kernel_sizes):
            raise ModelError(
                f"hidden_size {self.hidden_size} is not a multiple of the {len(self.kernel_sizes)} kernel_sizes"
            )


@dataclass(frozen=True, kw_only=True)
class GatedCnnConfig(Config):
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    kernel_size: int = 3
    dilation_cycle: int = 4  # layer n is dilated 2 ** (n modulo this)
    hidden_dropout: float = 0.1  # of embeddings and of each block
    classifier_dropout: float = 0.1
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5


def task_head(config: CnnConfig | GatedCnnConfig, kind: str, place: str) -> nn.Module | None:
    width, number, drop = config.hidden_size, answers(config, kind), config.classifier_dropout
    if kind == "classify":
        return RowHead(width, number, place=place, dropout=drop)
    return TokenHead(width, number, dropout=drop) if kind in ("tag", "span") else None


class Cnn(nn.Module):
    """The encoder, with a head of the given kind."""

    def __init__(self, config: CnnConfig, head: str) -> None:
        super().__init__()
        self.config = config
        width, sizes = config.embedding_size or config.hidden_size, config.kernel_sizes
        self.word = nn.Embedding(config.vocab_size, width)
        self.windows = WindowConv(width, config.hidden_size // len(sizes), sizes)
        self.task_head = task_head(config, head, "max")

    def encode(self, run: Run) -> Tensor:
        result: Tensor = self.windows(self.word(run.ids), row_of=run.row_of)
        return result

    def hidden(self, batch: Batch) -> Tensor:
        return self.encode(batch.source)

    def logits(self, hidden: Tensor) -> Tensor:
        return language_logits(None, hidden, self.word.weight)

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        return task_logits(self.task_head, hidden, run)


class GatedCnn(nn.Module):
    """The decoder, with a head of the given kind. Its State holds the inputs of each layer that the next token still sees."""

    def __init__(self, config: GatedCnnConfig, head: str) -> None:
        super().__init__()
        self.config = config
        width, drop, epsilon = config.hidden_size, config.hidden_dropout, config.layer_norm_eps
        self.word = nn.Embedding(config.vocab_size, width)
        self.dropout = nn.Dropout(drop)
        convs = [
            GatedConv(width, config.kernel_size, 2 ** (number % config.dilation_cycle))
            for number in range(config.num_hidden_layers)
        ]
        self.layers = nn.ModuleList(
            Residual(conv, nn.LayerNorm(width, eps=epsilon), pre=True, dropout=drop) for conv in convs
        )
        self.norm = nn.LayerNorm(width, eps=epsilon)
        tied = config.tie_word_embeddings
        self.language = LanguageHead(width, config.vocab_size, tied=tied, bias=True) if head == "causal" else None
        self.task_head = task_head(config, head, "last")

    def state(self, memory: Memory | None = None) -> Carried:
        return Carried(len(self.layers))

    def decode(self, run: Run, state: Carried | None = None, memory: Memory | None = None) -> Tensor:
        if state is not None:
            state.begin(run.lengths)
        x = self.dropout(self.word(run.ids))
        for number, layer in enumerate(self.layers):
            past = None if state is None else partial(after, state, number, run.lengths)
            x = layer(x, row_of=run.row_of, past=past)
        result: Tensor = self.norm(x)
        return result

    def hidden(self, batch: Batch) -> Tensor:
        return self.decode(batch.source)

    def logits(self, hidden: Tensor) -> Tensor:
        return language_logits(self.language, hidden, self.word.weight)

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        return task_logits(self.task_head, hidden, run)


def rules(module: Callable[..., nn.Module], config: Config, head: str, prefix: str) -> list[Rule]:
    """The names on disk are our own."""
    with init.shapes_only():
        return [Same(name, name) for name in module(config, head).state_dict()]


def initialise(module: nn.Module, config: CnnConfig) -> None:
    """Features by He et al. 2015, the answer by Glorot & Bengio 2010, word vectors as in the code of the paper."""
    init.normal(module, 0.0)
    if isinstance(module, nn.Conv1d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    if isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -config.initializer_range, config.initializer_range)


def initialise_gated(module: nn.Module, config: GatedCnnConfig) -> None:
    """Convolutions by He et al. 2015, as Dauphin et al. have it, for values that meet no relu; the rest as GPT-2 has it."""
    init.normal(module, config.initializer_range)
    if isinstance(module, nn.Conv1d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="linear")


FAMILY = Family(
    model_type="yanmo-cnn",
    about="encoder of windows; classification by the maximum over a row",
    paper="Kim 2014, https://arxiv.org/abs/1408.5882",
    config=CnnConfig,
    module=Cnn,
    heads={
        "base": "YanmoCnnModel",
        "classify": "YanmoCnnForSequenceClassification",
        "tag": "YanmoCnnForTokenClassification",
        "span": "YanmoCnnForQuestionAnswering",
    },
    rules=partial(rules, Cnn),
    prefix="",
    initialise=initialise,
    sizes={
        "tiny": {"hidden_size": 96, "embedding_size": 128},
        "mini": {"hidden_size": 300, "embedding_size": 300},  # the paper's: 100 features of each of 3 sizes
        "small": {"hidden_size": 768, "embedding_size": 300},
    },
    vocabulary={r"word\.weight": Growth.rows},
    embedding="word.weight",
    positions="",
    ignorable=(r"task_head\..*",),
)


def _size(layers: int, width: int) -> dict[str, int]:
    return {"num_hidden_layers": layers, "hidden_size": width}


GATED = Family(
    model_type="yanmo-gated-cnn",
    about="gated, dilated convolutions; language model, classification by the last token",
    paper="Dauphin et al. 2017, https://arxiv.org/abs/1612.08083",
    config=GatedCnnConfig,
    module=GatedCnn,
    heads={
        "base": "YanmoGatedCnnModel",
        "causal": "YanmoGatedCnnForCausalLM",
        "classify": "YanmoGatedCnnForSequenceClassification",
        "tag": "YanmoGatedCnnForTokenClassification",
        "span": "YanmoGatedCnnForQuestionAnswering",
    },
    rules=partial(rules, GatedCnn),
    prefix="",
    initialise=initialise_gated,
    sizes={"tiny": _size(4, 128), "mini": _size(6, 256), "small": _size(8, 384)},
    vocabulary={r"word\.weight|language\.(bias|output\.weight)": Growth.rows},
    embedding="word.weight",
    positions="",
    ignorable=(r"(language|task_head)\..*",),
)
