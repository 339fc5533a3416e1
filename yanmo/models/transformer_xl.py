"""Transformer-XL: a causal decoder that remembers the segments before (Dai et al. 2019, https://arxiv.org/abs/1901.02860).

Attention is to the own segment and to the last `mem_len` hidden states of each layer (a State), which carry no gradient; positions are
relative; large vocabularies have an adaptive embedding and softmax, for which token ids go from frequent to rare.

`yanmo-transformer-xl` is a family of our own, since `transformers` ships the class no more. Config keys and tensor names are those
of the class it had, so that its folders open, too, as `transfo-xl` (safetensors, with a tokenizer.json). They differ in one thing:
there a row without a memory begins with `mem_len` vectors of zeros, which take part in the attention; here with none, as the
authors' own code does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from yanmo.errors import ModelError, gather
from yanmo.models.base import Config, Family
from yanmo.models.hf import Fused, Rule, Same
from yanmo.nn.adaptive import AdaptiveEmbedding, AdaptiveSoftmax
from yanmo.nn.embedding import Growth
from yanmo.nn.feedforward import FeedForward
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
        "sample_softmax": (-1, 0),
        "tie_weight": (True,),
    }
    harmless: ClassVar[frozenset[str]] = frozenset({"init_range", "tgt_len", "trainer_compatible"})

    def __post_init__(self) -> None:
        faults = []
        edges = (0, *self.cutoffs, self.vocab_size)
        if list(edges) != sorted(set(edges)):
            faults.append(f"cutoffs {list(self.cutoffs)}: expected to rise, between 0 and vocab_size {self.vocab_size}")
        if self.d_model % 2:
            faults.append(f"d_model {self.d_model} is odd; half of it are sines, half cosines")
        if self.d_head is None and self.d_model % self.n_head:
            faults.append(f"d_model {self.d_model} is not a multiple of n_head {self.n_head}; give d_head")
        if self.div_val < 1 or not self.inner // self.div_val ** len(self.cutoffs):
            faults.append(f"div_val {self.div_val} leaves nothing of d_embed {self.inner} in the last cluster")
        if self.same_length and self.mem_len < 1:
            faults.append("same_length: a token that sees mem_len tokens needs a mem_len of at least 1")
        if self.tie_projs is not None and len(self.tie_projs) != 1 + len(self.cutoffs):
            faults.append(f"tie_projs has {len(self.tie_projs)} values for {1 + len(self.cutoffs)} clusters")
        gather(faults, "this config can't be used:", ModelError)

    @property
    def inner(self) -> int:
        return self.d_embed or self.d_model

    @property
    def shared(self) -> tuple[bool, ...]:
        """Of each cluster: is its projection that of the embedding?"""
        return self.tie_projs or (False, *[self.proj_share_all_but_first] * len(self.cutoffs))


class TransfoXlConfig(TransformerXlConfig):
    """As the class that `transformers` had computes it."""

    zeros = True


class Layer(nn.Module):
    """(b, l, width), and the states before it (b, m, width) -> (b, l, width)."""

    def __init__(self, config: TransformerXlConfig) -> None:
        super().__init__()
        width, size = config.d_model, config.d_head or config.d_model // config.n_head

        def residual(part: nn.Module) -> Residual:
            norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
            return Residual(part, norm, pre=config.pre_lnorm, dropout=config.dropout)

        self.attention = residual(RelativeAttention(width, config.n_head, size, dropout=config.dropatt))
        self.feedforward = residual(FeedForward(width, config.d_inner, "relu", dropout=config.dropout))
        self.biases = RelativeBiases(config.n_head, size) if config.untie_r else None

    def forward(self, x: Tensor, *, memory: Tensor | None, biases: RelativeBiases | None, **context: Any) -> Tensor:
        if memory is not None and self.attention.pre:
            memory = self.attention.norm(memory)
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
        size = config.d_head or config.d_model // config.n_head
        self.biases = None if config.untie_r else RelativeBiases(config.n_head, size)
        self.softmax: AdaptiveSoftmax | None = None
        if head == "causal":
            self.softmax = AdaptiveSoftmax(
                self.word, config.inner, tied=config.tie_word_embeddings, shared=config.shared
            )
        self.score = nn.Linear(config.d_model, len(config.id2label), bias=False) if head == "classify" else None

    def state(self) -> SegmentMemory:
        return SegmentMemory(self.config.mem_len, zeros=self.config.zeros)

    def decode(self, run: Run, state: SegmentMemory | None = None) -> Tensor:
        """A state holds the memory: rows, or the segments of longer rows, are given one call after the other, in training too."""
        config = self.config
        if state is None and config.zeros:
            state = self.state()
        x = run.padded(self.dropout(self.word(run.ids)))
        columns, mask = 0, None
        if state is not None:
            columns, remembered = state.begin(run.lengths, x.device)
            # The rows' ends need no mask: nothing that follows them looks back on them.
            mask = nn.functional.pad(remembered, (0, x.shape[1]), value=True)[:, None, None]
        waves = sinusoids(columns + x.shape[1], 0, config.d_model, clamp=config.clamp_len, like=x)
        waves = self.dropout(waves)
        for layer in self.layers:
            x = layer(
                x,
                memory=None if state is None else state.turn(x),
                biases=self.biases,
                waves=waves,
                mask=mask,
                causal=True,
                window=config.mem_len if config.same_length else None,
            )
        if state is not None:
            state.end()
        return run.flat(self.dropout(x))

    def hidden(self, batch: Batch) -> Tensor:
        return self.decode(batch.source)

    def logits(self, hidden: Tensor) -> Tensor:
        """Log-probabilities of the whole vocabulary, which are logits of themselves: their softmax are the probabilities."""
        if self.softmax is None:
            raise ModelError("this model has no language-model head; load a folder of TransfoXLLMHeadModel")
        result: Tensor = self.softmax(hidden, self.word)
        return result

    def language_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Hidden states (n, width) and the words that follow (n,) -> (n,) cross-entropies, without those of the whole vocabulary."""
        if self.softmax is None:
            raise ModelError("this model has no language-model head; load a folder of TransfoXLLMHeadModel")
        return self.softmax.losses(hidden, self.word, targets)

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        if self.score is None:
            raise ModelError("this model has no classification head; fine-tune it with task.name=classify")
        result: Tensor = self.score(hidden[run.ends])
        return result


