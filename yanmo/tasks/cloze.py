"""Classification as a cloze: the text stands in a pattern with a gap, each label is a word, and a masked language model says which word
fills the gap (Schick & Schuetze 2021, https://aclanthology.org/2021.eacl-main.20). It has no new parameters, so it answers before it has
seen a labelled row, and learns from few.

A word of several tokens fills as many masks, its logarithm of probability being the sum of theirs. Since some words are likely whatever
the text, what counts is how much likelier the text makes each: the same pattern without a text is read beside each batch, and subtracted
(Zhao et al. 2021, https://arxiv.org/abs/2102.09690; in this form Holtzman et al. 2021, https://aclanthology.org/2021.emnlp-main.564).
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from yanmo.errors import DataError, ModelError, SettingsError, gather
from yanmo.models.base import Model
from yanmo.tasks import labelled
from yanmo.tasks.base import Answer, Loss
from yanmo.tasks.labelled import Worded
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer

_MASK, _TEXTS = "[MASK]", ("{text}", "{pair}")  # of a pattern, whatever a tokeniser calls its own mask
_PARTS = re.compile(r"(\s*(?:\{text\}|\{pair\}|\[MASK\]))")


class Settings(labelled.Settings):
    name: Literal["cloze"] = "cloze"
    pattern: str = Field(
        "{text} [MASK]",
        description="what is read: {text}, of pairs also {pair}, and one [MASK] where a label's word is to stand",
    )
    prior: bool = Field(True, description="true: how likely a word is where there is no text is taken off")

    @field_validator("pattern")
    @classmethod
    def _whole(cls, pattern: str) -> str:
        if pattern.count(_MASK) != 1 or pattern.count(_TEXTS[0]) != 1 or pattern.count(_TEXTS[1]) > 1:
            raise ValueError(
                f"expected {{text}} and [MASK] once each, as in '{{text}} It was [MASK].', and of pairs {{pair}}, not {pattern!r}"
            )
        return pattern


class Cloze(Worded):
    """A prepared row holds end to end a row for each length that words have, with as many masks, and in `places` where each begins, ends
    and has its first mask. A batch has all of them, row by row, and at its end those of no text."""

    name = "cloze"
    head = "masked"
    bound = ("pattern", "words", "prior")
    settings: Settings

    def __init__(self, settings: Settings, tokenizer: Tokenizer, labels: Sequence[str]) -> None:
        super().__init__(labels)
        if tokenizer.mask is None:
            raise ModelError("this tokeniser has no [MASK] token, so there is no gap for a word (task.name=cloze)")
        self.settings = settings
        self.tokenizer = tokenizer
        words = self._words()
        self.sizes = sorted({len(word) for word in words})
        first = dict(zip(self.sizes, accumulate([0, *self.sizes[:-1]]), strict=True))
        # Of each token of each word: the number of its label, of its mask among those of a row, and its id.
        tokens = [(label, first[len(word)] + i, id) for label, word in enumerate(words) for i, id in enumerate(word)]
        self.owners, self.gaps, self.ids = torch.tensor(tokens).T
        # The pattern: token ids, the number of a text, None for the gap; and what each text begins with, since the space before a word
        # may be a part of its token.
        parts = [part for part in _PARTS.split(settings.pattern) if part]
        self.spaces = [part[: -len(name)] for name in _TEXTS for part in parts if part.endswith(name)]
        self.layout: list[np.ndarray | int | None] = [self._part(part) for part in parts]
        if tokenizer.cls is not None:
            self.layout.insert(0, np.array([tokenizer.cls], np.int32))
        if tokenizer.sep is not None:
            self.layout.append(np.array([tokenizer.sep], np.int32))
        fixed = self.sizes[-1] + sum(len(part) for part in self.layout if isinstance(part, np.ndarray))
        self.room = settings.max_length - fixed
        if self.room < len(self.spaces):
            raise SettingsError(
                f"task.max_length: {settings.max_length} tokens, of which the pattern alone takes {fixed}; give more"
            )
        self.blank = self._laid_out(Example(()), [np.empty(0, np.int32)] * len(self.spaces))

    def _words(self) -> list[list[int]]:
        """The tokens of each label's word as they stand in the gap. Raises SettingsError for words that can't be told apart."""
        space = " " if re.search(r"\s\[MASK\]", self.settings.pattern) else ""
        words = [self.tokenizer.encode(space + self.settings.words[label], special=False) for label in self.labels]
        seen: dict[tuple[int, ...], str] = {}
        faults = []
        for label, word in zip(self.labels, words, strict=True):
            said = f"{label}: '{self.settings.words[label]}'"
            if not word or self.tokenizer.unknown in word:
                faults.append(f"{said} has characters that the tokeniser does not know")
            elif (other := seen.setdefault(tuple(word), label)) != label:
                faults.append(f"{said} has the same tokens as the word of {other}")
        gather(faults, "task.words: these words can't fill the gap; give others:", SettingsError)
        return words

    def _part(self, part: str) -> np.ndarray | int | None:
        name = part.strip()
        if name == _MASK:
            return None
        return _TEXTS.index(name) if name in _TEXTS else self.tokenizer.encode_all([part])[0]

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        self.check(examples)
        texts = len(self.spaces)
        wrong = [
            f"{e.where}: {len(e.texts)} text" + "s" * (len(e.texts) > 1) for e in examples if len(e.texts) != texts
        ]
        asked = "{text} and {pair}" if texts > 1 else "{text} alone; for pairs write {pair} too"
        gather(wrong, f"{len(wrong):,} rows do not fit task.pattern, which has {asked}:", DataError)
        given = [space + text for e in examples for space, text in zip(self.spaces, e.texts, strict=True)]
        ids = iter(self.tokenizer.encode_all(given))
        return [self._laid_out(e, [next(ids) for _ in e.texts]) for e in examples]

    def _laid_out(self, example: Example, texts: Sequence[np.ndarray]) -> Example:
        """The example with the pattern round the tokens of its texts, which are cut at their ends, the longest first, where there is no
        room for them."""
        half, sizes = self.room // len(texts), [len(text) for text in texts]
        kept = [max(half, self.room - sum(sizes) + size) for size in sizes]
        full = [texts[part][: kept[part]] if isinstance(part, int) else part for part in self.layout]
        gap = next(place for place, part in enumerate(full) if part is None)
        before, after = (np.concatenate([np.empty(0, np.int32), *side]) for side in (full[:gap], full[gap + 1 :]))
        rows = [np.concatenate([before, np.full(size, self.tokenizer.mask), after]) for size in self.sizes]
        ends = np.cumsum([len(row) for row in rows])
        starts = ends - [len(row) for row in rows]
        return replace(
            example, ids=np.concatenate(rows).astype(np.int32), places=np.stack([starts, ends, starts + len(before)], 1)
        )

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        rows, masks, start = [], [], 0
        for example in (*examples, self.blank) if self.settings.prior else examples:
            assert example.ids is not None and example.places is not None  # noqa: S101 (a prepared row)
            rows += [example.ids[begin:end] for begin, end, _ in example.places]
            masks += [
                start + gap + i for (*_, gap), size in zip(example.places, self.sizes, strict=True) for i in range(size)
            ]
            start += len(example.ids)
        return Batch(
            source=pack(rows),
            select=torch.tensor(masks),
            labels=self.wanted(examples),
            rows=tuple(e.id for e in examples),
        )

    def loss(self, model: Model, batch: Batch) -> Loss:
        if batch.labels is None:
            raise DataError(f"rows without a label can't be trained on: {', '.join(batch.rows[:5])}")
        return Loss(F.cross_entropy(self._logits(model, batch), batch.labels, reduction="sum"), len(batch.labels))

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        return self.answers(self._logits(model, batch))

    def _logits(self, model: Model, batch: Batch) -> Tensor:
        """(rows, labels) the logarithm of how likely the text makes each label's word, up to a constant of the row."""
        logits = model.logits(model.hidden(batch)[batch.select]).float()
        logits = logits.reshape(-1, sum(self.sizes), logits.shape[-1])  # (rows, masks, vocabulary)
        owners, gaps, ids = (each.to(logits.device) for each in (self.owners, self.gaps, self.ids))
        sure = logits[:, gaps, ids] - logits.logsumexp(-1)[:, gaps]
        found: Tensor = sure.new_zeros(len(sure), len(self.labels)).index_add(1, owners, sure)
        return found[:-1] - found[-1] if self.settings.prior else found
