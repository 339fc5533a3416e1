"""The Transformer, an encoder and a decoder that attends to it (Vaswani et al. 2017, "Attention Is All You Need",
https://arxiv.org/abs/1706.03762).

Embeddings and sinusoids are added; a layer of the encoder is attention and feed-forward, one of the decoder attends to the encoder's
states between them, all post-norm; source, target and output share one matrix. On disk it is `marian`, the translators of
Junczys-Dowmunt et al. 2018; from scratch `model.family=transformer` makes it. BART's learned positions and mBART's norms (`bart.py`)
are values of a config.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from yanmo.errors import ModelError, gather
from yanmo.models.base import Config, Family, Memory
from yanmo.models.encoder_decoder import HEADS, EncoderDecoder, Layer
from yanmo.models.hf import Constant, Reshaped, Rule, Same
from yanmo.nn import init
from yanmo.nn.attention import CrossAttention, SelfAttention
from yanmo.nn.cache import KeyValues
from yanmo.nn.embedding import Growth
from yanmo.nn.feedforward import ACTIVATIONS, FeedForward
from yanmo.nn.heads import LanguageHead
from yanmo.nn.position import sinusoid_table, sinusoids
from yanmo.nn.residual import Residual
from yanmo.text.batches import Run

TaskHead = Callable[[Config, str, int, float], nn.Module | None]  # (config, kind, width, dropout)
_OFFSET = 2  # learned positions begin behind two that nobody uses


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(Config):
    vocab_size: int
    d_model: int = 1024
    encoder_layers: int = 12
    encoder_attention_heads: int = 16
    encoder_ffn_dim: int = 4096
    decoder_layers: int = 12
    decoder_attention_heads: int = 16
    decoder_ffn_dim: int = 4096
    decoder_vocab_size: int | None = None  # None: vocab_size; another only where source and target share no embeddings
    activation_function: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    classifier_dropout: float = 0.0
    max_position_embeddings: int = 1024
    init_std: float = 0.02
    scale_embedding: bool = False
    share_encoder_decoder_embeddings: bool = True
    tie_word_embeddings: bool = True  # the output's, and those of source and target where they are shared
    pad_token_id: int | None = None
    eos_token_id: int | None = 0
    decoder_start_token_id: int | None = None  # None: pad_token_id

    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "encoder_layerdrop": (0.0, None),
        "decoder_layerdrop": (0.0, None),
        "is_decoder": (False, None),
        "is_encoder_decoder": (True, None),
        "normalize_before": (False, None),
        "normalize_embedding": (False, None),
        "add_final_layer_norm": (False, None),
        "static_position_embeddings": (True, None),
        "pruned_heads": ({}, None),
    }
    # A length that encoder_layers says; a bias that is always there; an older name; room that the class makes itself.
    harmless: ClassVar[frozenset[str]] = frozenset(
        {"num_hidden_layers", "add_bias_logits", "classif_dropout", "extra_pos_embeddings"}
        | {"force_bos_token_to_be_generated"}
    )
    # What tells the relatives apart: learned positions, a norm behind the embeddings, and norms before each part and at the end.
    learns_positions: ClassVar[bool] = False
    norms_embeddings: ClassVar[bool] = False
    pre: ClassVar[bool] = False

    def __post_init__(self) -> None:
        faults = [
            f"d_model {self.d_model} is not a multiple of {side}_attention_heads {heads}"
            for side, heads in (("encoder", self.encoder_attention_heads), ("decoder", self.decoder_attention_heads))
            if self.d_model % heads
        ]
        if self.activation_function not in ACTIVATIONS:
            faults.append(
                f"activation_function '{self.activation_function}' is not known; known: {', '.join(ACTIVATIONS)}"
            )
        if self.decoder_vocab_size == self.vocab_size:
            object.__setattr__(self, "decoder_vocab_size", None)  # so that it grows with the vocabulary
        if self.decoder_vocab_size is not None and self.share_encoder_decoder_embeddings:
            faults.append(f"decoder_vocab_size {self.decoder_vocab_size}, but its embeddings are the encoder's")
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < min(self.vocab_size, self.target_vocabulary):
            faults.append(f"pad_token_id {self.pad_token_id} is not a token of a vocabulary of {self.vocab_size}")
        if faults:
            raise ModelError("; ".join(faults))

    @property
    def target_vocabulary(self) -> int:
        return self.decoder_vocab_size or self.vocab_size

    @property
    def one_embedding(self) -> bool:
        return self.share_encoder_decoder_embeddings and self.tie_word_embeddings

    @property
    def decoder_start(self) -> int | None:
        return self.pad_token_id if self.decoder_start_token_id is None else self.decoder_start_token_id


def layer(config: TransformerConfig, heads: int, inner: int, *, decoder: bool) -> Layer:
    width, drop = config.d_model, config.attention_dropout

    def residual(part: nn.Module) -> Residual:
        return Residual(part, nn.LayerNorm(width), pre=config.pre, dropout=config.dropout)

    feedforward = FeedForward(width, inner, config.activation_function, dropout=config.activation_dropout)
    return Layer(
        attention=residual(SelfAttention(width, heads, dropout=drop, causal=decoder)),
        cross=residual(CrossAttention(width, heads, dropout=drop)) if decoder else None,
        feedforward=residual(feedforward),
    )


class Stack(nn.Module):
    """The encoder, or the decoder: embedded tokens (t, width) -> (t, width)."""

    def __init__(self, config: TransformerConfig, depth: int, heads: int, inner: int, *, decoder: bool) -> None:
        super().__init__()
        self.config = config
        room, width = config.max_position_embeddings + _OFFSET, config.d_model
        self.position = nn.Embedding(room, width) if config.learns_positions else None
        self.embedding_norm = nn.LayerNorm(width) if config.norms_embeddings else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(layer(config, heads, inner, decoder=decoder) for _ in range(depth))
        self.norm = nn.LayerNorm(width) if config.pre else nn.Identity()

    def forward(self, x: Tensor, run: Run, state: KeyValues | None, memory: Memory | None) -> Tensor:
        positions = run.positions if state is None else state.places()
        room, width = self.config.max_position_embeddings, self.config.d_model
        if len(positions) and (longest := int(positions.max()) + 1) > room:
            raise ModelError(f"a row of {longest} tokens, but this model has {room} positions; shorten max_length")
        scaled = x * width**0.5 if self.config.scale_embedding else x
        place = sinusoids(positions, width) if self.position is None else self.position(positions + _OFFSET)
        x = self.dropout(self.embedding_norm(scaled + place.to(x.dtype)))
        for number, part in enumerate(self.layers):
            x = part(x, run, number, state, memory)
        result: Tensor = self.norm(x)
        return result


def transformer(config: TransformerConfig, head: str, *, task_head: TaskHead | None = None) -> EncoderDecoder:
    """task_head: makes the head of a task, or None for other kinds."""
    width, vocabulary, tied = config.d_model, config.target_vocabulary, config.tie_word_embeddings
    encoder = config.encoder_layers, config.encoder_attention_heads, config.encoder_ffn_dim
    decoder = config.decoder_layers, config.decoder_attention_heads, config.decoder_ffn_dim
    return EncoderDecoder(
        config,
        head,
        # The padding's vector, which is also what Marian's decoder begins with, stays as it is.
        word=nn.Embedding(config.vocab_size, width, config.pad_token_id),
        target_word=None if config.one_embedding else nn.Embedding(vocabulary, width, config.pad_token_id),
        encoder=Stack(config, *encoder, decoder=False),
        decoder=Stack(config, *decoder, decoder=True),
        language=LanguageHead(width, vocabulary, tied=tied, bias=True) if head == "seq2seq" else None,
        task_head=task_head(config, head, width, config.classifier_dropout) if task_head else None,
    )


_LAYER = {
    "feedforward.part.up": "fc1",
    "feedforward.part.down": "fc2",
    "feedforward.norm": "final_layer_norm",
    "attention.norm": "self_attn_layer_norm",
    "cross.norm": "encoder_attn_layer_norm",
} | {
    f"{ours}.part.{own}": f"{theirs}.{other}_proj"
    for ours, theirs in (("attention", "self_attn"), ("cross", "encoder_attn"))
    for own, other in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "out"))
}


def rules(config: TransformerConfig, head: str, prefix: str) -> list[Rule]:
    found: list[Rule] = []
    if config.share_encoder_decoder_embeddings:  # untied, the stock class has one more, which it does not use
        found.append(Same("word.weight", f"{prefix}shared.weight"))
    if not config.one_embedding:
        found.append(Same("word.weight", f"{prefix}encoder.embed_tokens.weight"))
        found.append(Same("target_word.weight", f"{prefix}decoder.embed_tokens.weight"))
    linear = dict(HEADS.get(head, {}))  # and norms
    for side, depth in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        place = f"{prefix}{side}.embed_positions.weight"
        if config.learns_positions:
            found.append(Same(f"{side}.position.weight", place))
        elif head == "base":  # its stock class alone keeps the sinusoids
            make = partial(sinusoid_table, config.max_position_embeddings, config.d_model)
            found.append(Constant(place, make))
        if config.norms_embeddings:
            linear[f"{side}.embedding_norm"] = f"{prefix}{side}.layernorm_embedding"
        if config.pre:
            linear[f"{side}.norm"] = f"{prefix}{side}.layer_norm"
        for number in range(depth):
            for ours, theirs in _LAYER.items():
                if side == "decoder" or not ours.startswith("cross"):
                    linear[f"{side}.layers.{number}.{ours}"] = f"{prefix}{side}.layers.{number}.{theirs}"
    if head == "seq2seq":
        found.append(Reshaped("language.bias", "final_logits_bias", (1, config.target_vocabulary)))
        if not config.tie_word_embeddings:
            found.append(Same("language.output.weight", "lm_head.weight"))
    return found + [
        Same(f"{ours}.{part}", f"{theirs}.{part}") for ours, theirs in linear.items() for part in ("weight", "bias")
    ]


def settle(config: TransformerConfig, tensors: Mapping[str, Tensor]) -> TransformerConfig:
    """Raise ModelError for copies of an embedding that differ from it: they would be left unread."""
    source = "shared.weight" if config.share_encoder_decoder_embeddings else "decoder.embed_tokens.weight"
    copies = ("coder.embed_tokens.weight", "lm_head.weight") if config.one_embedding else ("lm_head.weight",)
    original = next((name for name in tensors if name.endswith(source)), None)
    if config.tie_word_embeddings and original is not None:
        embedding = tensors[original]
        faults = [name for name in tensors if name.endswith(copies) and not torch.equal(tensors[name], embedding)]
        gather(faults, f"the config has tie_word_embeddings, but these are not equal to {source}:", ModelError)
    return config


def initialise(module: nn.Module, config: TransformerConfig) -> None:
    init.normal(module, config.init_std)


def size(layers: int, width: int) -> dict[str, Any]:
    sides = (("layers", layers), ("attention_heads", width // 64), ("ffn_dim", 4 * width))
    return {"d_model": width} | {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in sides}


def _grown(growth: Growth, tensor: Tensor) -> Tensor:
    """A target's own vocabulary, of another size than the tokeniser's, stays as it is."""
    return growth.rows(tensor) if len(tensor) == growth.old else tensor


VOCABULARY = {r"(target_)?word\.weight|language\.(bias|output\.weight)": _grown}
_PAPER = {"activation_function": "relu", "scale_embedding": True}

FAMILY = Family(
    model_type="marian",
    about="the Transformer: encoder and decoder with sinusoidal positions; translation, summaries",
    paper="Vaswani et al. 2017, https://arxiv.org/abs/1706.03762",
    config=TransformerConfig,
    module=transformer,
    heads={"base": "MarianModel", "seq2seq": "MarianMTModel"},
    rules=rules,
    prefix="model.",
    initialise=initialise,
    # "base" and "big" are the paper's (table 3).
    sizes={
        name: {**size(layers, width), **_PAPER}
        for name, layers, width in (
            ("tiny", 2, 128),
            ("mini", 4, 256),
            ("small", 4, 512),
            ("base", 6, 512),
            ("big", 6, 1024),
        )
    },
    vocabulary=VOCABULARY,
    embedding="word.weight",
    width="d_model",
    settle=settle,
    ignorable=(r"(model\.)?(en|de)coder\.embed_(tokens|positions)\.weight", r"(final_logits_bias|lm_head\.weight)"),
)
