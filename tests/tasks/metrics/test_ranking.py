"""Scores equal trec_eval's (pytrec-eval-terrier) to 1e-9, ties and all."""

import numpy as np
import pytest
import pytrec_eval

from yanmo.tasks.metrics import ranking

MEASURES = {
    "map": "map",
    "mrr": "recip_rank",
    "ndcg@3": "ndcg_cut_3",
    "ndcg@10": "ndcg_cut_10",
    "recall@3": "recall_3",
    "recall@10": "recall_10",
}


def drawn(seed: int) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    generator = np.random.default_rng(seed)
    documents = [*(f"d{i}" for i in range(25)), "文档", "é", "D1", "z-1"]
    run, grades = {}, {}
    for query in map(str, range(30)):
        found = generator.permutation(documents)[: generator.integers(1, 29)]
        scores = generator.normal(size=len(found)).round([0, 1, 9][seed % 3])  # many ties, some, none
        run[query] = dict(zip(found.tolist(), scores.tolist(), strict=True))
        judged = generator.permutation(documents)[: generator.integers(1, 12)]
        grades[query] = {document: int(generator.integers(-1, 4)) for document in judged}
    return run, grades


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_reference(seed: int) -> None:
    run, grades = drawn(seed)
    ours = ranking.per_query(run, grades, (3, 10))
    theirs = pytrec_eval.RelevanceEvaluator(grades, {"map", "recip_rank", "ndcg_cut.3,10", "recall.3,10"}).evaluate(run)
    for name, measure in MEASURES.items():
        assert ours[name] == pytest.approx([theirs[query][measure] for query in grades], abs=1e-9), name
    scores = ranking.ranking(run, grades, (3, 10))
    assert scores["rows"] == 30
    assert scores["ndcg@3"] == pytest.approx(np.mean([each["ndcg_cut_3"] for each in theirs.values()]), abs=1e-9)
    assert scores["interval"][0] < scores["ndcg@3"] < scores["interval"][1]
    assert ranking.statistics(run, grades, 10)[:, 0] == pytest.approx(ours["ndcg@10"])


def test_scores_that_single_precision_cannot_tell_apart_are_ties() -> None:
    run = {"q": {"a": 1.0, "b": 1.0 - 1e-9, "c": 0.5}}
    assert ranking.order(run["q"]) == ["b", "a", "c"]
    theirs = pytrec_eval.RelevanceEvaluator({"q": {"a": 1}}, {"recip_rank"}).evaluate(run)
    assert ranking.ranking(run, {"q": {"a": 1}})["mrr"] == theirs["q"]["recip_rank"] == 0.5


def test_by_hand() -> None:
    scores = ranking.ranking({"q": {"x": 3, "y": 2, "z": 1}}, {"q": {"y": 2, "z": 1, "w": 1}}, (2, 10))
    assert scores["map"] == pytest.approx((1 / 2 + 2 / 3) / 3) and scores["mrr"] == 0.5
    assert scores["ndcg@2"] == pytest.approx((2 / np.log2(3)) / (2 + 1 / np.log2(3)))
    assert scores["recall@2"] == pytest.approx(1 / 3) and scores["recall@10"] == pytest.approx(2 / 3)


def test_a_query_without_answers_scores_nothing_and_one_without_grades_is_not_asked() -> None:
    scores = ranking.ranking({"a": {"x": 1}, "b": {"x": 1}}, {"a": {"x": 1}, "c": {"x": 1}})
    assert scores["rows"] == 2 and scores["map"] == scores["mrr"] == scores["ndcg@10"] == 0.5
