"""XLNet: an encoder that learns to predict tokens in any order (Yang et al. 2019, https://arxiv.org/abs/1906.08237).

Its attention is Transformer-XL's, to both sides, with a memory of earlier segments, and a term that knows whether two tokens are
of one segment. Plainly used it is an encoder whose last token stands for the row. For its objective there are two streams: the
content stream sees tokens and gives keys and values; the query stream stands at the places to be predicted and knows only where
they are (section 2.3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from yanmo.errors import ModelError
from yanmo.models.base import Config, Family, answers, language_logits, task_logits
from yanmo.models.hf import ByHead, Reshaped, Rule, Same
from yanmo.nn import init
from yanmo.nn.embedding import Growth
from yanmo.nn.feedforward import ACTIVATIONS, FeedForward
from yanmo.nn.heads import LanguageHead, Pooler, RowHead, TokenHead
from yanmo.nn.relative import RelativeAttention, RelativeBiases, SegmentScores, sinusoids
from yanmo.nn.residual import Residual
from yanmo.nn.segments import SegmentMemory
from yanmo.text.batches import Batch, Run


@dataclass(frozen=True, kw_only=True)
class XlnetConfig(Config):
    vocab_size: int
    d_model: int
    n_layer: int
    n_head: int
    d_inner: int
    d_head: int | None = None  # always d_model / n_head
    ff_activation: str = "gelu"
    dropout: float = 0.1
    clamp_len: int = -1  # farther distances are taken for this one
    mem_len: int | None = 512  # None, 0: all
    reuse_len: int | None = None  # only so many of a segment's first tokens are remembered; None, 0: all
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    summary_last_dropout: float = 0.1
    tie_word_embeddings: bool = True

    type_vocab_size: ClassVar[int] = 2  # the same segment or another; their number has no end
    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "attn_type": ("bi",),
        "bi_data": (False,),
        "is_encoder_decoder": (False,),
        "untie_r": (True,),
        "summary_type": ("last",),
        "summary_use_proj": (True,),
        "summary_activation": ("tanh",),
    }
    # Of attn_type "uni", of a head that is not here, and of what transformers' class keeps when it is called.
    harmless: ClassVar[frozenset[str]] = frozenset(
        {"same_length", "start_n_top", "end_n_top", "use_mems_eval", "use_mems_train"}
    )

    def __post_init__(self) -> None:
        if self.d_model % self.n_head or self.d_head not in (None, self.d_model // self.n_head):
            raise ModelError(f"d_model {self.d_model} is not n_head {self.n_head} times d_head {self.d_head}")
        if self.d_model % 2:
            raise ModelError(f"d_model {self.d_model} is odd; half of it are sines, half cosines")
        if self.ff_activation not in ACTIVATIONS:
            raise ModelError(f"ff_activation '{self.ff_activation}' is not known; known: {', '.join(ACTIVATIONS)}")


class Layer(nn.Module):
    """One layer of either stream: (b, l, width) -> (b, l, width)."""

    def __init__(self, config: XlnetConfig) -> None:
        super().__init__()
        width, heads, drop = config.d_model, config.n_head, config.dropout

        def residual(part: nn.Module) -> Residual:
            return Residual(part, nn.LayerNorm(width, eps=config.layer_norm_eps), pre=False, dropout=drop)

        self.attention = residual(RelativeAttention(width, heads, width // heads, dropout=drop))
        self.feedforward = residual(FeedForward(width, config.d_inner, config.ff_activation, dropout=drop))
        self.biases = RelativeBiases(heads, width // heads)
        self.segments = SegmentScores(heads, width // heads)

    def forward(self, x: Tensor, *, other: Tensor | None, **context: Any) -> Tensor:
        more = None if other is None else partial(self.segments, other=other)
        result: Tensor = self.feedforward(self.attention(x, biases=self.biases, more=more, **context))
        return result


def task_head(config: XlnetConfig, kind: str) -> nn.Module | None:
    width, number = config.d_model, answers(config, kind)
    if kind in ("classify", "choose"):
        return RowHead(width, number, place="last", pool=Pooler(width), dropout=config.summary_last_dropout)
    return TokenHead(width, number) if kind in ("tag", "span") else None


class Xlnet(nn.Module):
    """The encoder, with a head of the given kind."""

    def __init__(self, config: XlnetConfig, head: str) -> None:
        super().__init__()
        self.config = config
        self.word = nn.Embedding(config.vocab_size, config.d_model)
        self.mask = nn.Parameter(torch.zeros(config.d_model))  # what the query stream begins as
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layer))
        language = partial(LanguageHead, config.d_model, config.vocab_size, tied=config.tie_word_embeddings, bias=True)
        self.language = language() if head == "permutation" else None
        self.task_head = task_head(config, head)

    def state(self) -> SegmentMemory:
        return SegmentMemory(self.config.mem_len or None)

    def encode(self, run: Run, state: SegmentMemory | None = None) -> Tensor:
        """Every token sees its row, and what the state remembers of the row's earlier segments: (t, width)."""
        return self._attended(run, torch.zeros_like(run.ids), state, reuse=self.config.reuse_len)

    def permuted(self, run: Run, order: Tensor, targets: Tensor, state: SegmentMemory | None = None) -> Tensor:
        """The query stream at the tokens to be predicted, (n, width), for `logits`.

        order (t,): when each token's turn comes. A token is seen by those of the same turn and of later ones; so those of turn 0, which
        are not predicted, are seen by all. targets (n,): where in the run the predicted ones stand, rising; a query sees what has an
        earlier turn than its target. One that can see nothing attends to nothing (there transformers attends to all alike).
        """
        counts = torch.bincount(run.row_of[targets], minlength=len(run.lengths)).tolist()
        queries = Run(run.positions[targets], tuple(counts), None if run.types is None else run.types[targets])
        return self._attended(run, order, state, queries, order[targets], self.config.reuse_len)

    def decode(self, run: Run, state: SegmentMemory | None = None) -> Tensor:
        """From left to right: for each token the query stream at the place after it, which sees it and those before: (t, width)."""
        after = run.positions + 1
        return self._attended(run, run.positions, state, Run(after, run.lengths, run.types), after)

    def _attended(
        self,
        run: Run,
        order: Tensor,
        state: SegmentMemory | None,
        queries: Run | None = None,
        turns: Tensor | None = None,
        reuse: int | None = None,
    ) -> Tensor:
        """The content stream of a run. Or, with queries at places (their ids) which see what has an earlier turn (n,), the query stream:
        both go through the layers side by side."""
        state = SegmentMemory(0) if state is None else state
        columns, remembered = state.begin(run.lengths, run.ids.device, reuse or None)
        tokens, never = max(run.lengths), torch.iinfo(order.dtype).max

        def both(own: Tensor, asked: Tensor | None) -> Tensor:
            rows = run.padded(own)
            return rows if queries is None or asked is None else torch.cat([rows, queries.padded(asked)], 1)

        x = self.dropout(both(self.word(run.ids), None if turns is None else self.mask.expand(len(turns), -1)))
        keys = torch.cat([torch.where(remembered, -1, never), run.padded(order, fill=never)], 1)
        mask = (keys[:, None] < both(order + 1, turns)[..., None])[:, None]
        other = None
        if run.types is not None:  # what is remembered is of segment 0
            types = nn.functional.pad(run.padded(run.types), (columns, 0))
            other = (both(run.types, None if queries is None else queries.types)[..., None] != types[:, None])[:, None]
        waves = sinusoids(columns + tokens, tokens - 1, x.shape[2], clamp=self.config.clamp_len, like=x)
        waves, places = self.dropout(waves), None if queries is None else queries.padded(queries.ids) + columns
        for layer in self.layers:
            x = layer(x, memory=state.turn(x[:, :tokens]), waves=waves, mask=mask, other=other, places=places)
        state.end()
        x = self.dropout(x)
        return run.flat(x[:, :tokens]) if queries is None else queries.flat(x[:, tokens:])

    def hidden(self, batch: Batch) -> Tensor:
        return self.encode(batch.source)

    def logits(self, hidden: Tensor) -> Tensor:
        return language_logits(self.language, hidden, self.word.weight)

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        return task_logits(self.task_head, hidden, run)


