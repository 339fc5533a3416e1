"""Two objectives on one row, their mean losses added by weight: BERT's masked words and next sentence (Devlin et al. 2019, section 3.1
and A.2), or masked words and sentence order (ALBERT's, Lan et al. 2020)."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, field_validator

from yanmo.models.base import Model
from yanmo.settings import Block
from yanmo.tasks.base import Answer, Loss, Scores
from yanmo.tasks.objectives.masked import Masker, Masking
from yanmo.tasks.objectives.objective import Objective, generator_of, losses
from yanmo.tasks.objectives.sentences import Pairs, pair_answers, pair_loss, pair_scores
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer

_PAIRS = ("next", "order")


class Settings(Block):
    name: Literal["combined"] = "combined"
    max_length: int = Field(
        128, ge=8, description="documents are cut into rows of two segments, of at most this many tokens"
    )
    parts: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=lambda: {"masked": 1.0, "next": 1.0},
        description="the weight of each part: masked, and one of next and order",
    )
    masking: Masking = Field(default_factory=Masking, description="how the masked part chooses")

    @field_validator("parts")
    @classmethod
    def _fit(cls, parts: dict[str, float]) -> dict[str, float]:
        if sorted(parts) not in [sorted(("masked", pair)) for pair in _PAIRS]:
            raise ValueError(
                f"expected weights of masked and of one of {' and '.join(_PAIRS)}, as {{masked: 1.0, next: 1.0}}"
            )
        return parts


class Combined(Objective):
    """The labels are those of the masked tokens, and behind them one a row."""

    name = "combined"
    head = "pretrain"
    perplexity = "pseudo_perplexity"

    def __init__(self, settings: Settings, tokenizer: Tokenizer) -> None:
        super().__init__(settings, tokenizer)
        self.pair = next(name for name in _PAIRS if name in settings.parts)
        self.pairs = Pairs(tokenizer, self.pair, settings.max_length)
        self.masker = Masker(settings.masking, tokenizer, self.ordinary)

    @property
    def row_length(self) -> int:
        return self.pairs.row_length

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        generator = generator_of(key, examples)
        rows, types, labels = self.pairs(examples, generator)
        masked, select = self.masker(rows, generator)
        run = pack(rows, types)
        return Batch(
            type(run)(torch.from_numpy(masked), run.lengths, run.types),
            labels=torch.from_numpy(np.concatenate([run.ids.numpy()[select], labels])),
            select=torch.from_numpy(select),
            rows=tuple(e.id for e in examples),
        )

    def loss(self, model: Model, batch: Batch) -> Loss:
        assert batch.labels is not None and batch.select is not None  # noqa: S101 (made above)
        hidden, count = model.hidden(batch), len(batch.select)
        said = losses(model, hidden[batch.select], batch.labels[:count]).sum()
        pair = pair_loss(model, hidden, batch, batch.labels[count:])
        weights = self.settings.parts
        # Over the count of tokens, each part is a mean.
        total = weights["masked"] * said + weights[self.pair] * pair.total * count / max(1, pair.count)
        return Loss(total, count)

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        assert batch.labels is not None and batch.select is not None  # noqa: S101 (made above)
        hidden, count = model.hidden(batch), len(batch.select)
        said = self.told(model, hidden[batch.select], batch.labels[:count], self.rows(batch), len(batch.rows))
        pairs = pair_answers(model, hidden, batch, batch.labels[count:])
        return [one | other for one, other in zip(said, pairs, strict=True)]

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        scores, pair = super().score(answers, examples), pair_scores(answers)
        weights = self.settings.parts
        loss = weights["masked"] * scores["loss"] + weights[self.pair] * pair["loss"]
        return {**scores, "loss": loss, "masked_loss": scores["loss"]} | {
            f"{self.pair}_{k}": v for k, v in pair.items()
        }
