"""Denoising: the text is written again from a spoiled one (Lewis et al. 2020, https://arxiv.org/abs/1910.13461, section 2.2).

Sentences change places, tokens are deleted, spans of Poisson length (also of none) give way to one [MASK] each; in this order, each by
its share. An autoencoder writes from one vector a text. Where it is variational, the loss is the negative evidence lower bound: what the
vector tells beyond the standard normal is added, by a weight that rises from 0 to 1 (Bowman et al. 2016,
https://arxiv.org/abs/1511.06349, section 3.1), and what costs less than some free nats a dimension costs no less than these (Kingma et
al. 2016, https://arxiv.org/abs/1606.04934, section C.8). It is scored with all of it.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from yanmo.errors import ModelError
from yanmo.models.base import Model
from yanmo.settings import Block
from yanmo.tasks.base import Answer, Loss, Scores
from yanmo.tasks.objectives.objective import losses, token_labels
from yanmo.tasks.objectives.rewriting import Rewriting, given, memory_of
from yanmo.tasks.objectives.spans import cut, placed, sentence_ends
from yanmo.text.batches import Batch
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer


class Settings(Block):
    name: Literal["denoise"] = "denoise"
    max_length: int = Field(128, ge=8, description="documents are cut into rows of at most this many tokens")
    infill: float = Field(0.3, ge=0, lt=1, description="the share of tokens in spans that give way to one [MASK] each")
    mean_span: float = Field(3.0, ge=0.1, description="mean length of these spans, in tokens")
    permute: float = Field(1.0, ge=0, le=1, description="the share of rows whose sentences change places")
    delete: float = Field(0.0, ge=0, lt=1, description="the share of tokens that are deleted")
    anneal: float = Field(
        0.5,
        ge=0,
        le=1,
        description="variational: over this share of the run the weight of the latent's cost rises from 0 to 1",
    )
    free_nats: float = Field(
        0.0, ge=0, description="variational: what each dimension of the latent may tell for nothing"
    )


class Denoise(Rewriting):
    name = "denoise"
    counts_characters = True

    def __init__(self, settings: Settings, tokenizer: Tokenizer) -> None:
        super().__init__(settings, tokenizer)
        if tokenizer.mask is None and settings.infill:
            raise ModelError("this tokeniser has no [MASK] token; give objective.infill=0, or another tokeniser")
        self.mask = np.array([tokenizer.mask or 0], np.int64)
        self.ends = sentence_ends(tokenizer)

    def spoiled(self, ids: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        settings, read = self.settings, ids
        if generator.random() < settings.permute:
            sentences = np.split(ids, 1 + np.flatnonzero(self.ends[ids[:-1]]))
            read = np.concatenate([sentences[place] for place in generator.permutation(len(sentences))])
        read = read[generator.random(len(read)) >= settings.delete]
        return self._infilled(read, generator), ids

    def _infilled(self, ids: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        budget = int(self.settings.infill * len(ids) + generator.random())  # a share of a token is a chance
        lengths: list[int] = []
        while sum(lengths) < budget:
            lengths.append(min(int(generator.poisson(self.settings.mean_span)), budget - sum(lengths)))
        spans = np.array(lengths, np.int64)
        # No more insertions than leave the row no longer than it was.
        empty = np.flatnonzero(spans == 0)[max(0, budget - np.count_nonzero(spans)) :]
        kept, _ = cut(ids, *placed(np.delete(spans, empty), len(ids), generator))
        return np.concatenate([part for piece in kept[:-1] for part in (piece, self.mask)] + [kept[-1]])

    def loss(self, model: Model, batch: Batch) -> Loss:
        states, latent = self._written(model, batch)
        total = losses(model, states, token_labels(batch)).sum()
        if latent is not None and latent.spread is not None:
            settings = self.settings
            weight = min(1.0, batch.progress / settings.anneal) if settings.anneal else 1.0
            cost = latent.divergence().mean(0).clamp(min=settings.free_nats).sum()
            total = total + weight * cost * len(batch.rows)
        return Loss(total, len(token_labels(batch)))

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        states, latent = self._written(model, batch)
        answers = self.told(model, states, token_labels(batch), self.rows(batch), len(batch.rows))
        if latent is not None and latent.spread is not None:
            for answer, cost in zip(answers, latent.divergence().sum(1).tolist(), strict=True):
                answer |= {"loss": answer["loss"] + cost, "divergence": cost}
        return answers

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        """divergence: nats a row that its vector tells; they are part of the loss."""
        costs = [answer["divergence"] for answer in answers if "divergence" in answer]
        return super().score(answers, examples) | ({"divergence": sum(costs) / len(costs)} if costs else {})

    def _written(self, model: Model, batch: Batch) -> tuple[Tensor, Any]:
        """The decoder's states, and the latent of an autoencoder."""
        memory, run, autoencoder = memory_of(model, batch), given(model, batch), getattr(model, "latent", None)
        if autoencoder is None:
            return model.decode(run, memory=memory), None
        latent, writer = autoencoder(memory), model
        vectors = latent.drawn() if getattr(model, "training", False) else latent.mean
        decode: Any = writer.decode
        return decode(run, latent=vectors), latent
