"""Tagging: a label for each word of a text, which says named entities, words (over the characters of a text), or parts of speech.

A word is answered for by its first token. A text of more than `max_length` tokens is read in windows that overlap, each word in the one
where most stands around it, so that no word is cut off, neither in training nor in answers. Tags are decoded together (Viterbi), only as
their scheme allows them; with `crf` a chain that is learnt adds which tag follows which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from yanmo.errors import DataError, SettingsError, gather
from yanmo.models.base import Model
from yanmo.nn import crf
from yanmo.nn.crf import CRF, Chain
from yanmo.settings import Block
from yanmo.tasks import units
from yanmo.tasks.base import Answer, Loss, Scores, Task
from yanmo.tasks.metrics import entities
from yanmo.tasks.units import Units
from yanmo.text import tagging
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example, label_set
from yanmo.text.tagging import OUTSIDE, PLAIN, Span
from yanmo.text.tokenizer import Tokenizer

_WHOLE = 1 << 30  # tokens: more than any text has
_SCALE = 30.0  # of the chain: logits move that much faster at a network's learning rate than its weights do
_OVERLAP = 4  # a window shares at least its fourth part with the next one


class Settings(Block):
    name: Literal["tag"] = "tag"
    max_length: int = Field(256, ge=8, description="longer texts are read in overlapping windows of this many tokens")
    crf: bool = Field(False, description="true: which tag follows which is learnt, too (a conditional random field)")
    scheme: Literal["IOB2", "BIOES", "BMES"] | None = Field(
        None,
        description="how entities or words are written as tags, whatever it is in the rows; null: IOB2, of words BMES",
    )
    units: Units | None = Field(
        None, description="what a text is cut into to be tagged; null: characters where the training rows are"
    )


class Tag(Task):
    """Cross-entropy of each word's tag, or the likelihood of a row's tags together. The order of `labels` is that of the head's outputs."""

    name = "tag"
    head = "tag"
    form = "tagged"
    labelling = "tags"
    bound = ("crf", "units")
    settings: Settings
    module: CRF | None

    def __init__(self, settings: Settings, tokenizer: Tokenizer, labels: Sequence[str]) -> None:
        self.settings, self.tokenizer, self.labels = settings, tokenizer, list(labels)
        self.numbers = {label: number for number, label in enumerate(labels)}
        self.scheme = tagging.scheme_of(labels)
        self.whole = self.scheme != PLAIN and OUTSIDE not in self.numbers  # spans are the words of a text, all of it
        self.best = "accuracy" if self.scheme == PLAIN else "micro_f1"
        self.legal = Chain(
            torch.tensor([[tagging.follows(self.scheme, a, b) for b in labels] for a in labels]),
            torch.tensor([tagging.follows(self.scheme, None, label) for label in labels]),
            torch.tensor([tagging.follows(self.scheme, label, None) for label in labels]),
        )
        with_, bare = tokenizer.encode("a"), tokenizer.encode("a", special=False)
        begin = next(i for i in range(len(with_) + 1) if with_[i : i + len(bare)] == bare)
        self.around = with_[:begin], with_[begin + len(bare) :]  # the special tokens before a text and behind it

    @classmethod
    def settle(cls, settings: Settings, examples: Sequence[Example]) -> Settings:
        return settings.model_copy(update={"units": settings.units or units.units(examples)})

    @classmethod
    def learnt(cls, settings: Settings, examples: Sequence[Example], where: str) -> list[str]:
        rows = [example.labels for example in examples]
        if tagging.recognise(rows) == PLAIN:
            if settings.scheme is not None:
                raise SettingsError(f"task.scheme: the tags of {where} are parts of speech, not spans; leave it out")
            return label_set(examples, where)
        found = {tag for row in rows for tag in row}
        if found <= {OUTSIDE}:
            raise DataError(f"{where}: every tag is O, so there is nothing to learn; expected some such as B-PER")
        outside = [OUTSIDE] if OUTSIDE in found else []
        types = {tagging.part(tag)[1] for tag in found - {OUTSIDE}}
        return [*outside, *tagging.tag_set(types, settings.scheme or ("IOB2" if outside else "BMES"))]

    def own(self, width: int) -> CRF | None:
        return CRF(len(self.labels), scale=_SCALE) if self.settings.crf else None

    # ---- rows

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        cut = self.settings.units or units.units(examples)
        rows = [e if e.marks else replace(e, marks=tuple(units.CUT[cut](e.texts[-1]))) for e in examples]
        found = self.tokenizer.tokenise_marked(self._labelled(rows), _WHOLE)
        return [self._windowed(example) for example in self._apart(found)]

    def _labelled(self, examples: Sequence[Example]) -> list[Example]:
        """The same with the tags in the scheme that is learnt."""
        if self.scheme != PLAIN:
            examples = [replace(e, labels=tuple(tagging.converted(e.labels, self.scheme))) for e in examples]
        known = {*map(self._type, self.labels)}
        strange = [
            (example, sorted({self._type(tag) for tag in example.labels} - known))
            for example in examples
            if not known.issuperset(map(self._type, example.labels))
        ]
        told = ", ".join(sorted(known)[:10]) + (", ..." if len(known) > 10 else "")
        gather(
            [f"{e.where}: '{types[0]}' was never seen in training (known: {told})" for e, types in strange],
            f"{len(strange)} rows bear tags that the model can't know; correct them or train on them:",
            DataError,
        )
        return list(examples)

    def _type(self, tag: str) -> str:
        """What an unknown tag is told by: parts of speech by themselves, spans by their type."""
        return tag if self.scheme == PLAIN or tag == OUTSIDE else tagging.part(tag)[1]

    def _apart(self, examples: Sequence[Example]) -> list[Example]:
        """Rows in which a token stands for several words, as subwords of Chinese do for characters, once more: each word by itself."""
        shared = {
            number
            for number, e in enumerate(examples)
            if e.places is not None and len(np.unique(e.places[e.places[:, 0] >= 0, 0])) < (e.places[:, 0] >= 0).sum()
        }
        # A word stands with the space before it, which is a part of its first token in many vocabularies.
        pieces = {number: list(units.with_spaces(examples[number])) for number in shared}
        known = list({piece for row in pieces.values() for piece in row})
        ids = dict(zip(known, self.tokenizer.encode_all(known), strict=True))
        return [self._joined(e, [ids[p] for p in pieces[n]]) if n in shared else e for n, e in enumerate(examples)]

    def _joined(self, example: Example, words: Sequence[np.ndarray]) -> Example:
        before, after = (np.array(ids, np.int32) for ids in self.around)
        sizes = np.array([len(ids) for ids in words])
        ends = len(before) + np.cumsum(sizes)
        places = np.where((sizes > 0)[:, None], np.stack([ends - sizes, ends], 1), -1)
        return replace(example, ids=np.concatenate([before, *words, after]), places=places)

    def _windowed(self, example: Example) -> Example:
        """A row's windows end to end as its ids, all but a single one of `max_length` tokens; `places` (words, 1): the token that answers
        for each word. For a word of which no token is left, the row's first one does."""
        assert example.ids is not None and example.places is not None  # noqa: S101 (tokenised just now)
        ids, places = example.ids, example.places[:, :1].clip(min=0)
        if not len(ids):  # of a word that the tokeniser drops
            ids = np.array([self.tokenizer.unknown or 0], np.int32)
        longest = self.settings.max_length
        if len(ids) <= longest:
            return replace(example, ids=ids, places=places)
        before, after = (np.array(part, np.int32) for part in self.around)
        body = ids[len(before) : len(ids) - len(after)]
        room = longest - len(before) - len(after)
        count = 1 + -(-(len(body) - room) // (room - room // _OVERLAP))
        starts = np.linspace(0, len(body) - room, count).round().astype(np.int64)
        windows = [part for start in starts for part in (before, body[start : start + room], after)]
        inside = (places - len(before)).clip(min=0) - starts  # (words, windows) from the beginning of each
        best = np.minimum(inside, room - 1 - inside).argmax(1)[:, None]
        places = best * longest + len(before) + np.take_along_axis(inside, best, 1)
        return replace(example, ids=np.concatenate(windows), places=places)

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        longest = self.settings.max_length
        windows, places, size = [], [], 0
        for example in examples:
            assert example.ids is not None and example.places is not None  # noqa: S101 (prepared)
            windows += np.split(example.ids, range(longest, len(example.ids), longest))
            places.append(size + example.places[:, 0])
            size += len(example.ids)
        tags = [self.numbers.get(tag, -1) for example in examples for tag in example.labels]
        select = torch.from_numpy(np.concatenate(places))
        return Batch(
            source=pack(windows),
            labels=torch.tensor(tags) if len(tags) == len(select) and min(tags, default=0) >= 0 else None,
            select=select,
            rows=tuple(example.id for example in examples),
            examples=tuple(examples),
        )

    # ---- the model

    def _emissions(self, model: Model, batch: Batch) -> Tensor:
        """(words, tags)."""
        return model.head(model.hidden(batch), batch.source)[batch.select].float()

    def loss(self, model: Model, batch: Batch) -> Loss:
        if batch.labels is None:
            raise DataError(f"rows without a tag for each word can't be trained on: {', '.join(batch.rows[:5])}")
        emissions = self._emissions(model, batch)
        if self.module is None:
            return Loss(F.cross_entropy(emissions, batch.labels, reduction="sum"), len(batch.labels))
        lengths = [len(example.marks) for example in batch.examples]
        total = crf.negative_log_likelihood(emissions, lengths, batch.labels, self.module.chain)
        return Loss(total, len(batch.labels))

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        emissions = self._emissions(model, batch)
        return self._answers(emissions, self._chain(emissions, self.module), batch.examples)

    def opinions(self, model: Model, batch: Batch) -> list[Tensor]:
        """Of each row (words, tags), how probable each tag is of each word; with a chain, whatever the words around it bear."""
        emissions = self._emissions(model, batch)
        counts = [len(example.marks) for example in batch.examples]
        if self.module is None or not len(emissions):
            return list(torch.split(emissions.softmax(-1).double(), counts))
        lengths = [count for count in counts if count]
        return list(torch.split(crf.marginals(emissions, lengths, self._chain(emissions, self.module)), counts))

    def join(
        self, members: Sequence["Tag"], opinions: Sequence[Sequence[Tensor]], examples: Sequence[Example]
    ) -> list[Answer]:
        """Decoded together from the mean of the words' probabilities; what chains have learnt is in these."""
        shares = [
            torch.cat(list(each))[:, [member.numbers[label] for label in self.labels]]
            for member, each in zip(members, opinions, strict=True)
        ]
        emissions = torch.stack(shares).mean(0).clamp(min=1e-30).log()
        return self._answers(emissions, self._chain(emissions, None), examples)

    def _chain(self, emissions: Tensor, learnt: CRF | None) -> Chain:
        """Which tags may follow which and, where that is learnt, do."""
        legal = Chain(*(part.to(emissions.device) for part in self.legal))
        still = Chain(*(torch.zeros_like(part, dtype=emissions.dtype) for part in legal))
        return (still if learnt is None else learnt.chain).within(legal)

    def _answers(self, emissions: Tensor, chain: Chain, examples: Sequence[Example]) -> list[Answer]:
        """emissions: (words, tags), of all rows end to end"""
        counts = [len(example.marks) for example in examples]
        lengths = [count for count in counts if count]
        if not lengths:
            return [self._answer(example, [], []) for example in examples]
        tags = crf.viterbi(emissions, lengths, chain)
        names = iter([self.labels[number] for number in tags.tolist()])
        rows = [[next(names) for _ in range(count)] for count in counts]
        if self.scheme == PLAIN:
            return [self._answer(example, row, []) for example, row in zip(examples, rows, strict=True)]
        begins = np.cumsum([0, *counts[:-1]])
        spans = [tagging.spans(row) for row in rows]
        ends = [(begin + s.start, begin + s.end - 1) for begin, row in zip(begins, spans, strict=True) for s in row]
        places = torch.tensor(ends, dtype=torch.long, device=emissions.device).reshape(-1, 2)
        sure = iter(crf.span_probabilities(emissions, lengths, tags, chain, places[:, 0], places[:, 1]).tolist())
        return [
            self._answer(example, row, [(span, next(sure)) for span in found])
            for example, row, found in zip(examples, rows, spans, strict=True)
        ]

    # ---- answers

    def _answer(self, example: Example, tags: Sequence[str], spans: Sequence[tuple[Span, float]]) -> Answer:
        text, marks = example.texts[-1], example.marks
        if self.scheme == PLAIN:
            return {"words": units.words_of(example), "tags": list(tags)}
        places = [(marks[span.start][0], marks[span.end - 1][1]) for span, _ in spans]
        if self.whole:
            words = [text[slice(*place)] for place in places]
            return {"words": words} | ({"tags": [span.type for span, _ in spans]} if _typed(self.labels) else {})
        return {
            "entities": [
                {"text": text[start:end], "type": span.type, "start": start, "end": end, "probability": sure}
                for (start, end), (span, sure) in zip(places, spans, strict=True)
            ]
        }

    def _tags(self, answer: Answer, example: Example) -> list[str]:
        """The tags, in IOB2 or PLAIN, that an answer says of a row's words."""
        if self.scheme == PLAIN:
            return list(answer["tags"])
        at = {start: number for number, (start, _) in enumerate(example.marks)}
        behind = {end: number + 1 for number, (_, end) in enumerate(example.marks)}
        if self.whole:
            ends = list(units.placed(answer["words"], example.texts[-1]))
            kinds = answer.get("tags") or [""] * len(ends)
            spans = [Span(kind, at[a], behind[b]) for kind, (a, b) in zip(kinds, ends, strict=True)]
        else:
            spans = [Span(e["type"], at[e["start"]], behind[e["end"]]) for e in answer["entities"]]
        return tagging.written(spans, len(example.marks), "IOB2")

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        guesses = [self._tags(answer, example) for answer, example in zip(answers, examples, strict=True)]
        return scores([example.labels for example in examples], guesses, self.labels)

    def cells(self, answer: Answer) -> Mapping[str, str | float]:
        if "entities" in answer:
            return {"entities": "; ".join(f"{entity['text']} ({entity['type']})" for entity in answer["entities"])}
        tags = answer.get("tags")
        return {"words": " ".join(map("/".join, zip(answer["words"], tags, strict=True)) if tags else answer["words"])}


def scores(truths: Sequence[Sequence[str]], guesses: Sequence[Sequence[str]], labels: Sequence[str]) -> Scores:
    """Rows of tags, in any scheme. labels: those of the task. Of parts of speech the accuracy; of spans precision, recall and F1,
    micro-averaged over all, and of each type; of words that have types also `segmentation_f1`, of the words without them."""
    if tagging.scheme_of(labels) == PLAIN:
        return entities.token_accuracy(truths, guesses)
    true, guessed = ([tagging.converted(row, "IOB2") for row in side] for side in (truths, guesses))
    found = entities.tagging(true, guessed)
    if OUTSIDE in labels:
        return found
    if not _typed(labels):  # words, all of one kind
        return {
            name: found[name]
            for name in ("rows", "micro_precision", "micro_recall", "micro_f1", "interval", "tokens", "accuracy")
        }
    bare = ([[tagging.part(tag)[0] for tag in row] for row in side] for side in (true, guessed))
    return found | {"segmentation_f1": entities.tagging(next(bare), next(bare))["micro_f1"]}


def _typed(labels: Sequence[str]) -> bool:
    return any(tagging.part(label)[1] for label in labels)
