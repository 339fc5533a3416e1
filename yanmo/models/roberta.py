"""RoBERTa: BERT trained longer, on more text, without the next sentence (Liu et al. 2019, https://arxiv.org/abs/1907.11692).

The same module as BERT's, with one kind of segment, positions that begin behind the padding's, and a classifier with a layer of its
own. XLM-RoBERTa (Conneau et al. 2020, https://arxiv.org/abs/1911.02116) is the same for a hundred languages.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from yanmo.models import bert
from yanmo.models.base import Family, answers
from yanmo.models.bert import Bert, BertConfig
from yanmo.nn.heads import Pooler, RowHead


@dataclass(frozen=True, kw_only=True)
class RobertaConfig(BertConfig):
    type_vocab_size: int = 1
    layer_norm_eps: float = 1e-5
    pad_token_id: int | None = 1

    @property
    def first_position(self) -> int:  # type: ignore[override]  # a number of the class, there
        return (self.pad_token_id or 0) + 1


def task_head(config: RobertaConfig, kind: str) -> nn.Module | None:
    if kind != "classify":
        return bert.task_head(config, kind)
    drop, width = config.head_dropout, config.hidden_size
    return RowHead(width, answers(config, kind), pool=Pooler(width, dropout=drop), dropout=drop)


NAMES = replace(
    bert.BERT,
    masked={"dense": "lm_head.dense", "norm": "lm_head.layer_norm", "decoder.output": "lm_head.decoder"},
    bias="lm_head.bias",
    heads={
        **bert.BERT.heads,
        "classify": {"task_head.pool.dense": "classifier.dense", "task_head.output": "classifier.out_proj"},
    },
)
_SIZES: Mapping[str, Mapping[str, Any]] = {**bert.SIZES, "large": bert.size(24, 1024)}

ROBERTA = Family(
    model_type="roberta",
    about="BERT trained longer and on more text, without the next sentence",
    paper="Liu et al. 2019, https://arxiv.org/abs/1907.11692",
    config=RobertaConfig,
    # Its language-model head has this activation, whatever the layers have.
    module=partial(Bert, task_head=task_head, masked_activation="gelu"),
    heads={kind: f"Roberta{name}" for kind, name in bert.CLASSES.items()},
    rules=partial(bert.rules, names=NAMES),
    prefix="roberta.",
    initialise=bert.initialise,
    sizes=_SIZES,
    vocabulary=bert.VOCABULARY,
    embedding="embeddings.word.weight",
    ignorable=(
        r"(roberta\.)?embeddings\.position_ids",
        r"(roberta\.)?pooler\..*",
        r"(lm_head|classifier|qa_outputs)\..*",
    ),
)
XLM_ROBERTA = replace(
    ROBERTA,
    model_type="xlm-roberta",
    about="RoBERTa for a hundred languages",
    paper="Conneau et al. 2020, https://arxiv.org/abs/1911.02116",
    heads={kind: f"XLMRoberta{name}" for kind, name in bert.CLASSES.items()},
)
