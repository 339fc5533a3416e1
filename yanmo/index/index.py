"""An index that is asked: documents, found by their words, by their vectors, or by both. Takes vectors, never a model.

Knows no file; `folder` keeps it on the disk.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from yanmo.errors import DataError, ModelError, SettingsError, brief
from yanmo.index import dense, lexical
from yanmo.index.documents import Document
from yanmo.index.ranking import best, fuse

Mode = Literal["lexical", "dense", "hybrid"]
Embed = Callable[[Sequence[str]], np.ndarray]  # texts -> (texts, width)
Score = Callable[
    [Sequence[tuple[str, str]]], Sequence[float]
]  # (query, text) pairs -> how well each text fits its query

PROBE = "To grind ink takes time: 研墨要慢，落笔要稳。"  # by its vector a model is known again
_ALIKE = 0.999  # the cosine of two vectors of the probe, from which on one model made both


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found."""

    document: Document
    score: float  # that it is ranked by: BM25, cosine, the sum of reciprocal ranks, or the reranker's
    match: float  # 0 to 1: the share of the query that it says, or how near it is; of a hybrid search the mean


@dataclass(frozen=True, slots=True)
class About:
    """What an index knows of itself."""

    version: int = 1
    tokens: int = lexical.TOKENS
    answers: bool = False  # whether its documents have some
    model: str | None = None  # whose vectors these are
    threshold: float | None = None  # the least match of an answer
    mode: Mode | None = None  # in which it was tuned


@dataclass(frozen=True)
class Index:
    documents: Sequence[Document]
    lexical: lexical.Lexical
    vectors: np.ndarray | None = None  # (documents, width) of length 1
    probe: np.ndarray | None = None  # (width,) of length 1
    graph: dense.Graph | None = None
    about: About = About()

    @property
    def mode(self) -> Mode:
        """How it is asked where nothing is said."""
        return self.about.mode or ("lexical" if self.vectors is None else "hybrid")

    def search(
        self,
        queries: Sequence[str],
        *,
        k: int = 10,
        mode: Mode | None = None,
        embed: Embed | None = None,
        rerank: Score | None = None,
        depth: int = 100,
    ) -> list[list[Hit]]:
        """At most k documents for each query, the best first.

        embed: the model that made the vectors, which all modes but "lexical" need. rerank: what gives the documents their last order.
        depth: how many of each ranking are joined, or put into a new order. Raises SettingsError for a mode that this index has not,
        ModelError for vectors of another model.
        """
        mode, depth = mode or self.mode, max(k, depth)
        ways: list[Iterator[_Ranking]] = []
        if mode != "dense":
            ways.append(self._by_words(queries, depth))
        if mode != "lexical":
            ways.append(self._by_vectors(queries, depth, self._embedded(queries, embed, mode)))
        found = [self._hits(rankings, depth if rerank else k) for rankings in zip(*ways, strict=True)]
        return [hits[:k] for hits in reranked(queries, found, rerank)] if rerank else found

    def check(self, probe: np.ndarray) -> None:
        """Raise ModelError unless the model that made this vector of PROBE (width,) made the index's vectors, too."""
        assert self.probe is not None  # noqa: S101 (it stands beside vectors)
        if self.probe.shape != probe.shape or self.probe @ probe < _ALIKE:
            raise ModelError(
                f"this index's vectors were made by another model ({self.about.model}; width {len(self.probe)}, this one's is "
                f"{len(probe)}), so they can't be compared. Give that model, or build another index with this one"
            )

    def _embedded(self, queries: Sequence[str], embed: Embed | None, mode: Mode) -> np.ndarray:
        if self.vectors is None or embed is None:
            what = "this index has no vectors" if self.vectors is None else "it needs the model of the index's vectors"
            raise SettingsError(f"mode={mode}: {what}; give model=..., or mode=lexical")
        probe, *vectors = dense.normed(embed([PROBE, *queries]))
        self.check(probe)
        return np.array(vectors)

    def _by_words(self, queries: Sequence[str], depth: int) -> "Iterator[_Ranking]":
        for query in queries:
            try:
                scores, own = self.lexical.scores(query), self.lexical.own_score(query)
            except IndexError as error:
                raise DataError(f"the words of this index are damaged ({brief(error)}); build it anew") from None
            rows = np.flatnonzero(scores)
            yield _Ranking(rows[best(scores[rows], depth)], scores.__getitem__, own or 1)

    def _by_vectors(self, queries: Sequence[str], depth: int, vectors: np.ndarray) -> "Iterator[_Ranking]":
        assert self.vectors is not None  # noqa: S101 (_embedded)
        near = self.graph.nearest(vectors, depth) if self.graph else dense.nearest(vectors, self.vectors, depth)
        for rows, vector in zip(near, vectors, strict=True):
            yield _Ranking(rows[rows >= 0], partial(dense.cosines, self.vectors, vector), 1)

    def _hits(self, rankings: "Sequence[_Ranking]", k: int) -> list[Hit]:
        first = rankings[0]
        rows, scores = (
            fuse([each.rows for each in rankings]) if len(rankings) > 1 else (first.rows, first.scores(first.rows))
        )
        rows = rows[:k]
        matches = np.mean([np.clip(each.scores(rows) / each.whole, 0, 1) for each in rankings], axis=0)
        return [
            Hit(self.documents[row], float(score), float(match))
            for row, score, match in zip(rows.tolist(), scores, matches, strict=False)
        ]


@dataclass(frozen=True)
class _Ranking:
    """What one way of searching says to one query."""

    rows: np.ndarray  # (found,) the numbers of the best documents, the best first
    scores: Callable[[np.ndarray], np.ndarray]  # of any documents, by their numbers
    whole: float  # the score of a document that says just the query


def reranked(queries: Sequence[str], found: Sequence[Sequence[Hit]], score: Score) -> list[list[Hit]]:
    """The hits of each query by what `score` gives for the query and their text, the highest first; of equals the one before."""
    pairs = [(query, hit.document.text) for query, hits in zip(queries, found, strict=True) for hit in hits]
    scores = iter(score(pairs) if pairs else [])
    anew = [[replace(hit, score=float(next(scores))) for hit in hits] for hits in found]
    return [sorted(hits, key=lambda hit: -hit.score) for hits in anew]
