"""Transformer-XL: a causal decoder that remembers the segments before (Dai et al. 2019, https://arxiv.org/abs/1901.02860).

Attention is to the own segment and to the last `mem_len` hidden states of each layer (a State), which carry no gradient; positions are
relative; large vocabularies have an adaptive embedding and softmax, for which token ids go from frequent to rare.

`yanmo-transformer-xl` is a family of our own, since `transformers` ships the class no more. Config keys and tensor names are those
of the class it had, so that its folders open too, as `transfo-xl` (safetensors, with a tokenizer.json). The two differ in one thing:
as there, the memory of a `transfo-xl` begins as `mem_len` vectors of zeros, which take part in the attention; ours begins empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from yanmo.errors import ModelError, gather
from yanmo.models.base import Config, Family, answers, language_logits, task_logits
from yanmo.models.hf import Fused, Rule, Same
from yanmo.nn import init
from yanmo.nn.adaptive import AdaptiveEmbedding, AdaptiveSoftmax, Projection, table_names
from yanmo.nn.embedding import Growth
from yanmo.nn.feedforward import FeedForward
from yanmo.nn.heads import RowHead
from yanmo.nn.relative import RelativeAttention, RelativeBiases, sinusoids
from yanmo.nn.residual import Residual
from yanmo.nn.segments import SegmentMemory
from yanmo.text.batches import Batch, Run


@dataclass(frozen=True, kw_only=True)
class TransformerXlConfig(Config):
    vocab_size: int
    d_model: int
    n_layer: int
    n_head: int
    d_inner: int
    d_head: int | None = None  # None: d_model / n_head
    d_embed: int | None = None  # of the most frequent words' vectors; None: d_model
    cutoffs: tuple[int, ...] = ()  # the first token id of each rarer cluster
    div_val: int = 1  # how much narrower the vectors of the next cluster are
    proj_share_all_but_first: bool = True
    tie_projs: tuple[bool, ...] | None = None  # older: the same for each cluster; it goes first
    tie_word_embeddings: bool = True
    mem_len: int = 512
    clamp_len: int = -1  # farther distances are taken for this one
    same_length: bool = False  # every token sees mem_len tokens, and none sees more
    untie_r: bool = True  # u and v of each layer
    pre_lnorm: bool = False
    layer_norm_epsilon: float = 1e-5
    dropout: float = 0.1
    dropatt: float = 0.0
    init_std: float = 0.02
    proj_init_std: float = 0.01

    zeros: ClassVar[bool] = False  # what a row without a memory begins with
    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "adaptive": (True,),
        "attn_type": (0,),
        "ext_len": (0,),
        "init": ("normal",),
        "is_encoder_decoder": (False,),
        "sample_softmax": (-1, 0),
        "tie_weight": (True,),
    }
    harmless: ClassVar[frozenset[str]] = frozenset({"init_range", "tgt_len", "trainer_compatible"})

    def __post_init__(self) -> None:
        edges, width = [0, *self.cutoffs, self.vocab_size], self.d_model
        narrow = self.div_val < 1 or self.inner < self.div_val ** len(self.cutoffs)
        checks = (
            (edges != sorted(set(edges)), f"cutoffs {edges[1:-1]} do not rise between 0 and vocab_size {edges[-1]}"),
            (width % 2, f"d_model {width} is odd; half of it are sines, half cosines"),
            (width % self.n_head and not self.d_head, f"d_model {width} is no multiple of n_head {self.n_head}"),
            (narrow, f"div_val {self.div_val} leaves nothing of a width of {self.inner} in the last cluster"),
            (self.same_length and not self.mem_len, "same_length needs a mem_len of at least 1"),
            (len(self.shared) != len(edges) - 1, f"tie_projs: expected a value for each of {len(edges) - 1} clusters"),
        )
        gather([said for wrong, said in checks if wrong], "this config can't be used:", ModelError)

    @property
    def head_width(self) -> int:
        return self.d_head or self.d_model // self.n_head

    @property
    def inner(self) -> int:
        return self.d_embed or self.d_model

    @property
    def projected(self) -> bool:
        return self.div_val > 1 or self.inner != self.d_model

    @property
    def shared(self) -> tuple[bool, ...]:
        """Of each cluster: is its projection that of the embedding?"""
        return self.tie_projs or (False, *[self.proj_share_all_but_first] * len(self.cutoffs))


class TransfoXlConfig(TransformerXlConfig):
    """What folders of the class that `transformers` had say."""

    zeros = True


class Layer(nn.Module):
    """One decoder layer: (b, l, width), and the states before it (b, m, width) -> (b, l, width)."""

    def __init__(self, config: TransformerXlConfig) -> None:
        super().__init__()
        width, size = config.d_model, config.head_width

        def residual(part: nn.Module) -> Residual:
            norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
            return Residual(part, norm, pre=config.pre_lnorm, dropout=config.dropout)

        self.attention = residual(RelativeAttention(width, config.n_head, size, dropout=config.dropatt))
        self.feedforward = residual(FeedForward(width, config.d_inner, "relu", dropout=config.dropout))
        self.biases = RelativeBiases(config.n_head, size) if config.untie_r else None

    def forward(self, x: Tensor, *, memory: Tensor, biases: RelativeBiases | None, **context: Any) -> Tensor:
        memory = self.attention.norm(memory) if self.attention.pre else memory
        x = self.attention(x, memory=memory, biases=self.biases or biases, **context)
        result: Tensor = self.feedforward(x)
        return result


class TransformerXl(nn.Module):
    """The decoder, with the head of the given kind: "base" (none), "causal" or "classify"."""

    def __init__(self, config: TransformerXlConfig, head: str) -> None:
        super().__init__()
        self.config = config
        self.word = AdaptiveEmbedding(config.vocab_size, config.cutoffs, config.d_model, config.inner, config.div_val)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layer))
        self.biases = None if config.untie_r else RelativeBiases(config.n_head, config.head_width)
        softmax = partial(AdaptiveSoftmax, self.word, tied=config.tie_word_embeddings, shared=config.shared)
        self.softmax = softmax() if head == "causal" else None
        classify = partial(RowHead, config.d_model, answers(config, head), place="last", bias=False)
        self.task_head: nn.Module | None = classify() if head == "classify" else None

    def state(self) -> SegmentMemory:
        return SegmentMemory(self.config.mem_len, zeros=self.config.zeros)

    def decode(self, run: Run, state: SegmentMemory | None = None) -> Tensor:
        """A state is the memory: the segments of long rows are given one call after the other, in training, too."""
        config = self.config
        if state is None:
            state = self.state() if config.zeros else SegmentMemory(0)
        x = run.padded(self.dropout(self.word(run.ids)))
        columns, remembered = state.begin(run.lengths, x.device)
        # The rows' ends need no mask: nothing looks back on them.
        mask = nn.functional.pad(remembered, (0, x.shape[1]), value=True)[:, None, None]
        waves = self.dropout(sinusoids(columns + x.shape[1], 0, config.d_model, clamp=config.clamp_len, like=x))
        window = config.mem_len if config.same_length else None
        for layer in self.layers:
            memory = state.turn(x)
            x = layer(x, memory=memory, biases=self.biases, waves=waves, mask=mask, causal=True, window=window)
        state.end()
        return run.flat(self.dropout(x))

    def hidden(self, batch: Batch) -> Tensor:
        return self.decode(batch.source)

    def logits(self, hidden: Tensor) -> Tensor:
        """Log-probabilities of the whole vocabulary, which are logits of themselves: their softmax is the probabilities."""
        return language_logits(self.softmax, hidden, self.word)

    def language_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Hidden states (n, width) and the ids that follow them (n,) -> (n,) cross-entropies, without the whole vocabulary's."""
        if self.softmax is None:
            raise ModelError("this model has no language-model head; pre-train it, or load a folder that has one")
        return self.softmax.losses(hidden, self.word, targets)

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        return task_logits(self.task_head, hidden, run)