_PROJECTIONS = {"query": "q", "key": "k", "value": "v", "distance": "r"}
_VECTORS = {
    "biases.content": "r_w_bias",
    "biases.distance": "r_r_bias",
    "segments.bias": "r_s_bias",
    "segments.vectors": "seg_embed",
}
_LINEAR = {
    "attention.norm": "rel_attn.layer_norm",
    "feedforward.part.up": "ff.layer_1",
    "feedforward.part.down": "ff.layer_2",
    "feedforward.norm": "ff.layer_norm",
}
_SUMMARY = {"task_head.pool.dense": "sequence_summary.summary", "task_head.output": "logits_proj"}
_HEADS = {
    "classify": _SUMMARY,
    "choose": _SUMMARY,
    "tag": {"task_head.output": "classifier"},
    "span": {"task_head.output": "qa_outputs"},
}


def rules(config: XlnetConfig, head: str, prefix: str) -> list[Rule]:
    """XLNet's projections are no layers there, but one (width, heads, width of a head) each."""
    by_head = (config.d_model, config.n_head, config.d_model // config.n_head)
    found: list[Rule] = [
        Same("word.weight", f"{prefix}word_embedding.weight"),
        Reshaped("mask", f"{prefix}mask_emb", (1, 1, config.d_model)),
    ]
    linear = dict(_HEADS.get(head, {}))
    for number in range(config.n_layer):
        ours, theirs = f"layers.{number}", f"{prefix}layer.{number}"
        part, other = f"{ours}.attention.part", f"{theirs}.rel_attn"
        found += [ByHead(f"{part}.{own}.weight", f"{other}.{name}", by_head) for own, name in _PROJECTIONS.items()]
        found.append(Reshaped(f"{part}.output.weight", f"{other}.o", by_head))
        found += [Same(f"{ours}.{own}", f"{other}.{name}") for own, name in _VECTORS.items()]
        linear |= {f"{ours}.{own}": f"{theirs}.{name}" for own, name in _LINEAR.items()}
    if head == "permutation":
        found.append(Same("language.bias", "lm_loss.bias"))
        if not config.tie_word_embeddings:
            found.append(Same("language.output.weight", "lm_loss.weight"))
    for own, name in linear.items():
        found += [Same(f"{own}.{part}", f"{name}.{part}") for part in ("weight", "bias")]
    return found


def initialise(module: nn.Module, config: XlnetConfig) -> None:
    init.normal(module, config.initializer_range)
    if isinstance(module, (RelativeBiases, SegmentScores, Xlnet)):
        for parameter in module.parameters(recurse=False):
            nn.init.normal_(parameter, 0.0, config.initializer_range)


def _size(layers: int, width: int, heads: int) -> dict[str, int]:
    return {"n_layer": layers, "d_model": width, "n_head": heads, "d_inner": 4 * width}


FAMILY = Family(
    model_type="xlnet",
    about="a bidirectional encoder that learns to predict tokens in any order, with a memory",
    paper="Yang et al. 2019, https://arxiv.org/abs/1906.08237",
    config=XlnetConfig,
    module=Xlnet,
    heads={
        "base": "XLNetModel",
        "permutation": "XLNetLMHeadModel",
        "classify": "XLNetForSequenceClassification",
        "tag": "XLNetForTokenClassification",
        "span": "XLNetForQuestionAnsweringSimple",
        "choose": "XLNetForMultipleChoice",
    },
    rules=rules,
    prefix="transformer.",
    initialise=initialise,
    sizes={
        "tiny": _size(2, 128, 2),
        "mini": _size(4, 256, 4),
        "small": _size(6, 384, 6),
        "base": _size(12, 768, 12),
        "large": _size(24, 1024, 16),
    },
    vocabulary={r"word\.weight|language\.(bias|output\.weight)": Growth.rows},
    embedding="word.weight",
    width="d_model",
    positions="",
    ignorable=(r"(lm_loss|sequence_summary|logits_proj|classifier|qa_outputs)\..*",),
)
