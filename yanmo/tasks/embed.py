"""Sentence vectors: texts that mean the same stand near each other.

What is learnt depends on what the rows are. A text alone: to be told from others, seen twice through different dropout (SimCSE: Gao et al.
2021, https://aclanthology.org/2021.emnlp-main.552). A pair that belongs together: to be found among the second texts of the batch and,
where rows have one, the third texts, which are hard negatives (Henderson et al. 2017, https://arxiv.org/abs/1705.00652). A pair with a
number: to be as near as the number says among the pairs of the batch (CoSENT: Huang et al. 2024,
https://doi.org/10.1109/TASLP.2024.3402087), so that only the order of the numbers counts, of whatever scale they are, which is also
what Spearman's correlation measures; a regression would drive vectors towards cosines that nobody meant.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BeforeValidator, Field
from torch import Tensor
from torch.nn import functional as F

from yanmo.errors import DataError
from yanmo.models.base import Model
from yanmo.settings import Block
from yanmo.tasks import sentence
from yanmo.tasks.base import Answer, Loss, Scores, Task
from yanmo.tasks.metrics.ranking import ranking
from yanmo.tasks.metrics.rating import rating
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer

Kind = Literal["texts", "pairs", "scores"]
_WHAT = {"texts": "a text alone", "pairs": "a pair without a number", "scores": "a pair with a number"}
_BEST = {"texts": "uniformity", "pairs": "ndcg@10", "scores": "spearman"}
_FOUND = 100  # documents that a text finds
_QUERIES = 1024  # that are compared with all documents at once
_PAIRED = 4096  # texts whose pairs say how even vectors lie


class Settings(Block):
    name: Literal["embed"] = "embed"
    max_length: int = Field(256, ge=4, description="longer texts are cut to this many tokens")
    learn: Kind | None = Field(
        None,
        description="texts: each by itself; pairs: that their texts belong together, whatever their numbers; scores: to be as near as the "
        "numbers say; null: by what the rows are",
    )
    temperature: float = Field(
        0.05, gt=0, description="what cosines are divided by; the lower, the more the nearest count"
    )
    pooling: Annotated[
        tuple[sentence.Mode, ...] | None, BeforeValidator(lambda said: (said,) if isinstance(said, str) else said)
    ] = Field(None, description=f"{', '.join(sentence.MODES)}; null: as model.base says it, else mean")


class Compared(dict[str, Any]):
    """A pair's answer, and the vectors that it was made of (texts, width), which go nowhere but to `Embed.score`."""

    vectors: np.ndarray