_BIASES = {"content": "r_w_bias", "distance": "r_r_bias"}
_LAYER = {
    "attention.part.output": "dec_attn.o_net",
    "attention.part.distance": "dec_attn.r_net",
    "attention.norm": "dec_attn.layer_norm",
    "feedforward.part.up": "pos_ff.CoreNet.0",
    "feedforward.part.down": "pos_ff.CoreNet.3",
    "feedforward.norm": "pos_ff.layer_norm",
}


def rules(config: TransformerXlConfig, head: str, prefix: str) -> list[Rule]:
    """The names of the class that `transformers` had."""
    same, fused = {}, []
    for number, name in enumerate(table_names(1 + len(config.cutoffs), config.div_val)):
        same[f"word.tables.{name}.weight"] = f"{prefix}word_emb.emb_layers.{number}.weight"
        if config.projected:
            same[f"word.projections.{number}.weight"] = f"{prefix}word_emb.emb_projs.{number}"
        if head == "causal":
            same[f"softmax.biases.{name}"] = f"crit.out_layers.{number}.bias"
            if not config.tie_word_embeddings:
                same[f"softmax.tables.{name}.weight"] = f"crit.out_layers.{number}.weight"
    if head == "causal":
        same |= {f"softmax.cluster_{part}": f"crit.cluster_{part}" for part in ("weight", "bias") if config.cutoffs}
        own_projections = [n for n, shared in enumerate(config.shared) if config.projected and not shared]
        same |= {f"softmax.projections.{n}.weight": f"crit.out_projs.{n}" for n in own_projections}
    if head == "classify":
        same["task_head.output.weight"] = "score.weight"
    if not config.untie_r:
        same |= {f"biases.{own}": f"{prefix}{other}" for own, other in _BIASES.items()}
    for number in range(config.n_layer):
        ours, theirs = f"layers.{number}", f"{prefix}layers.{number}"
        for own, other in _LAYER.items():
            parts = ("weight",) if own.startswith("attention.part") else ("weight", "bias")
            same |= {f"{ours}.{own}.{part}": f"{theirs}.{other}.{part}" for part in parts}
        if config.untie_r:
            same |= {f"{ours}.biases.{own}": f"{theirs}.dec_attn.{other}" for own, other in _BIASES.items()}
        joined = tuple(f"{ours}.attention.part.{name}.weight" for name in ("query", "key", "value"))
        fused.append(Fused(joined, f"{theirs}.dec_attn.qkv_net.weight"))
    return [*(Same(ours, theirs) for ours, theirs in same.items()), *fused]


