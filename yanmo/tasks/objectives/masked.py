"""Masked language modelling (Devlin et al. 2019, section 3.1), masked anew at every visit (Liu et al. 2019, section 4.1), or with
`static` always alike.

What is chosen are tokens, whole words (Cui et al. 2019, https://arxiv.org/abs/1906.08101; for Chinese by a segmenter) or spans of
geometric length (Joshi et al. 2020, https://arxiv.org/abs/1907.10529, section 3.1). Of the chosen units 80% become [MASK], 10% other
tokens, 10% stay; all tokens of a unit share its fate. Logits are computed at the chosen positions only.
"""

import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from yanmo.errors import ModelError
from yanmo.settings import Block
from yanmo.tasks.base import ids_of
from yanmo.tasks.objectives.objective import Objective, generator_of
from yanmo.tasks.objectives.spans import placed
from yanmo.tasks.objectives.words import Words
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer

_STOP, _LONGEST = 0.2, 10  # of the spans' geometric distribution, which is clipped


class Masking(Block):
    rate: float = Field(0.15, gt=0, lt=1, description="the share of tokens to predict")
    unit: Literal["token", "word", "span"] = Field(
        "token",
        description="what is masked as a whole; word: by spaces and signs, for Chinese by rjieba; span: 1 to 10 tokens",
    )


class Settings(Masking):
    name: Literal["masked"] = "masked"
    max_length: int = Field(128, ge=8, description="documents are cut into rows of at most this many tokens")
    static: bool = Field(False, description="true: a row has the same mask at each visit")


class Masked(Objective):
    name = "masked"
    head = "masked"
    perplexity = "pseudo_perplexity"

    def __init__(self, settings: Settings, tokenizer: Tokenizer) -> None:
        super().__init__(settings, tokenizer)
        self.masker = Masker(settings, tokenizer, self.ordinary)

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        rows = ids_of(examples)
        run = pack(rows)
        masked, select = (
            self._alike(rows, examples, key) if self.settings.static else self.masker(rows, generator_of(key, examples))
        )
        return Batch(
            source=type(run)(torch.from_numpy(masked), run.lengths),
            labels=run.ids[select],
            select=torch.from_numpy(select),
            rows=tuple(e.id for e in examples),
        )

    def _alike(
        self, rows: Sequence[np.ndarray], examples: Sequence[Example], key: Key | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Each row by its own name, whatever the epoch and the rows beside it."""
        seed = 0 if key is None else key.seed
        keys = (Key(seed, 0, zlib.crc32(e.id.encode())) for e in examples)
        masked, select = zip(
            *(self.masker([row], own.generator()) for row, own in zip(rows, keys, strict=True)), strict=True
        )
        starts = np.cumsum([0, *map(len, rows)])
        return np.concatenate(masked), np.concatenate([s + start for s, start in zip(select, starts, strict=False)])


class Masker:
    """Rows -> the same end to end with some tokens masked, and the places that were chosen, rising."""

    def __init__(self, settings: Masking, tokenizer: Tokenizer, ordinary: np.ndarray) -> None:
        if tokenizer.mask is None:
            raise ModelError("this tokeniser has no [MASK] token, so masked language modelling can't use it")
        self.settings, self.mask, self.ordinary = settings, tokenizer.mask, ordinary
        self.words = Words(tokenizer) if settings.unit == "word" else None
        self.choices = np.flatnonzero(ordinary)  # what may be put in

    def __call__(self, rows: Sequence[np.ndarray], generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        ids = np.concatenate(rows).astype(np.int64)
        choose = {"token": self._tokens, "word": self._whole_words, "span": self._spans}[self.settings.unit]
        select, units = choose(ids, rows, generator)
        fate = generator.random(int(units.max(initial=-1)) + 1)[units]
        other = generator.choice(self.choices, len(select))
        masked = ids.copy()
        masked[select] = np.where(fate >= 0.9, other, np.where(fate < 0.8, self.mask, ids[select]))
        return masked, select

    def _count(self, eligible: np.ndarray) -> int:
        return max(1, round(self.settings.rate * len(eligible)))

    def _tokens(
        self, ids: np.ndarray, rows: Sequence[np.ndarray], generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The places chosen, and the number of the unit that each is of."""
        eligible = np.flatnonzero(self.ordinary[ids])
        select = np.sort(generator.permutation(eligible)[: self._count(eligible)])
        return select, np.arange(len(select))

    def _whole_words(
        self, ids: np.ndarray, rows: Sequence[np.ndarray], generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        assert self.words is not None  # noqa: S101 (the unit says so)
        eligible = np.flatnonzero(self.ordinary[ids])
        _, words, sizes = np.unique(
            np.cumsum(self.words.begins(ids))[eligible], return_inverse=True, return_counts=True
        )
        order = generator.permutation(len(sizes))
        enough = int(np.searchsorted(np.cumsum(sizes[order]), self._count(eligible))) + 1
        taken = np.isin(words, order[:enough])
        return eligible[taken], np.unique(words[taken], return_inverse=True)[1]

    def _spans(
        self, ids: np.ndarray, rows: Sequence[np.ndarray], generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        places, units, start, number = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0, 0
        for row in rows:
            eligible = start + np.flatnonzero(self.ordinary[row])
            start += len(row)
            # A share of a token is a chance, so that short rows have theirs.
            budget = int(self.settings.rate * len(eligible) + generator.random())
            drawn = np.minimum(generator.geometric(_STOP, budget), _LONGEST)
            whole = np.minimum(np.cumsum(drawn), budget)
            lengths = np.diff(whole, prepend=0)
            starts, lengths = placed(lengths[lengths > 0], len(eligible), generator)
            spans = np.repeat(np.arange(len(lengths)), lengths)
            within = np.arange(len(spans)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            places.append(eligible[starts[spans] + within])
            units.append(number + spans)
            number += len(lengths)
        return np.concatenate(places), np.concatenate(units)