class Embed(Task):
    """A prepared row holds the ids of its texts end to end, and in `places` where each begins and ends. A batch has all first texts, then
    all second ones, then all third ones."""

    name = "embed"
    head = "base"
    best = _BEST["scores"]
    form = "paired"
    labelling = "numbers"
    bound = ("pooling",)
    settings: Settings

    def __init__(self, settings: Settings, tokenizer: Tokenizer, labels: Sequence[str] = ()) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        self.pooling = sentence.Pooling(settings.pooling or sentence.Pooling.modes)

    @classmethod
    def learnt(cls, settings: Settings, examples: Sequence[Example], where: str) -> None:
        kind = kind_of(examples)
        learn = settings.learn or kind
        if kind != learn and learn != "texts" and (kind, learn) != ("scores", "pairs"):
            raise DataError(f"{where}: task.learn={learn}, but each row is {_WHAT[kind]}; leave task.learn out")
        if learn == "scores" and len({float(e.labels[0]) for e in examples}) < 2:
            raise DataError(
                f"{where}: every pair has the number {examples[0].labels[0]}, so nothing is nearer than anything. For pairs that all "
                "belong together: task.learn=pairs"
            )

    def inherit(self, folder: Path) -> None:
        if self.settings.pooling is None:
            self.pooling = sentence.Pooling(sentence.read(folder).modes)

    def record(self) -> Mapping[str, Any]:
        return self.settings.model_dump(mode="json") | {"pooling": list(self.pooling.modes)}

    def files(self, width: int) -> Mapping[str, str]:
        return sentence.files(self.pooling.modes, width, self.settings.max_length)

    def judged_by(self, examples: Sequence[Example]) -> str:
        return _BEST[kind_of(examples)] if examples else self.best

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        kind_of(examples)
        texts = [replace(e, texts=(text,)) for e in examples for text in e.texts]
        cut = iter([e.ids for e in self.tokenizer.tokenise(texts, self.settings.max_length) if e.ids is not None])
        prepared = []
        for example in examples:
            ids = [next(cut) for _ in example.texts]
            ends = np.cumsum([len(each) for each in ids])
            places = np.stack([ends - [len(each) for each in ids], ends], 1)
            prepared.append(replace(example, ids=np.concatenate(ids), places=places))
        return prepared

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        learn = None if key is None else self.settings.learn or kind_of(examples[:1])
        ids = [[*each] for each in zip(*map(_apart, examples), strict=True)]
        texts = [[*each] for each in zip(*(e.texts for e in examples), strict=True)]
        if learn == "texts":
            ids, texts = [[*chain(*ids)]] * 2, [[*chain(*texts)]] * 2
        scores = torch.tensor([float(e.labels[0]) for e in examples]) if learn == "scores" else None
        return Batch(
            pack([row for each in ids for row in each]),
            labels=scores,
            evidence=_also_right(texts) if learn in ("texts", "pairs") else None,
            rows=tuple(e.id for e in examples),
        )

    def loss(self, model: Model, batch: Batch) -> Loss:
        """Of contrasts a sum over rows; of an order the batch's own, which has no terms that belong to a row."""
        vectors = self._vectors(model, batch)
        if batch.labels is not None:
            first, second = vectors.chunk(2)
            return Loss(_disorder((first * second).sum(-1) / self.settings.temperature, batch.labels), 1)
        assert batch.evidence is not None  # noqa: S101 (a batch to be learnt from)
        rows = len(batch.evidence)
        with torch.autocast(
            vectors.device.type, enabled=False
        ):  # bfloat16 has three digits, and these are divided by 0.05
            near = vectors[:rows] @ vectors[rows:].T / self.settings.temperature
        near = near.masked_fill(batch.evidence, -torch.inf)
        return Loss(F.cross_entropy(near, torch.arange(rows, device=near.device), reduction="sum"), rows)

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        texts = len(batch.source.lengths) // len(batch.rows)
        return _answers(torch.stack(self._vectors(model, batch).chunk(texts), 1).detach().cpu().numpy())

    def join(
        self, members: Sequence["Embed"], opinions: Sequence[Sequence[Answer]], examples: Sequence[Example]
    ) -> list[Answer]:
        """The members' vectors end to end, of norm 1: how near two of these are is the mean of the members' similarities."""
        vectors = [[_vectors_of(answer) for answer in each] for each in opinions]  # (members, rows, texts, width)
        return _answers(np.concatenate([np.array(each) for each in vectors], -1) / np.sqrt(len(members)))

    def _vectors(self, model: Model, batch: Batch) -> Tensor:
        """(texts, width), normed"""
        return self.pooling(model.hidden(batch).float(), batch.source)

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        kind = kind_of(examples)
        if kind == "scores":
            return closeness(examples, np.array([answer["similarity"] for answer in answers]))
        if kind == "texts":
            return {"rows": len(examples), "uniformity": uniformity(np.array([a["vector"] for a in answers]))}
        known = {
            text: vector
            for answer, e in zip(answers, examples, strict=True)
            for text, vector in zip(e.texts, answer.vectors, strict=True)  # type: ignore[attr-defined]  # a Compared
        }
        return retrieval(examples, lambda texts: np.stack([known[text] for text in texts]))

    def cells(self, answer: Answer) -> Mapping[str, str | float]:
        if "vector" in answer:
            return {"vector": " ".join(f"{number:.6g}" for number in answer["vector"])}
        return {"similarity": answer["similarity"]}


def recorded(pooling: sentence.Pooling) -> dict[str, Any]:
    """The record of the task of a folder that sentence-transformers made."""
    longest = {} if pooling.longest is None else {"max_length": pooling.longest}
    return {"name": "embed", "pooling": list(pooling.modes), **longest}


def kind_of(examples: Sequence[Example]) -> Kind:
    """What rows are. Raises DataError where they are not of one kind."""
    kinds: dict[tuple[int, Kind], Example] = {}
    for e in examples:
        kinds.setdefault((len(e.texts), "texts" if len(e.texts) == 1 else "scores" if e.labels else "pairs"), e)
    if len(kinds) > 1:
        told = ", ".join(
            f"{e.where} is {_WHAT[kind]}" + (" and a third text" if texts == 3 else "")
            for (texts, kind), e in kinds.items()
        )
        raise DataError(f"rows of several kinds: {told}. Give rows of one kind")
    return next((kind for _, kind in kinds), "texts")


