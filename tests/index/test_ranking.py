"""The best of scores, rankings joined, and the nearest of vectors."""

import numpy as np
import pytest

from yanmo.index import dense
from yanmo.index.ranking import RRF, best, fuse


@pytest.mark.parametrize("k", [0, 1, 2, 5, 6, 9])
@pytest.mark.parametrize("scores", [[], [3.0], [1, 2, 2, 0, 2, -1], [0, 0, 0, 0], [-np.inf, 1, 1, -np.inf]])
def test_best_is_a_stable_sort_cut_short(scores: list[float], k: int) -> None:
    expected = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:k]
    assert best(np.array(scores), k).tolist() == expected


def test_fusion_by_hand() -> None:
    """Cormack et al. 2009, equation 1: the sum of 1 / (k + rank) over the rankings that hold a document."""
    rankings = [[7, 3, 5], [3, 9]]
    documents, sums = fuse([np.array(ranking) for ranking in rankings])
    expected = {
        document: sum(1 / (RRF + 1 + ranking.index(document)) for ranking in rankings if document in ranking)
        for document in (3, 5, 7, 9)
    }
    assert documents.tolist() == [3, 7, 9, 5]
    assert sums == pytest.approx([expected[document] for document in documents.tolist()], abs=1e-12)


def test_fusion_of_nothing() -> None:
    nothing = np.empty(0, np.int64)
    assert fuse([nothing, nothing])[0].tolist() == []
    assert fuse([nothing, np.array([4, 2])])[0].tolist() == [4, 2]


def vectors(rows: int, width: int = 32, seed: int = 0) -> np.ndarray:
    """Some that lie on a plane of few dimensions, as those of texts do."""
    generator = np.random.default_rng(seed)
    return dense.normed(generator.standard_normal((rows, 8)) @ np.random.default_rng(9).standard_normal((8, width)))


def test_the_nearest_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    held, asked = vectors(500), vectors(7, seed=1)
    held[400] = held[3]  # an equal one comes later
    expected = np.argsort(-(asked @ held.T), 1, kind="stable")[:, :9]
    for at_once in (1, 1200, 1 << 24):  # a query at a time, some, all
        monkeypatch.setattr(dense, "_AT_ONCE", at_once)
        assert (dense.nearest(asked, held, 9) == expected).all()
    assert dense.nearest(asked, held[:4], 9).shape == (7, 4)
    assert dense.nearest(asked[:0], held, 9).shape[0] == 0


def test_a_vector_of_zeros_stays_one() -> None:
    made = dense.normed(np.array([[0, 0], [3, 4]], np.float16))
    assert made.dtype == np.float32
    assert made.tolist() == [[0, 0], pytest.approx([0.6, 0.8])]


def test_a_graph_finds_nearly_the_same(tmp_path: object) -> None:
    file = tmp_path / "graph.faiss"  # type: ignore[operator]
    held, asked = vectors(3000), vectors(50, seed=1)
    dense.write_graph(held, file)
    found, exact = dense.Graph(file).nearest(asked, 10), dense.nearest(asked, held, 10)
    assert (
        np.mean([len({*some} & {*all}) / 10 for some, all in zip(found.tolist(), exact.tolist(), strict=True)]) > 0.97
    )
