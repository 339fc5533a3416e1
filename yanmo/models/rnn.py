"""LSTM and GRU as language models, as encoders, and as encoder and decoder with attention: `model_type: yanmo-rnn`.

A language model reads from left to right; its word embedding is its output layer, behind a projection where their widths differ
(Merity et al. 2018, "Regularizing and Optimizing LSTM Language Models"). Such a model classifies by the last token, the only one that
has seen the row. With `bidirectional` it is an encoder, which can't decode, and classifies by the maximum over a row, which Conneau et
al. 2017 ("Supervised Learning of Universal Sentence Representations from Natural Language Inference Data") found best.

The encoder-decoder is that of Luong, Pham & Manning 2015 with the first state of Bahdanau et al. 2015. Dropout is variational: Gal &
Ghahramani 2016. The same word embedding serves source, target and output.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from yanmo.errors import ModelError
from yanmo.models.base import Config, Family, Memory, answers, language_logits, task_logits
from yanmo.models.hf import Rule, Same
from yanmo.nn import init
from yanmo.nn.embedding import Growth
from yanmo.nn.heads import LanguageHead, RowHead, TokenHead
from yanmo.nn.linear import Linear
from yanmo.nn.recurrent import CELLS, Carried, GlobalAttention, Recurrent, begin_cell
from yanmo.text.batches import Batch, Run


@dataclass(frozen=True, kw_only=True)
class RnnConfig(Config):
    vocab_size: int
    hidden_size: int  # of the states; of both directions together
    num_hidden_layers: int
    embedding_size: int | None = None  # None: hidden_size
    cell: str = "lstm"
    bidirectional: bool = False  # of the encoder, where there is a decoder too
    embedding_dropout: float = 0.1
    hidden_dropout: float = 0.1  # between layers
    output_dropout: float = 0.1
    classifier_dropout: float = 0.1
    tie_word_embeddings: bool = True
    initializer_range: float = 0.1

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ModelError(f"cell '{self.cell}' is not known; known: {', '.join(CELLS)}")
        if self.bidirectional and self.hidden_size % 2:
            raise ModelError(f"hidden_size {self.hidden_size} is odd; each of two directions has half of it")


def words(config: RnnConfig) -> nn.Embedding:
    return nn.Embedding(config.vocab_size, config.embedding_size or config.hidden_size)


def layers(config: RnnConfig, *, bidirectional: bool) -> Recurrent:
    return Recurrent(
        config.cell,
        config.embedding_size or config.hidden_size,
        config.hidden_size,
        config.num_hidden_layers,
        bidirectional=bidirectional,
        input_dropout=config.embedding_dropout,
        hidden_dropout=config.hidden_dropout,
        output_dropout=config.output_dropout,
    )


class NextToken(nn.Module):
    """The next token: (n, width) -> (n, vocabulary), through a projection where the embedding it is tied to has another width."""

    def __init__(self, config: RnnConfig) -> None:
        super().__init__()
        width, inner, tied = config.hidden_size, config.embedding_size, config.tie_word_embeddings
        self.projection = Linear(width, inner, bias=False) if tied and inner not in (None, width) else nn.Identity()
        self.head = LanguageHead(width, config.vocab_size, tied=tied, bias=True)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        result: Tensor = self.head(self.projection(hidden), embedding)
        return result


def task_head(config: RnnConfig, kind: str) -> nn.Module | None:
    width, number, drop = config.hidden_size, answers(config, kind), config.classifier_dropout
    if kind == "classify":
        return RowHead(width, number, place="max" if config.bidirectional else "last", dropout=drop)
    return TokenHead(width, number, dropout=drop) if kind in ("tag", "span") else None


class RnnDecoder(nn.Module):
    """From left to right, with a head of the given kind."""

    def __init__(self, config: RnnConfig, head: str) -> None:
        super().__init__()
        self.config = config
        self.word = words(config)
        self.rnn = layers(config, bidirectional=False)
        self.language = NextToken(config) if head == "causal" else None
        self.task_head = task_head(config, head)

    def state(self, memory: Memory | None = None) -> Carried:
        return Carried(self.config.num_hidden_layers)

    def decode(self, run: Run, state: Carried | None = None, memory: Memory | None = None) -> Tensor:
        if state is not None:
            state.begin(run.lengths)
        result: Tensor = self.rnn(self.word(run.ids), run.lengths, state)
        return result

    def hidden(self, batch: Batch) -> Tensor:
        return self.decode(batch.source)

    def logits(self, hidden: Tensor) -> Tensor:
        return language_logits(self.language, hidden, self.word.weight)

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        return task_logits(self.task_head, hidden, run)


class RnnEncoder(nn.Module):
    """In both directions, with a head of the given kind."""

    def __init__(self, config: RnnConfig, head: str) -> None:
        super().__init__()
        self.config = config
        self.word = words(config)
        self.rnn = layers(config, bidirectional=True)
        self.task_head = task_head(config, head)

    def encode(self, run: Run) -> Tensor:
        result: Tensor = self.rnn(self.word(run.ids), run.lengths)
        return result

    def hidden(self, batch: Batch) -> Tensor:
        return self.encode(batch.source)

    def logits(self, hidden: Tensor) -> Tensor:
        return language_logits(None, hidden, self.word.weight)

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        return task_logits(self.task_head, hidden, run)


class RnnSeq2Seq(nn.Module):
    """An encoder, and a decoder that looks at its states. Each layer of the decoder begins at tanh(W h), h being the encoder's last state
    of each direction (Bahdanau et al. 2015, section A.2.2, takes that of one), and an LSTM's cell at 0."""

    def __init__(self, config: RnnConfig) -> None:
        super().__init__()
        self.config = config
        self.word = words(config)
        self.rnn = layers(config, bidirectional=config.bidirectional)
        self.decoder = layers(config, bidirectional=False)
        self.first = Linear(config.hidden_size, config.num_hidden_layers * config.hidden_size)
        self.attention = GlobalAttention(config.hidden_size)
        self.language = NextToken(config)
        self.task_head = None

    def encode(self, run: Run) -> Tensor:
        result: Tensor = self.rnn(self.word(run.ids), run.lengths)
        return result

    def state(self, memory: Memory | None = None) -> Carried:
        """Behind the layers stands what the attention needs of the memory."""
        if memory is None:
            raise ValueError("this decoder looks at a memory; give it one")
        sizes = torch.tensor(memory.lengths, device=memory.states.device)
        ends = sizes.cumsum(0)
        summary = memory.states[ends - 1]
        if self.config.bidirectional:  # the second direction ends at the first token
            half = self.config.hidden_size // 2
            summary = torch.cat([summary[:, :half], memory.states[ends - sizes, half:]], -1)
        first = self.first(summary).tanh().chunk(self.config.num_hidden_layers, -1)
        begin = [(h, torch.zeros_like(h)) if self.config.cell == "lstm" else (h,) for h in first]
        carried = Carried(len(begin) + 1)
        carried.lengths = (0,) * len(sizes)
        carried.layers = [*begin, self.attention.remember(memory.states, memory.lengths)]
        return carried

    def decode(self, run: Run, state: Carried | None = None, memory: Memory | None = None) -> Tensor:
        carried = self.state(memory) if state is None else state
        carried.begin(run.lengths)
        x = self.decoder(self.word(run.ids), run.lengths, carried, keep=state is not None)
        result: Tensor = self.attention(x, run.lengths, carried.layers[-1])
        return result

    def hidden(self, batch: Batch) -> Tensor:
        return self.encode(batch.source)

    def logits(self, hidden: Tensor) -> Tensor:
        return language_logits(self.language, hidden, self.word.weight)

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        return task_logits(self.task_head, hidden, run)