def _answers(rows: np.ndarray) -> list[Answer]:
    """rows: (rows, texts, width)"""
    if rows.shape[1] == 1:
        return [{"vector": vector} for vector in rows[:, 0].tolist()]
    answers = [Compared(similarity=value) for value in (rows[:, 0] * rows[:, 1]).sum(-1).tolist()]
    for answer, vectors in zip(answers, rows, strict=True):
        answer.vectors = vectors
    return [*answers]


def _vectors_of(answer: Answer) -> np.ndarray:
    """(texts, width)"""
    return answer.vectors if isinstance(answer, Compared) else np.array([answer["vector"]])


def _apart(example: Example) -> list[np.ndarray]:
    assert example.ids is not None and example.places is not None  # noqa: S101 (a prepared row)
    return [example.ids[start:end] for start, end in example.places]


def _also_right(texts: Sequence[Sequence[str]]) -> Tensor:
    """First texts, second texts, and perhaps third ones of each row -> (rows, second and third texts): those that are no wrong answer to
    the first text though they stand in another row, since they are this text itself, or belong to it there."""
    numbers: dict[str, int] = {}
    first, second, *others = (np.array([numbers.setdefault(text, len(numbers)) for text in each]) for each in texts)
    answers = np.concatenate([second, *others])
    partners = (first[:, None] == first).astype(np.float32) @ (second[:, None] == answers).astype(np.float32)
    found = (partners > 0) | (first[:, None] == answers)
    np.fill_diagonal(found, False)
    return torch.from_numpy(found)


def _disorder(near: Tensor, numbers: Tensor) -> Tensor:
    """(pairs,) how near, and how near they should be -> log(1 + the sum of e^(a - b) over pairs a, b of which b should be nearer)"""
    lower = numbers[:, None] < numbers
    return torch.cat([near.new_zeros(1), (near[:, None] - near)[lower]]).logsumexp(0)


# ---- scores, of a model or of anything else that compares texts


def closeness(examples: Sequence[Example], similar: np.ndarray) -> Scores:
    """(rows,) similarities of pairs with numbers -> their correlations with these; `interval` is of Spearman's."""
    found = rating(np.array([float(e.labels[0]) for e in examples]), similar)
    return {name: found[name] for name in ("rows", "pearson", "spearman", "interval")}


def retrieval(examples: Sequence[Example], vectors: Callable[[list[str]], Any]) -> Scores:
    """How well each first text of pairs finds the second text of its rows among all second and third ones, by its nearest 100, without
    itself (`rows`: of the distinct first texts). vectors: texts -> (texts, width) of norm 1, dense or sparse."""
    queries = {text: number for number, text in enumerate(dict.fromkeys(e.texts[0] for e in examples))}
    documents = {text: number for number, text in enumerate(dict.fromkeys(t for e in examples for t in e.texts[1:]))}
    grades: dict[str, dict[str, int]] = {str(number): {} for number in queries.values()}
    for e in examples:
        grades[str(queries[e.texts[0]])][str(documents[e.texts[1]])] = 1
    asked, there = vectors([*queries]), vectors([*documents]).T
    itself = [documents.get(text) for text in queries]
    run = {}
    for begin in range(0, len(queries), _QUERIES):
        block = asked[begin : begin + _QUERIES] @ there
        for number, row in enumerate(block.toarray() if hasattr(block, "toarray") else block, begin):
            if itself[number] is not None and str(itself[number]) not in grades[str(number)]:
                row[itself[number]] = -np.inf
            best = np.argpartition(-row, min(_FOUND, len(row)) - 1)[:_FOUND]
            run[str(number)] = {str(place): float(row[place]) for place in best if row[place] > -np.inf}
    return ranking(run, grades)


def uniformity(vectors: np.ndarray) -> float:
    """How evenly unit vectors (rows, width) lie: the negative logarithm of the mean of e^(-2 d^2) over the distances d of all pairs (of the
    first 4,096), 0 where they are one (Wang & Isola 2020, https://arxiv.org/abs/2005.10242, with the sign turned)."""
    rows = vectors[:_PAIRED]
    if len(rows) < 2:
        return 0.0
    near = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    return -float(np.log(np.exp(4 * (near - 1)).mean()))
