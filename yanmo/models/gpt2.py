"""GPT-2: a causal Transformer decoder (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners").

Word and position embeddings are added; each layer is attention and feed-forward, both pre-norm; a last norm; the word embedding
is the output layer. Its query, key and value are one matrix (`c_attn`), which adapters name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from yanmo.errors import ModelError
from yanmo.models.base import Config, Family, decoder_head, language_logits, task_logits
from yanmo.models.hf import Rule, Same, Transposed
from yanmo.nn import init
from yanmo.nn.attention import Past, attend
from yanmo.nn.cache import KeyValues
from yanmo.nn.embedding import Growth
from yanmo.nn.feedforward import ACTIVATIONS, FeedForward
from yanmo.nn.heads import LanguageHead
from yanmo.nn.linear import Linear
from yanmo.nn.residual import Residual
from yanmo.text.batches import Batch, Run


@dataclass(frozen=True, kw_only=True)
class Gpt2Config(Config):
    vocab_size: int
    n_embd: int
    n_layer: int
    n_head: int
    n_positions: int = 1024
    n_inner: int | None = None  # None: 4 * n_embd
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True
    classifier_dropout: float | None = None
    pad_token_id: int | None = None

    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "add_cross_attention": (False, None),
        "pruned_heads": ({}, None),
    }

    # Of a head of multiple choice, which is not here; and an order of float16 products.
    harmless: ClassVar[frozenset[str]] = frozenset(
        {f"summary_{key}" for key in ("activation", "first_dropout", "proj_to_labels", "type", "use_proj")}
        | {"reorder_and_upcast_attn", "n_ctx"}
    )

    @property
    def longest(self) -> int:
        return self.n_positions

    def __post_init__(self) -> None:
        if self.n_embd % self.n_head:
            raise ModelError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")
        if self.activation_function not in ACTIVATIONS:
            raise ModelError(
                f"activation_function '{self.activation_function}' is not known; known: {', '.join(ACTIVATIONS)}"
            )


class Attention(nn.Module):
    """(t, width) -> (t, width), causal."""

    def __init__(self, config: Gpt2Config, number: int) -> None:
        super().__init__()
        self.projection = Linear(config.n_embd, 3 * config.n_embd)
        self.output = Linear(config.n_embd, config.n_embd)
        self.heads, self.dropout = config.n_head, config.attn_pdrop
        self.scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.scale /= number + 1

    def forward(self, x: Tensor, *, lengths: Sequence[int], past: Past | None = None) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in self.projection(x).chunk(3, -1))
        if past is not None:
            mixed = past(q, k, v, scale=self.scale)
        else:
            drop = self.dropout if self.training else 0.0
            mixed = attend(q, k, v, lengths=lengths, causal=True, scale=self.scale, dropout=drop)
        result: Tensor = self.output(mixed.flatten(-2))
        return result


class Layer(nn.Module):
    """One decoder layer: (t, width) -> (t, width)."""

    def __init__(self, config: Gpt2Config, number: int) -> None:
        super().__init__()
        width = config.n_embd

        def residual(part: nn.Module) -> Residual:
            norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
            return Residual(part, norm, pre=True, dropout=config.resid_pdrop)

        self.attention = residual(Attention(config, number))
        self.feedforward = residual(FeedForward(width, config.n_inner or 4 * width, config.activation_function))

    def forward(self, x: Tensor, **context: Any) -> Tensor:
        result: Tensor = self.feedforward(self.attention(x, **context))
        return result


class Gpt2(nn.Module):
    """The decoder, with a head of the given kind."""

    def __init__(self, config: Gpt2Config, head: str) -> None:
        super().__init__()
        self.config = config
        self.word = nn.Embedding(config.vocab_size, config.n_embd)
        self.position = nn.Embedding(config.n_positions, config.n_embd)
        self.dropout = nn.Dropout(config.embd_pdrop)
        self.layers = nn.ModuleList(Layer(config, number) for number in range(config.n_layer))
        self.norm = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        tied = config.tie_word_embeddings
        self.language = LanguageHead(config.n_embd, config.vocab_size, tied=tied) if head == "causal" else None
        self.task_head = decoder_head(config, head, config.n_embd, config.classifier_dropout)

    def state(self) -> KeyValues:
        return KeyValues(len(self.layers))

    def decode(self, run: Run, state: KeyValues | None = None) -> Tensor:
        positions = run.positions if state is None else state.begin(run.lengths, run.ids.device)
        if len(positions) and (longest := int(positions.max()) + 1) > self.position.num_embeddings:
            raise ModelError(
                f"a row of {longest} tokens, but this model has {self.position.num_embeddings} positions; shorten it"
            )
        x = self.dropout(self.word(run.ids) + self.position(positions))
        for number, layer in enumerate(self.layers):
            x = layer(x, lengths=run.lengths, past=None if state is None else partial(state.attend, number))
        if state is not None:
            state.end()
        result: Tensor = self.norm(x)
        return result

    def hidden(self, batch: Batch) -> Tensor:
        return self.decode(batch.source)

    def logits(self, hidden: Tensor) -> Tensor:
        return language_logits(self.language, hidden, self.word.weight)

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        return task_logits(self.task_head, hidden, run)


def rules(config: Gpt2Config, head: str, prefix: str) -> list[Rule]:
    """GPT-2 keeps its matrices the other way round (Conv1D)."""
    found: list[Rule] = [Same("word.weight", f"{prefix}wte.weight"), Same("position.weight", f"{prefix}wpe.weight")]
    for number in range(config.n_layer):
        ours, theirs = f"layers.{number}", f"{prefix}h.{number}"
        for own, other in (
            ("attention.part.projection", "attn.c_attn"),
            ("attention.part.output", "attn.c_proj"),
            ("feedforward.part.up", "mlp.c_fc"),
            ("feedforward.part.down", "mlp.c_proj"),
        ):
            found += [
                Transposed(f"{ours}.{own}.weight", f"{theirs}.{other}.weight"),
                Same(f"{ours}.{own}.bias", f"{theirs}.{other}.bias"),
            ]
        for own, other in (("attention.norm", "ln_1"), ("feedforward.norm", "ln_2")):
            found += [Same(f"{ours}.{own}.{part}", f"{theirs}.{other}.{part}") for part in ("weight", "bias")]
    found += [Same(f"norm.{part}", f"{prefix}ln_f.{part}") for part in ("weight", "bias")]
    if head == "causal" and not config.tie_word_embeddings:
        found.append(Same("language.output.weight", "lm_head.weight"))
    if head == "classify":
        found.append(Same("task_head.output.weight", "score.weight"))
    if head in ("tag", "span"):
        name = "classifier" if head == "tag" else "qa_outputs"
        found += [Same(f"task_head.output.{part}", f"{name}.{part}") for part in ("weight", "bias")]
    return found


def initialise(module: nn.Module, config: Gpt2Config) -> None:
    """The layers that write to the residual stream begin smaller, by the root of their number (section 2.3)."""
    init.normal(module, config.initializer_range)
    for writer in (
        (module.output,) if isinstance(module, Attention) else (module.down,) if isinstance(module, FeedForward) else ()
    ):
        nn.init.normal_(writer.weight, 0.0, config.initializer_range * (2 * config.n_layer) ** -0.5)


def _size(layers: int, width: int, heads: int) -> dict[str, int]:
    return {"n_layer": layers, "n_embd": width, "n_head": heads}


FAMILY = Family(
    model_type="gpt2",
    about="a causal decoder: writes text, token after token",
    paper="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
    config=Gpt2Config,
    module=Gpt2,
    heads={
        "base": "GPT2Model",
        "causal": "GPT2LMHeadModel",
        "classify": "GPT2ForSequenceClassification",
        "tag": "GPT2ForTokenClassification",
        "span": "GPT2ForQuestionAnswering",
    },
    rules=rules,
    prefix="transformer.",
    initialise=initialise,
    sizes={
        "tiny": _size(4, 128, 4),
        "mini": _size(6, 256, 8),
        "small": _size(6, 384, 6),
        "base": _size(12, 768, 12),
    },
    vocabulary={r"word\.weight|language\.output\.weight": Growth.rows},
    embedding="word.weight",
    width="n_embd",
    positions="n_positions",
    ignorable=(r".*attn\.(masked_)?bias", r"(score|lm_head|classifier|qa_outputs)\..*"),
)