def rules(config: TransformerXlConfig, head: str, prefix: str) -> list[Rule]:
    """The names of the class that `transformers` had."""
    with init.shapes_only():
        model = TransformerXl(config, head)
    found: list[Rule] = [
        Same(f"word.tables.{name}.weight", f"{prefix}word_emb.emb_layers.{number}.weight")
        for number, name in enumerate(model.word.tables)
    ]
    found += [
        Same(f"word.projections.{number}", f"{prefix}word_emb.emb_projs.{number}")
        for number in range(len(model.word.projections))
    ]
    for number in range(config.n_layer):
        ours, theirs = f"layers.{number}", f"{prefix}layers.{number}"
        found.append(
            Fused(
                tuple(f"{ours}.attention.part.{name}.weight" for name in ("query", "key", "value")),
                f"{theirs}.dec_attn.qkv_net.weight",
            )
        )
        for own, other, parts in (
            ("attention.part.output", "dec_attn.o_net", ("weight",)),
            ("attention.part.distance", "dec_attn.r_net", ("weight",)),
            ("attention.norm", "dec_attn.layer_norm", ("weight", "bias")),
            ("feedforward.part.up", "pos_ff.CoreNet.0", ("weight", "bias")),
            ("feedforward.part.down", "pos_ff.CoreNet.3", ("weight", "bias")),
            ("feedforward.norm", "pos_ff.layer_norm", ("weight", "bias")),
        ):
            found += [Same(f"{ours}.{own}.{part}", f"{theirs}.{other}.{part}") for part in parts]
    ...
    return found
