"""T5: an encoder and a decoder for every task as text (Raffel et al. 2020, https://arxiv.org/abs/1910.10683).

Pre-norm with RMS norms and no biases; position enters as a learned bias of the scores, which are not scaled; all layers of a side share
it. Version 1.1 has a gated feed-forward and an output matrix of its own (Shazeer 2020); mT5 (Xue et al. 2021,
https://arxiv.org/abs/2010.11934) is that for a hundred languages. The classifier and the head of answers read the decoder, which is given
the source itself, shifted; the tagger reads an encoder that has no decoder.

Left out: the encoder alone without a head (T5EncoderModel).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from yanmo.errors import ModelError
from yanmo.models.base import Config, Family, Memory
from yanmo.models.encoder_decoder import HEADS, EncoderDecoder, Layer, task_head
from yanmo.models.hf import Rule, Same
from yanmo.nn.attention import CrossAttention, SelfAttention
from yanmo.nn.cache import KeyValues
from yanmo.nn.embedding import Growth
from yanmo.nn.feedforward import ACTIVATIONS, FeedForward, GatedFeedForward
from yanmo.nn.heads import LanguageHead
from yanmo.nn.norm import RMSNorm
from yanmo.nn.position import RelativeBias
from yanmo.nn.residual import Residual
from yanmo.text.batches import Run


@dataclass(frozen=True, kw_only=True)
class T5Config(Config):
    vocab_size: int
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_decoder_layers: int | None = None  # None: num_layers
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    feed_forward_proj: str = "relu"
    dropout_rate: float = 0.1
    classifier_dropout: float = 0.0
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    tie_word_embeddings: bool = True
    scale_decoder_outputs: bool | None = None  # None: where the output is tied
    pad_token_id: int | None = 0
    eos_token_id: int | None = 1
    decoder_start_token_id: int | None = None  # None: pad_token_id

    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {"is_decoder": (False, None), "pruned_heads": ({}, None)}
    # What feed_forward_proj says; a length that nothing has; whether the folder has a decoder, which its class says.
    harmless: ClassVar[frozenset[str]] = frozenset(
        {"dense_act_fn", "is_gated_act", "n_positions", "is_encoder_decoder"}
    )

    def __post_init__(self) -> None:
        faults = []
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            faults.append(
                f"feed_forward_proj '{self.feed_forward_proj}' is not known; known, also after gated-: {known}"
            )
        if self.relative_attention_num_buckets < 4 or self.relative_attention_num_buckets % 2:
            faults.append(
                f"relative_attention_num_buckets {self.relative_attention_num_buckets} is no even number from 4 on"
            )
        elif 2 * self.relative_attention_max_distance <= self.relative_attention_num_buckets:
            faults.append(
                f"relative_attention_max_distance {self.relative_attention_max_distance} is not more than half of "
                f"relative_attention_num_buckets {self.relative_attention_num_buckets}"
            )
        for key, ours in (("dense_act_fn", self.activation), ("is_gated_act", self.gated)):
            if self.extra.get(key, ours) != ours:
                faults.append(
                    f"{key} '{self.extra[key]}' is not what feed_forward_proj '{self.feed_forward_proj}' says"
                )
        if faults:
            raise ModelError("; ".join(faults))

    @property
    def gated(self) -> bool:
        return self.feed_forward_proj.startswith("gated-")

    @property
    def activation(self) -> str:
        name = self.feed_forward_proj.removeprefix("gated-")
        return "gelu_new" if self.feed_forward_proj == "gated-gelu" else name

    @property
    def output_scale(self) -> float:
        scaled = self.tie_word_embeddings if self.scale_decoder_outputs is None else self.scale_decoder_outputs
        return self.d_model**-0.5 if scaled else 1.0

    @property
    def decoder_start(self) -> int | None:
        return self.pad_token_id if self.decoder_start_token_id is None else self.decoder_start_token_id


@dataclass(frozen=True, kw_only=True)
class MT5Config(T5Config):
    feed_forward_proj: str = "gated-gelu"

    keys: ClassVar[Mapping[str, str | None]] = {"scale_decoder_outputs": None}
    output_scale: ClassVar[float] = 1.0  # depends on the config, there


def layer(config: T5Config, *, decoder: bool) -> Layer:
    width, drop = config.d_model, config.dropout_rate

    def residual(part: nn.Module) -> Residual:
        return Residual(part, RMSNorm(width, config.layer_norm_epsilon), pre=True, dropout=drop)

    feedforward = GatedFeedForward if config.gated else FeedForward
    keys: dict[str, Any] = {"head_width": config.d_kv, "bias": False, "dropout": drop, "scale": 1.0}
    return Layer(
        attention=residual(SelfAttention(width, config.num_heads, causal=decoder, **keys)),
        cross=residual(CrossAttention(width, config.num_heads, **keys)) if decoder else None,
        feedforward=residual(feedforward(width, config.d_ff, config.activation, bias=False, dropout=drop)),
    )


class Stack(nn.Module):
    """The encoder, or the decoder: embedded tokens (t, width) -> (t, width)."""

    def __init__(self, config: T5Config, depth: int, *, decoder: bool) -> None:
        super().__init__()
        buckets, furthest = config.relative_attention_num_buckets, config.relative_attention_max_distance
        self.bias = RelativeBias(config.num_heads, buckets, furthest, both_ways=not decoder)
        self.layers = nn.ModuleList(layer(config, decoder=decoder) for _ in range(depth))
        self.norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: Tensor, run: Run, state: KeyValues | None, memory: Memory | None) -> Tensor:
        if state is None:
            places = torch.arange(max(run.lengths, default=0), device=x.device)
            distances = places - places[:, None]
        else:
            distances = state.distances()
        x, bias = self.dropout(x), self.bias(distances)
        for number, part in enumerate(self.layers):
            x = part(x, run, number, state, memory, bias)
        result: Tensor = self.dropout(self.norm(x))
        return result


def t5(config: T5Config, head: str) -> EncoderDecoder:
    width, tied = config.d_model, config.tie_word_embeddings
    depth = config.num_decoder_layers or config.num_layers
    return EncoderDecoder(
        config,
        head,
        word=nn.Embedding(config.vocab_size, width),
        encoder=Stack(config, config.num_layers, decoder=False),
        decoder=Stack(config, depth, decoder=True) if head != "tag" else None,
        language=LanguageHead(width, config.vocab_size, tied=tied) if head == "seq2seq" else None,
        task_head=task_head(config, head, width, config.classifier_dropout),
        output_scale=config.output_scale,
    )


def rules(config: T5Config, head: str, prefix: str) -> list[Rule]:
    names = {"word": f"{prefix}shared"}
    sides = {"encoder": config.num_layers, "decoder": config.num_decoder_layers or config.num_layers}
    if head == "tag":
        del sides["decoder"]
    for side, depth in sides.items():
        last = 1 if side == "encoder" else 2  # the feed-forward's number
        attentions = {"attention": "0.SelfAttention"} | ({"cross": "1.EncDecAttention"} if last == 2 else {})
        names[f"{side}.norm"] = f"{prefix}{side}.final_layer_norm"
        names[f"{side}.bias.table"] = f"{prefix}{side}.block.0.layer.0.SelfAttention.relative_attention_bias"
        for number in range(depth):
            ours, theirs = f"{side}.layers.{number}", f"{prefix}{side}.block.{number}.layer"
            for own, other in attentions.items():
                for part in ("query", "key", "value", "output"):
                    names[f"{ours}.{own}.part.{part}"] = f"{theirs}.{other}.{part[0]}"
                names[f"{ours}.{own}.norm"] = f"{theirs}.{other[0]}.layer_norm"
            inner = {"gate": "wi_0", "up": "wi_1"} if config.gated else {"up": "wi"}
            for own, other in {**inner, "down": "wo"}.items():
                names[f"{ours}.feedforward.part.{own}"] = f"{theirs}.{last}.DenseReluDense.{other}"
            names[f"{ours}.feedforward.norm"] = f"{theirs}.{last}.layer_norm"
    if head == "seq2seq" and not config.tie_word_embeddings:
        names["language.output"] = "lm_head"
    heads = HEADS.get(head, {})
    found: list[Rule] = [Same(f"{ours}.weight", f"{theirs}.weight") for ours, theirs in {**names, **heads}.items()]
    return found + [Same(f"{ours}.bias", f"{theirs}.bias") for ours, theirs in heads.items()]


def settle(config: T5Config, tensors: Mapping[str, Tensor]) -> T5Config:
    """Whether the output is tied the weights say: transformers 5 writes of every T5 that it is, and a matrix of its own beside it."""
    own = tensors.get("lm_head.weight")
    if config.tie_word_embeddings and own is not None and not torch.equal(own, tensors.get("shared.weight", own)):
        scaled = config.output_scale != 1.0
        return replace(config, tie_word_embeddings=False, scale_decoder_outputs=scaled or None)
    return config


def initialise(module: nn.Module, config: T5Config) -> None:
    """Mesh TensorFlow's: a layer's output is about as loud as its input; unscaled scores have it from the queries."""
    factor = config.initializer_factor
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, factor * module.in_features**-0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, 0.0, factor)
    if isinstance(module, RMSNorm):
        nn.init.constant_(module.weight, factor)
    if isinstance(module, RelativeBias):
        nn.init.normal_(module.table.weight, 0.0, factor * config.d_model**-0.5)
    if isinstance(module, SelfAttention | CrossAttention):
        nn.init.normal_(module.query.weight, 0.0, factor * (config.d_model * config.d_kv) ** -0.5)


def _size(layers: int, width: int, heads: int, **others: Any) -> dict[str, Any]:
    return {"num_layers": layers, "d_model": width, "num_heads": heads, "d_ff": 4 * width, **others}


T5 = Family(
    model_type="t5",
    about="encoder and decoder for every task as text, with relative positions",
    paper="Raffel et al. 2020, https://arxiv.org/abs/1910.10683",
    config=T5Config,
    module=t5,
    heads={
        "base": "T5Model",
        "seq2seq": "T5ForConditionalGeneration",
        "classify": "T5ForSequenceClassification",
        "tag": "T5ForTokenClassification",
        "span": "T5ForQuestionAnswering",
    },
    rules=rules,
    prefix="transformer.",
    prefixes={"seq2seq": "", "span": ""},
    initialise=initialise,
    sizes={
        "tiny": _size(2, 128, 2),
        "mini": _size(4, 256, 4),
        "small": _size(6, 512, 8),
        "base": _size(12, 768, 12),
        "large": _size(24, 1024, 16),
    },
    vocabulary={r"word\.weight|language\.output\.weight": Growth.rows},
    embedding="word.weight",
    width="d_model",
    positions="",
    settle=settle,
    aliases={f"{side}.embed_tokens.weight": "shared.weight" for side in ("encoder", "decoder")},
    ignorable=(
        r"(transformer\.)?decoder\..*",
        r"lm_head\.weight",
        r"(classification_head|classifier|qa_outputs)\..*",
    ),
)
MT5 = replace(
    T5,
    model_type="mt5",
    about="T5 for a hundred languages: gated, with an output of its own",
    paper="Xue et al. 2021, https://arxiv.org/abs/2010.11934",
    config=MT5Config,
    heads={kind: f"M{name}" for kind, name in T5.heads.items()},
    sizes={
        **{name: {**T5.sizes[name], "tie_word_embeddings": False} for name in ("tiny", "mini")},
        "small": _size(8, 512, 6, d_ff=1024, tie_word_embeddings=False),
        "base": _size(12, 768, 12, d_ff=2048, tie_word_embeddings=False),
    },
)
