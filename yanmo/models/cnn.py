"""Convolutions as an encoder and as a language model: `model_type: yanmo-cnn`, of two kinds.

`kind: kim` is the network of Kim 2014 ("Convolutional Neural Networks for Sentence Classification"), CNN-rand where no word vectors are
given: windows of several sizes, the maximum over a row, dropout, one linear layer. It looks to both sides, so it can't decode. Each
token has a state, the features of its windows, which tagging reads; so windows hang over the ends of a row, where zeros stand (the
paper pads "where necessary", its code at both ends of all rows), and a row may be shorter than a window. `num_hidden_layers` is 1.
The limit on the norm of the last layer's weights is no part of the model.

`kind: gated` is a language model: the gated convolutions of Dauphin et al. 2017 ("Language Modeling with Gated Convolutional Networks"),
dilated 1, 2, 4 ... and again, as in WaveNet (van den Oord et al. 2016), in residual blocks that begin with a norm, as in ByteNet
(Kalchbrenner et al. 2016, section 3.6). Its last token alone has seen what it can see of a row, so it classifies by it.
"""

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from yanmo.errors import ModelError, gather
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
    hidden_size: int  # kim: the features of all sizes of windows together
    num_hidden_layers: int = 1
    kind: str = "gated"
    embedding_size: int | None = None  # kim only; None: hidden_size
    kernel_sizes: tuple[int, ...] = (3,)  # gated: one
    dilation_cycle: int = 4  # gated: layer n is dilated 2 ** (n modulo this)
    hidden_dropout: float = 0.1  # gated: of embeddings and of each block
    classifier_dropout: float = 0.5
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        kim, sizes = self.kind == "kim", self.kernel_sizes
        inner = self.embedding_size
        faults = [
            (self.kind not in ("kim", "gated"), f"kind '{self.kind}' is not known; known: kim, gated"),
            (not sizes or min(sizes) < 1, f"kernel_sizes {list(sizes)}: expected numbers of tokens from 1 on"),
            (self.dilation_cycle < 1, f"dilation_cycle {self.dilation_cycle}: expected at least 1"),
            (kim and self.num_hidden_layers > 1, f"num_hidden_layers {self.num_hidden_layers}: kind kim has 1"),
            (
                kim and bool(sizes) and self.hidden_size % len(sizes) > 0,
                f"hidden_size {self.hidden_size} is not a multiple of the {len(sizes)} kernel_sizes",
            ),
            (not kim and len(sizes) > 1, f"kernel_sizes {list(sizes)}: kind gated has one"),
            (
                not kim and inner not in (None, self.hidden_size),
                f"embedding_size {inner}: of kind gated it is hidden_size, {self.hidden_size}",
            ),
        ]
        gather([fault for wrong, fault in faults if wrong], "these keys do not go together:", ModelError)


def task_head(config: CnnConfig, kind: str) -> nn.Module | None:
    width, number, drop = config.hidden_size, answers(config, kind), config.classifier_dropout
    if kind == "classify":
        return RowHead(width, number, place="max" if config.kind == "kim" else "last", dropout=drop)
    return TokenHead(width, number, dropout=drop) if kind in ("tag", "span") else None


class KimCnn(nn.Module):
    """The encoder, with a head of the given kind."""

    def __init__(self, config: CnnConfig, head: str) -> None:
        super().__init__()
        self.config = config
        width, sizes = config.embedding_size or config.hidden_size, config.kernel_sizes
        self.word = nn.Embedding(config.vocab_size, width)
        self.windows = WindowConv(width, config.hidden_size // len(sizes), sizes)
        self.task_head = task_head(config, head)

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

    def __init__(self, config: CnnConfig, head: str) -> None:
        super().__init__()
        self.config = config
        width, drop, epsilon = config.hidden_size, config.hidden_dropout, config.layer_norm_eps
        self.word = nn.Embedding(config.vocab_size, width)
        self.dropout = nn.Dropout(drop)
        convs = [
            GatedConv(width, config.kernel_sizes[0], 2 ** (number % config.dilation_cycle))
            for number in range(config.num_hidden_layers)
        ]
        self.layers = nn.ModuleList(
            Residual(conv, nn.LayerNorm(width, eps=epsilon), pre=True, dropout=drop) for conv in convs
        )
        self.norm = nn.LayerNorm(width, eps=epsilon)
        tied = config.tie_word_embeddings
        self.language = LanguageHead(width, config.vocab_size, tied=tied, bias=True) if head == "causal" else None
        self.task_head = task_head(config, head)

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


def cnn(config: CnnConfig, head: str) -> nn.Module:
    if head == "causal" and config.kind == "kim":
        raise ModelError("kind kim looks to both sides, so it can't say what comes next; set kind to gated")
    return (KimCnn if config.kind == "kim" else GatedCnn)(config, head)


def rules(config: CnnConfig, head: str, prefix: str) -> list[Rule]:
    """The names on disk are our own."""
    with init.shapes_only():
        return [Same(name, name) for name in cnn(config, head).state_dict()]


def initialise(module: nn.Module, config: CnnConfig) -> None:
    """Convolutions by He et al. 2015, as Dauphin et al. have it. Word vectors of kind kim are as loud as those of word2vec,
    for no norm comes after them: uniform within 0.25, as in the paper's code."""
    init.normal(module, config.initializer_range)
    if isinstance(module, nn.Conv1d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu" if config.kind == "kim" else "linear")
    if isinstance(module, nn.Embedding) and config.kind == "kim":
        nn.init.uniform_(module.weight, -0.25, 0.25)


def _gated(layers: int, width: int) -> dict[str, object]:
    return {"kind": "gated", "num_hidden_layers": layers, "hidden_size": width}


def _kim(maps: int, embedding: int) -> dict[str, object]:
    return {"kind": "kim", "kernel_sizes": [3, 4, 5], "hidden_size": 3 * maps, "embedding_size": embedding}


FAMILY = Family(
    model_type="yanmo-cnn",
    about="convolutions: Kim's encoder of windows, or a gated, dilated language model",
    config=CnnConfig,
    module=cnn,
    heads={
        "base": "YanmoCnnModel",
        "causal": "YanmoCnnForCausalLM",
        "classify": "YanmoCnnForSequenceClassification",
        "tag": "YanmoCnnForTokenClassification",
        "span": "YanmoCnnForQuestionAnswering",
    },
    rules=rules,
    prefix="",
    initialise=initialise,
    sizes={
        "tiny": _gated(4, 128),
        "mini": _gated(6, 256),
        "small": _gated(8, 384),
        "kim-tiny": _kim(32, 128),
        "kim": _kim(100, 300),  # the paper's, section 3.1
    },
    vocabulary={r"word\.weight|language\.(bias|output\.weight)": Growth.rows},
    embedding="word.weight",
    positions="",
    ignorable=(r"(language|task_head)\..*",),
)
