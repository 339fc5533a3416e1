"""Vectors by their cosine. Exact search is one product of matrices, which is fast enough for some 100,000s of vectors; beyond that a
graph by `faiss` (extra `search`) finds nearly the same (HNSW: Malkov & Yashunin 2016, https://arxiv.org/abs/1603.09320).

Knows vectors of length 1 and their numbers, no text. Measured: docs/search.md.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from yanmo.errors import DataError, brief, optional
from yanmo.index.ranking import best

LARGE = 200_000  # vectors, from which a graph is worth its making
_AT_ONCE = 1 << 24  # scores that are held at once
_LINKS, _BREADTH = (
    16,
    256,
)  # of a vector in the graph; the candidates of a query: with these it finds 98 of the 100 nearest


def normed(vectors: np.ndarray) -> np.ndarray:
    """(rows, width) -> float32 of length 1; a row of zeros stays one."""
    single = vectors.astype(np.float32)
    lengths = np.linalg.norm(single, axis=1, keepdims=True)
    return single / np.where(lengths > 0, lengths, 1)


def cosines(vectors: np.ndarray, to: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n,): those of some rows to a vector (width,)."""
    found: np.ndarray = vectors[rows] @ to
    return found


def nearest(queries: np.ndarray, vectors: np.ndarray, k: int) -> np.ndarray:
    """The numbers of the k nearest of vectors (rows, width) to each of queries (n, width): (n, k), at most all rows, the nearest first, of
    equals the earlier."""
    step = max(1, _AT_ONCE // len(vectors))
    found = [
        best(scores, k)
        for begin in range(0, len(queries), step)
        for scores in queries[begin : begin + step] @ vectors.T
    ]
    return np.array(found, np.int64).reshape(len(queries), min(k, len(vectors)))


class Graph:
    """The same by a graph that stands in a file, mapped when it is first asked: some of the nearest may be missed."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @cached_property
    def _inner(self) -> Any:
        faiss = optional("faiss", "search")
        try:
            return faiss.read_index(str(self._file), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise DataError(f"{self._file}: damaged ({brief(error)}); build the index anew") from None

    def nearest(self, queries: np.ndarray, k: int) -> np.ndarray:
        """As the function of this name; -1 where it finds none."""
        self._inner.hnsw.efSearch = max(_BREADTH, k)
        found: np.ndarray = self._inner.search(queries, min(k, self._inner.ntotal))[1]
        return found


def write_graph(vectors: np.ndarray, file: Path) -> None:
    """Make the graph of vectors (rows, width)."""
    faiss = optional("faiss", "search")
    made = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
    made.add(np.ascontiguousarray(vectors))
    faiss.write_index(made, str(file))
