"""Llama: a causal Transformer decoder (Touvron et al. 2023, https://arxiv.org/abs/2302.13971), and its relatives as data.

Pre-norm with RMSNorm, rotated q and k, key/value heads that several query heads share (Ainslie et al. 2023), a gated feed-forward.
Mistral adds a window (Jiang et al. 2023), Qwen2 biases on q, k and v, Qwen3 norms of q and k: values of a config, not code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from yanmo.errors import ModelError, brief
from yanmo.models.base import Config, Family, decoder_head, language_logits, task_logits
from yanmo.models.hf import Rule, Same
from yanmo.nn import init
from yanmo.nn.attention import SelfAttention
from yanmo.nn.cache import KeyValues
from yanmo.nn.embedding import Growth
from yanmo.nn.feedforward import ACTIVATIONS, GatedFeedForward
from yanmo.nn.heads import LanguageHead
from yanmo.nn.norm import RMSNorm
from yanmo.nn.position import SCALINGS, Rotary, scalable
from yanmo.nn.residual import Residual
from yanmo.text.batches import Batch, Run


@dataclass(frozen=True, kw_only=True)
class LlamaConfig(Config):
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int | None = None  # None: as many as heads
    head_dim: int | None = None  # None: hidden_size / num_attention_heads
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    attention_dropout: float = 0.0
    pad_token_id: int | None = None
    classifier_dropout: float | None = None
    rope_parameters: dict[str, Any] | None = None
    rope_theta: float | None = None  # as older files say it
    rope_scaling: dict[str, Any] | None = None
    sliding_window: int | None = None
    layer_types: tuple[str, ...] | None = None
    use_sliding_window: bool | None = None

    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {"pretraining_tp": (1,), "partial_rotary_factor": (1.0, None)}
    harmless: ClassVar[frozenset[str]] = frozenset({"max_window_layers"})  # layer_types says it
    # What tells the relatives apart: (bias of q, k and v, bias of the output; None: as attention_bias says), norms of q and k, and
    # the window of layers whose kind is not told.
    biases: ClassVar[tuple[bool | None, bool | None]] = (None, None)
    head_norms: ClassVar[bool] = False
    slides: ClassVar[bool] = False

    def __post_init__(self) -> None:
        faults = []
        if self.hidden_act not in ACTIVATIONS:
            faults.append(f"hidden_act '{self.hidden_act}' is not known; known: {', '.join(ACTIVATIONS)}")
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            faults.append(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        if self.num_attention_heads % self.groups:
            faults.append(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of num_key_value_heads {self.groups}"
            )
        if self.head_width % 2:
            faults.append(f"heads of width {self.head_width} have no two halves to rotate")
        kind = self.rotation.get("rope_type", "default")
        if not isinstance(kind, str) or kind not in SCALINGS:
            faults.append(f"rope_type '{kind}' is not implemented; known: {', '.join(SCALINGS)}")
        elif not scalable(kind, self.rotation):
            faults.append(f"rope parameters {brief(self.rotation)} are not those of '{kind}'")
        if self.layer_types and len(self.layer_types) != self.num_hidden_layers:
            faults.append(f"layer_types names {len(self.layer_types)} layers of {self.num_hidden_layers}")
        if strange := {*(self.layer_types or ())} - {"full_attention", "sliding_attention"}:
            faults.append(f"layer_types has {', '.join(sorted(strange))}, which is not implemented")
        if faults:
            raise ModelError("; ".join(faults))

    @property
    def groups(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def rotation(self) -> dict[str, Any]:
        """rope_theta, rope_type and what that type needs, wherever the file says it."""
        old = {**(self.rope_scaling or {}), **({"rope_theta": self.rope_theta} if self.rope_theta is not None else {})}
        found = {"rope_theta": 10_000.0, **old, **(self.rope_parameters or {})}
        if "rope_type" not in found and "type" in found:
            found["rope_type"] = found["type"]
        return {"original_max_position_embeddings": self.max_position_embeddings, **found}

    def window(self, layer: int) -> int | None:
        if self.use_sliding_window is False or self.sliding_window is None:
            return None
        slides = self.layer_types[layer] == "sliding_attention" if self.layer_types else self.slides
        return self.sliding_window if slides else None


class MistralConfig(LlamaConfig):
    slides = True


class Qwen2Config(LlamaConfig):
    biases = (True, False)


class Qwen3Config(LlamaConfig):
    head_norms = True


class Layer(nn.Module):
    """One decoder layer: (t, width) -> (t, width)."""

    def __init__(self, config: LlamaConfig, number: int) -> None:
        super().__init__()
        norm: Callable[[int], nn.Module] = partial(RMSNorm, epsilon=config.rms_norm_eps)
        bias, output_bias = (config.attention_bias if own is None else own for own in config.biases)
        attention = SelfAttention(
            config.hidden_size,
            config.num_attention_heads,
            groups=config.groups,
            head_width=config.head_width,
            bias=bias,
            output_bias=output_bias,
            dropout=config.attention_dropout,
            causal=True,
            window=config.window(number),
            norm=norm if config.head_norms else None,
        )
        feedforward = GatedFeedForward(
            config.hidden_size, config.intermediate_size, config.hidden_act, bias=config.mlp_bias
        )
        self.attention = Residual(attention, norm(config.hidden_size), pre=True)
        self.feedforward = Residual(feedforward, norm(config.hidden_size), pre=True)

    def forward(self, x: Tensor, **context: Any) -> Tensor:
        result: Tensor = self.feedforward(self.attention(x, **context))
        return result


class Llama(nn.Module):
    """The decoder, with a head of the given kind."""

    def __init__(self, config: LlamaConfig, head: str) -> None:
        super().__init__()
        self.config = config
        self.word = nn.Embedding(config.vocab_size, config.hidden_size)
        rotation = config.rotation
        self.rotary = Rotary(config.head_width, float(rotation["rope_theta"]), rotation)
        self.layers = nn.ModuleList(Layer(config, number) for number in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        tied = config.tie_word_embeddings
        self.language = LanguageHead(config.hidden_size, config.vocab_size, tied=tied) if head == "causal" else None
        self.task_head = decoder_head(config, head, config.hidden_size, config.classifier_dropout)

    def state(self) -> KeyValues:
        return KeyValues(len(self.layers))

    def decode(self, run: Run, state: KeyValues | None = None) -> Tensor:
        positions = run.positions if state is None else state.begin(run.lengths, run.ids.device)
        x, rotate = self.word(run.ids), self.rotary(positions)
        for number, layer in enumerate(self.layers):
            past = None if state is None else partial(state.attend, number)
            x = layer(x, lengths=run.lengths, rotate=rotate, past=past)
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


def rules(config: LlamaConfig, head: str, prefix: str) -> list[Rule]:
    names = [("word", f"{prefix}embed_tokens"), ("norm", f"{prefix}norm")]
    found: list[Rule] = []
    for number in range(config.num_hidden_layers):
        ours, theirs = f"layers.{number}", f"{prefix}layers.{number}"
        for own, other in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "o")):
            names.append((f"{ours}.attention.part.{own}", f"{theirs}.self_attn.{other}_proj"))
            bias = config.biases[own == "output"]
            if config.attention_bias if bias is None else bias:
                found.append(Same(f"{ours}.attention.part.{own}.bias", f"{theirs}.self_attn.{other}_proj.bias"))
        for own in ("gate", "up", "down"):
            names.append((f"{ours}.feedforward.part.{own}", f"{theirs}.mlp.{own}_proj"))
            if config.mlp_bias:
                found.append(Same(f"{ours}.feedforward.part.{own}.bias", f"{theirs}.mlp.{own}_proj.bias"))
        if config.head_norms:
            names += [
                (f"{ours}.attention.part.{own}_norm", f"{theirs}.self_attn.{own[0]}_norm") for own in ("query", "key")
            ]
        names.append((f"{ours}.attention.norm", f"{theirs}.input_layernorm"))
        names.append((f"{ours}.feedforward.norm", f"{theirs}.post_attention_layernorm"))
    if head == "causal" and not config.tie_word_embeddings:
        names.append(("language.output", "lm_head"))
    if head in ("classify", "tag", "span"):
        name = "qa_outputs" if head == "span" else "score"
        names.append(("task_head.output", name))
        if head != "classify":
            found.append(Same("task_head.output.bias", f"{name}.bias"))
    return [Same(f"{ours}.weight", f"{theirs}.weight") for ours, theirs in names] + found


def initialise(module: nn.Module, config: LlamaConfig) -> None:
    init.normal(module, config.initializer_range)


def _size(layers: int, width: int, inner: int, heads: int, groups: int) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "tie_word_embeddings": True,
    }


LLAMA = Family(
    model_type="llama",
    about="a causal decoder with rotated positions, shared key/value heads and a gated feed-forward",
    paper="Touvron et al. 2023, https://arxiv.org/abs/2302.13971",
    config=LlamaConfig,
    module=Llama,
    heads={
        "base": "LlamaModel",
        "causal": "LlamaForCausalLM",
        "classify": "LlamaForSequenceClassification",
        "tag": "LlamaForTokenClassification",
        "span": "LlamaForQuestionAnswering",
    },
    rules=rules,
    prefix="model.",
    prefixes={"span": "transformer."},
    initialise=initialise,
    sizes={
        "tiny": _size(4, 128, 384, 4, 2),
        "mini": _size(6, 256, 704, 8, 4),
        "small": _size(8, 512, 1408, 8, 4),
        "smollm2-135m": {
            **_size(30, 576, 1536, 9, 3),
            "rope_parameters": {"rope_theta": 100_000.0, "rope_type": "default"},
        },
    },
    vocabulary={r"word\.weight|language\.output\.weight": Growth.rows},
    embedding="word.weight",
    ignorable=(r"(score|lm_head|qa_outputs)\..*", r".*rotary_emb\.inv_freq"),
)


def _relative(name: str, title: str, about: str, config: type[LlamaConfig], paper: str) -> Family:
    heads = {kind: known.replace("Llama", title) for kind, known in LLAMA.heads.items()}
    return replace(LLAMA, model_type=name, about=about, config=config, heads=heads, paper=paper)


MISTRAL = replace(
    _relative(
        "mistral",
        "Mistral",
        "Llama with a window of attention",
        MistralConfig,
        "Jiang et al. 2023, https://arxiv.org/abs/2310.06825",
    ),
    prefixes={},
)
QWEN2 = _relative(
    "qwen2",
    "Qwen2",
    "Llama with biases on q, k and v",
    Qwen2Config,
    "Yang et al. 2024, https://arxiv.org/abs/2407.10671",
)
QWEN3 = _relative(
    "qwen3", "Qwen3", "Llama with norms of q and k", Qwen3Config, "Yang et al. 2025, https://arxiv.org/abs/2505.09388"
)
