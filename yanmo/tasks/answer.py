"""Extractive question answering: the piece of a context that answers a question, or that there is none.

A context that is longer than a row of the model is read in windows that overlap, and a question without an answer by the score of the first
token (Devlin et al. 2019, https://aclanthology.org/N19-1423, sections 4.2 and 4.3, and the code beside it). A row's windows stand together
in one Example, are rows of their own in a Batch, and have one answer.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from yanmo.models.base import Model
from yanmo.settings import Block
from yanmo.tasks.base import Answer, Loss, Scores, Task
from yanmo.tasks.metrics import answers as metrics
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.clean import language
from yanmo.text.forms import NOWHERE, Mark
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer

_BEST = 20  # pieces of a window that are compared with those of others, and share the probability
_UNKNOWN = -100  # where an answer is that nobody knows the place of: nothing is learnt from it


class Settings(Block):
    name: Literal["answer"] = "answer"
    max_length: int = Field(
        384,
        ge=32,
        description="tokens of a window: a question, cut to less than half of it, and a piece of the context",
    )
    stride: int | None = Field(
        None,
        ge=0,
        description="tokens of the context that two neighbouring windows share; null: a quarter of max_length",
    )
    max_answer: int = Field(50, ge=1, description="tokens of the longest answer")

    @model_validator(mode="after")
    def _room(self) -> "Settings":
        if self.shared >= self.max_length // 2 - 4:  # what a question and the special tokens always leave
            raise ValueError(
                f"stride: {self.stride} leaves no room in a window of {self.max_length} tokens; expected less than half"
            )
        return self

    @property
    def shared(self) -> int:
        return self.max_length // 4 if self.stride is None else self.stride


class Answering(Task):
    """The mean of two cross-entropies over the tokens of a window: where the answer begins, and its last token. In a window that does not
    hold the whole answer both are the first token, whose score says that there is none."""

    name = "answer"
    head = "span"
    best = "f1"
    form = "answered"
    labelling = "words"
    settings: Settings

    def __init__(self, settings: Settings, tokenizer: Tokenizer, labels: Sequence[str] = ()) -> None:
        self.settings, self.tokenizer = settings, tokenizer
        # Of the log odds of no answer against the best; None: there always is one.
        self.threshold: float | None = None

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        return self.tokenizer.tokenise_windows(examples, self.settings.max_length, self.settings.shared)

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        """A row of its source is a window; `labels` (windows, 2) its answer's first and last token; `evidence` (tokens, 3) the example that
        each token is of, and the characters (from, to) of the context that it stands for."""
        ids, types, targets, evidence = [], [], [], []
        for row, example in enumerate(examples):
            assert example.ids is not None and example.places is not None and example.types is not None  # noqa: S101 (`prepare`)
            cuts = np.flatnonzero(np.diff(example.places[:, 0])) + 1
            for start, end in pairwise([0, *cuts.tolist(), len(example.ids)]):
                ids.append(example.ids[start:end])
                types.append(example.types[start:end])
            targets.append(target(example.marks, example.places))
            evidence.append(np.column_stack([np.full(len(example.ids), row), example.places[:, 1:]]))
        return Batch(
            source=pack(ids, types),
            labels=torch.from_numpy(np.concatenate(targets)),
            evidence=torch.from_numpy(np.concatenate(evidence)),
            rows=tuple(e.id for e in examples),
            examples=tuple(examples),
        )

    def loss(self, model: Model, batch: Batch) -> Loss:
        assert batch.labels is not None  # noqa: S101 (`batch`)
        logits = batch.source.padded(model.head(model.hidden(batch), batch.source).float(), -math.inf)
        total = F.cross_entropy(logits, batch.labels, ignore_index=_UNKNOWN, reduction="sum") / 2
        return Loss(total, int((batch.labels[:, 0] != _UNKNOWN).sum()))

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        logits = model.head(model.hidden(batch), batch.source).float()
        return [
            self._answer(example.texts[1], nothing, pieces, self.threshold)
            for example, (nothing, pieces) in zip(batch.examples, self._found(logits, batch), strict=True)
        ]

    def opinions(self, model: Model, batch: Batch) -> list[dict[Mark, float]]:
        """Of each row the probabilities of the best pieces, characters (from, to) without white space at their ends, since other tokenisers
        may not have it there; and at NOWHERE that of no answer."""
        logits = model.head(model.hidden(batch), batch.source).float()
        said = []
        for example, (nothing, pieces) in zip(batch.examples, self._found(logits, batch), strict=True):
            places = [NOWHERE, *(stripped(example.texts[1], *piece) for piece in [*pieces][:_BEST])]
            said.append(_summed(zip(places, _shares(nothing, [*pieces.values()][:_BEST]).tolist(), strict=True)))
        return said

    def join(
        self,
        members: Sequence["Answering"],
        opinions: Sequence[Sequence[Mapping[Mark, float]]],
        examples: Sequence[Example],
    ) -> list[Answer]:
        """A piece counts as much as the members together give to it; one that is not among a member's best gets nothing from that one."""
        known = [member.threshold for member in members if member.threshold is not None]
        threshold = sum(known) / len(known) if known else None
        answers = []
        for example, said in zip(examples, zip(*opinions, strict=True), strict=True):
            scores = {
                place: math.log(max(share, 1e-300))
                for place, share in _summed(chain(*(s.items() for s in said))).items()
            }
            nothing = scores.pop(NOWHERE)
            best = sorted(scores, key=lambda place: -scores[place])
            answers.append(self._answer(example.texts[1], nothing, {place: scores[place] for place in best}, threshold))
        return answers

    def _found(self, logits: Tensor, batch: Batch) -> Iterator[tuple[float, dict[Mark, float]]]:
        """logits (tokens, 2) -> of each example the score of no answer, the least of all windows, and the best pieces of the context,
        characters (from, to) -> score, the best first."""
        run, longest = batch.source, self.settings.max_answer
        assert batch.evidence is not None  # noqa: S101 (`batch`)
        places = run.padded(batch.evidence, -1)
        inside = run.padded(torch.where(batch.evidence[:, 1:2] >= 0, logits, -math.inf), -math.inf)
        begin, end = inside.unbind(-1)
        end = F.pad(end, (0, longest - 1), value=-math.inf).unfold(1, longest, 1)  # of each token and those behind it
        pieces = (begin[:, :, None] + end).flatten(1)  # (windows, tokens * longest)
        scores, which = pieces.topk(min(_BEST, pieces.shape[1]))
        first = which // longest
        starts = places[:, :, 1].gather(1, first)
        ends = places[:, :, 2].gather(1, (first + which % longest).clamp(max=places.shape[1] - 1))
        windows = torch.bincount(places[:, 0, 0]).tolist()
        nothing = torch.split(logits[run.starts].sum(-1), windows)
        found = torch.split(torch.stack([starts.double(), ends.double(), scores.double()], -1), windows)
        for without, held in zip(nothing, found, strict=True):
            ranked = sorted(held.flatten(0, 1).tolist(), key=lambda piece: -piece[2])
            best: dict[Mark, float] = {}
            for start, stop, score in ranked:
                if score > -math.inf:
                    best.setdefault((int(start), int(stop)), score)  # one that stands in two windows counts once
            yield float(without.min()), best

    def _answer(self, context: str, nothing: float, pieces: Mapping[Mark, float], threshold: float | None) -> Answer:
        kept = list(pieces.items())[:_BEST]
        shares = _shares(nothing, [score for _, score in kept])
        odds = nothing - kept[0][1] if kept else math.inf
        if not kept or (threshold is not None and odds > threshold):
            found, share = NOWHERE, shares[0]
        else:
            found, share = stripped(context, *kept[0][0]), shares[1]
        start, end = found
        return {
            "answer": context[start:end],
            "start": start,
            "end": end,
            "probability": float(share),
            "no_answer": float(shares[0]),
        }

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        return metrics.answers([e.labels for e in examples], [a["answer"] for a in answers], measure(examples))

    def cells(self, answer: Answer) -> Mapping[str, str | float]:
        return {name: answer[name] for name in ("answer", "start", "end", "probability")}

    def calibrate(
        self, train: Sequence[Example], dev: Sequence[Example], answers: Callable[[], Sequence[Answer]]
    ) -> str:
        """Where some of the training rows have no answer: the threshold with the best F1 on the dev rows."""
        if all(e.labels for e in train):
            return ""
        self.threshold = None  # so that every answer is the best piece
        given, judged = answers(), measure(dev)
        odds = np.array(
            [math.log(max(a["no_answer"], 1e-300)) - math.log(max(a["probability"], 1e-300)) for a in given]
        )
        gains = [(not e.labels) - judged(e.labels, a["answer"])[1] for e, a in zip(dev, given, strict=True)]
        order = np.argsort(-odds)
        silent = int(np.argmax(np.append(0, np.cumsum(np.array(gains)[order]))))  # rows that had better have no answer
        steps = np.concatenate([[math.inf], odds[order], [-math.inf]])
        self.threshold = float(steps[silent : silent + 2].mean())
        return "always_answering" if silent else ""

    def tensors(self) -> dict[str, Tensor]:
        return {} if self.threshold is None else {"threshold": torch.tensor(self.threshold, dtype=torch.float64)}

    def take(self, tensors: dict[str, Tensor]) -> None:
        self.threshold = float(tensors["threshold"])