def rnn(config: RnnConfig, head: str) -> nn.Module:
    if head == "seq2seq":
        return RnnSeq2Seq(config)
    if head == "causal" and config.bidirectional:
        raise ModelError("a model that reads in both directions can't say what comes next; set bidirectional to false")
    return (RnnEncoder if config.bidirectional else RnnDecoder)(config, head)


def rules(config: RnnConfig, head: str, prefix: str) -> list[Rule]:
    """The names on disk are our own."""
    with init.shapes_only():
        return [Same(name, name) for name in rnn(config, head).state_dict()]


def initialise(module: nn.Module, config: RnnConfig) -> None:
    """Around the cells uniform and biases 0, as Luong et al. 2015 (section 4.1) and Merity et al. 2018 (section 5) have it."""
    if isinstance(module, nn.LSTM | nn.GRU):
        begin_cell(module)
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.uniform_(module.weight, -config.initializer_range, config.initializer_range)
    if isinstance(bias := getattr(module, "bias", None), nn.Parameter):
        nn.init.zeros_(bias)


def _size(layers: int, width: int, embedding: int) -> dict[str, int]:
    return {"num_hidden_layers": layers, "hidden_size": width, "embedding_size": embedding}


FAMILY = Family(
    model_type="yanmo-rnn",
    about="LSTM or GRU: language model, encoder in one or both directions, encoder-decoder with attention",
    paper="Merity et al. 2018, https://arxiv.org/abs/1708.02182; Luong et al. 2015, https://arxiv.org/abs/1508.04025",
    config=RnnConfig,
    module=rnn,
    heads={
        "base": "YanmoRnnModel",
        "causal": "YanmoRnnForCausalLM",
        "seq2seq": "YanmoRnnForConditionalGeneration",
        "classify": "YanmoRnnForSequenceClassification",
        "tag": "YanmoRnnForTokenClassification",
        "span": "YanmoRnnForQuestionAnswering",
    },
    rules=rules,
    prefix="",
    initialise=initialise,
    sizes={"tiny": _size(1, 128, 128), "mini": _size(2, 256, 256), "small": _size(2, 512, 256)},
    vocabulary={r"word\.weight|language\.head\.(bias|output\.weight)": Growth.rows},
    embedding="word.weight",
    positions="",
    ignorable=(r"(language|task_head|decoder|first|attention)\..*",),
)
