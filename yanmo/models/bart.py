"""BART: an encoder and a decoder that restore spoiled text (Lewis et al. 2020, https://arxiv.org/abs/1910.13461).

The module of `transformer.py`, with learned positions and a norm behind the embeddings. Its heads read the decoder, which is given the
source itself, shifted. mBART (Liu et al. 2020, https://arxiv.org/abs/2001.08210) has the norms before each part and at the end.

Left out: the decoder alone (BartForCausalLM).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from yanmo.models import transformer
from yanmo.models.encoder_decoder import task_head
from yanmo.models.transformer import TransformerConfig


@dataclass(frozen=True, kw_only=True)
class BartConfig(TransformerConfig):
    pad_token_id: int | None = 1
    eos_token_id: int | None = 2
    decoder_start_token_id: int | None = None  # None: eos_token_id

    keys: ClassVar[Mapping[str, str | None]] = {"decoder_vocab_size": None, "share_encoder_decoder_embeddings": None}
    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **TransformerConfig.refused,
        "normalize_embedding": (True, None),
        "static_position_embeddings": (False, None),
    }
    learns_positions: ClassVar[bool] = True
    norms_embeddings: ClassVar[bool] = True

    @property
    def decoder_start(self) -> int | None:
        return self.eos_token_id if self.decoder_start_token_id is None else self.decoder_start_token_id


class MBartConfig(BartConfig):
    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **BartConfig.refused,
        "normalize_before": (True, None),
        "add_final_layer_norm": (True, None),
    }
    pre: ClassVar[bool] = True

    @property
    def decoder_start(self) -> None:
        """A row's last token names its language, and the decoder begins with it."""


BART = replace(
    transformer.FAMILY,
    model_type="bart",
    about="encoder and decoder that restore spoiled text; summaries, classification, answers in a text",
    paper="Lewis et al. 2020, https://arxiv.org/abs/1910.13461",
    config=BartConfig,
    module=partial(transformer.transformer, task_head=task_head),
    heads={
        "base": "BartModel",
        "seq2seq": "BartForConditionalGeneration",
        "classify": "BartForSequenceClassification",
        "span": "BartForQuestionAnswering",
    },
    sizes={
        "tiny": transformer.size(2, 128),
        "mini": transformer.size(4, 256),
        "small": transformer.size(4, 512),
        "base": transformer.size(6, 768),
        "large": transformer.size(12, 1024),
    },
    ignorable=(*transformer.FAMILY.ignorable, r"(classification_head|qa_outputs)\..*", r"(en|de)coder\.version"),
)
MBART = replace(
    BART,
    model_type="mbart",
    about="BART for many languages, pre-norm",
    paper="Liu et al. 2020, https://arxiv.org/abs/2001.08210",
    config=MBartConfig,
    heads={kind: f"M{name}" for kind, name in BART.heads.items()},
)