def _summed(shares: Iterable[tuple[Mark, float]]) -> dict[Mark, float]:
    found: dict[Mark, float] = {}
    for place, share in shares:
        found[place] = found.get(place, 0.0) + share
    return found


def _shares(nothing: float, pieces: Sequence[float]) -> np.ndarray:
    """(1 + pieces,) the probabilities that belong to the scores of no answer and of pieces."""
    scores = np.array([nothing, *pieces])
    shares: np.ndarray = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    return shares


def measure(examples: Sequence[Example]) -> metrics.Measure:
    """How answers in the language of these rows are usually scored."""
    if language([e.texts[0] for e in examples]) == "zh":
        return metrics.cmrc
    return metrics.squad1 if all(e.labels for e in examples) else metrics.squad2


def target(marks: Sequence[Mark], places: np.ndarray) -> np.ndarray:
    """(windows, 2) the first and the last token, counted in each window of a row, of the first answer whose place is known; 0, 0 where a
    window does not hold the whole of it, _UNKNOWN where no place is known. places: (tokens, 3), see `Tokenizer.tokenise_windows`."""
    window, begin, end = places.T
    sizes = np.bincount(window)
    if not marks:
        return np.zeros((len(sizes), 2), np.int64)
    start, stop = next((mark for mark in marks if mark != NOWHERE), NOWHERE)
    held = np.flatnonzero((end > start) & (begin < stop))
    if not len(held):
        return np.full((len(sizes), 2), _UNKNOWN)
    first, last = np.full(len(sizes), len(places)), np.full(len(sizes), -1)
    opening, closing = held[begin[held] == begin[held].min()], held[end[held] == end[held].max()]
    np.minimum.at(first, window[opening], opening)
    np.maximum.at(last, window[closing], closing)
    whole = (first < len(places)) & (last >= 0)
    found = np.stack([first, last], 1) - (np.cumsum(sizes) - sizes)[:, None]
    return np.where(whole[:, None], found, 0)


def stripped(text: str, start: int, end: int) -> Mark:
    """The same piece without white space at its ends, which some tokenisers count to a word."""
    piece = text[start:end]
    return end - len(piece.lstrip()), start + len(piece.rstrip())
