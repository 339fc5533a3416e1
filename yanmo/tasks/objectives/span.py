"""Span corruption (Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 3.1.4): spans of a text give way to sentinels, and what
is written are the spans, each behind its sentinel, and a last sentinel.

    read:    Thank you <extra_id_0> me to your party <extra_id_1> week.
    written: <extra_id_0> for inviting <extra_id_1> last <extra_id_2>
"""

from itertools import chain
from typing import Any, Literal

import numpy as np
from pydantic import Field

from yanmo.errors import ModelError
from yanmo.settings import Block
from yanmo.tasks.objectives.rewriting import Rewriting
from yanmo.tasks.objectives.spans import cut, placed
from yanmo.text.tokenizer import Tokenizer

SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))


class Settings(Block):
    name: Literal["span"] = "span"
    max_length: int = Field(128, ge=8, description="documents are cut into rows of at most this many tokens")
    rate: float = Field(0.15, gt=0, lt=1, description="the share of tokens that give way")
    mean_span: float = Field(3.0, ge=1, description="mean length of the spans, in tokens")


class Span(Rewriting):
    name = "span"
    tokens = SENTINELS

    def __init__(self, settings: Settings, tokenizer: Tokenizer) -> None:
        super().__init__(settings, tokenizer)
        found: list[Any] = [tokenizer.inner.token_to_id(name) for name in SENTINELS]
        if None in found[:2]:
            raise ModelError(
                f"this tokeniser has no sentinels ({SENTINELS[0]}, {SENTINELS[1]}, ...), so span corruption can't use it. One that is "
                "trained with the model has them: leave tokenizer.base and shards out"
            )
        self.sentinels = np.array(found[: found.index(None)] if None in found else found, np.int64)

    def spoiled(self, ids: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        lost = min(max(1, round(self.settings.rate * len(ids))), len(ids))
        most = min(lost, len(self.sentinels) - 1, len(ids) - lost + 1)
        count = min(max(1, round(lost / self.settings.mean_span)), most)
        # Every way to cut what is lost into so many spans is alike.
        ends = np.sort(generator.choice(np.arange(1, lost), count - 1, replace=False))
        lengths = np.diff(np.concatenate([[0], ends, [lost]])).astype(np.int64)
        kept, spans = cut(ids, *placed(lengths, len(ids), generator))
        marks = self.sentinels[: len(spans) + 1, None]
        read = chain(*zip(kept[:-1], marks[:-1], strict=True), kept[-1:])
        written = chain(*zip(marks[:-1], spans, strict=True), marks[-1:])
        return np.concatenate([*read]), np.concatenate([*written])