def initialise(module: nn.Module, config: TransformerXlConfig) -> None:
    """As the authors' code does."""
    init.normal(module, config.init_std)
    if isinstance(module, nn.LayerNorm):
        nn.init.normal_(module.weight, 1.0, config.init_std)
    if isinstance(module, (RelativeBiases, Projection, AdaptiveSoftmax, nn.ParameterDict)):
        deviation = config.proj_init_std if isinstance(module, Projection) else config.init_std
        for parameter in module.parameters(recurse=False):  # those of one axis are biases of the softmax
            nn.init.normal_(parameter, 0.0, deviation if parameter.dim() > 1 else 0.0)


def _size(layers: int, width: int, heads: int, inner: int, memory: int) -> dict[str, Any]:
    return {"n_layer": layers, "d_model": width, "n_head": heads, "d_inner": inner, "mem_len": memory}


_CLASSES = {"base": "Model", "causal": "LMHeadModel", "classify": "ForSequenceClassification"}
FAMILY = Family(
    model_type="yanmo-transformer-xl",
    about="a causal decoder that remembers the segments before, with relative positions",
    paper="Dai et al. 2019, https://arxiv.org/abs/1901.02860",
    config=TransformerXlConfig,
    module=TransformerXl,
    heads={kind: f"YanmoTransformerXl{name}" for kind, name in _CLASSES.items()},
    rules=rules,
    prefix="transformer.",
    initialise=initialise,
    # "base" is the authors' of that name, for WikiText-103.
    sizes={
        "tiny": _size(2, 128, 4, 512, 128),
        "mini": _size(4, 256, 8, 1024, 128),
        "small": _size(8, 320, 8, 1280, 128),
        "base": {**_size(16, 410, 10, 2100, 150), "untie_r": False},
    },
    vocabulary={r"(word|softmax)\.(tables|biases)\.last(\.weight)?": Growth.rows},
    embedding="word.tables.last.weight",
    width="d_model",
    positions="",
    ignorable=(
        r"(transformer\.)?pos_emb\.inv_freq",
        r"(transformer\.)?layers\.\d+\.dec_attn\.r_[rw]_bias",  # where the layers share them, they are there for each, too
        r"(crit|score)\..*",
    ),
)
TRANSFO_XL = replace(
    FAMILY,
    model_type="transfo-xl",
    about="Transformer-XL as folders of transformers' former class have it",
    config=TransfoXlConfig,
    heads={kind: f"TransfoXL{name}" for kind, name in _CLASSES.items()},
)
