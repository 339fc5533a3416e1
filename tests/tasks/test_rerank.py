"""Reranking: the loss, the folder of a CrossEncoder, how documents are put in order, what rows are refused."""

import json
import random
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import yanmo
from yanmo.baselines import BASELINES
from yanmo.errors import DataError
from yanmo.tasks import make
from yanmo.tasks.rerank import Rerank, Settings, order
from yanmo.text.batches import Batch, Key, Run
from yanmo.text.sources import Example
from yanmo.text.tokenizer import TokenizerSettings, train

TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
Trained = tuple[Path, dict[str, Any], dict[str, str]]


def rows(*graded: tuple[str, str, str]) -> list[Example]:
    return [
        Example((query, document), (grade,), f"r{i}", "f.tsv", i + 1)
        for i, (query, document, grade) in enumerate(graded)
    ]


SOME = rows(("w1", "w2", "3"), ("w1", "w3", "0"), ("w1", "w4", "1"), ("w5", "w6", "0"), ("w5", "w7", "-1"))
SOME += rows(("w5", "w6 w6", "2"))


class Fake:
    def hidden(self, batch: Batch) -> Tensor:
        return torch.empty(0)

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        return torch.linspace(-2, 2, len(run.lengths))[:, None]


@pytest.mark.parametrize(
    ("highest", "shares"), [(1.0, [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]), (4.0, [0.75, 0.0, 0.25, 0.0, 0.0, 0.5])]
)
def test_grades_are_learnt_as_shares(highest: float, shares: list[float]) -> None:
    tokenizer = train([" ".join(f"w{i}" for i in range(20))] * 3, TokenizerSettings(kind="word", vocab=100))
    task = make(Settings(highest=highest), tokenizer, ["LABEL_0"])
    batch = task.batch(task.prepare(SOME), Key(0, 0, 0))
    assert batch.labels is not None and batch.labels.tolist() == shares
    assert batch.source.types is not None and batch.source.types.tolist()[:6] == [0, 0, 0, 1, 1, 0]
    model: Any = Fake()
    loss = task.loss(model, batch)
    expected = torch.nn.BCEWithLogitsLoss(reduction="sum")(torch.linspace(-2, 2, 6), torch.tensor(shares))
    assert float(loss.total) == pytest.approx(float(expected)) and loss.count == 6
    assert [a["score"] for a in task.predict(model, batch)] == torch.linspace(-2, 2, 6).sigmoid().tolist()


def test_order_is_that_of_trec_eval() -> None:
    import pytrec_eval

    scores = [0.2, 0.9, 0.5, 0.7, 0.1, 0.4]
    run: dict[str, dict[str, float]] = defaultdict(dict)
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for i, (row, score) in enumerate(zip(SOME, scores, strict=True)):
        run[row.texts[0]][str(i)], grades[row.texts[0]][str(i)] = score, int(row.labels[0])
    reference = pytrec_eval.RelevanceEvaluator(grades, {"ndcg_cut.10", "map", "recip_rank"}).evaluate(run)
    found = order(SOME, scores)
    assert found["rows"] == 2
    for ours, theirs in (("ndcg@10", "ndcg_cut_10"), ("map", "map"), ("mrr", "recip_rank")):
        expected = sum(query[theirs] for query in reference.values()) / 2
        assert found[ours] == pytest.approx(expected, abs=1e-9) and expected < 1
    assert order(rows(("a", "b", "0.5"), ("a", "c", "1")), [0.1, 0.2])["ndcg@10"] == 1  # a grade need not be whole


def corpus(folder: Path) -> dict[str, str]:
    """Every document repeats the question; relevant is the one that gives a reason, and a guess is better than nothing."""
    generator = random.Random(0)
    names = {"train": 80, "dev": 16, "test": 16}
    said = {"because": 2, "perhaps": 1, "whatever": 0, "never": 0}
    for name, count in names.items():
        with (folder / f"{name}.jsonl").open("w") as file:
            for i in range(count):
                query = f"why {generator.choice(['red', 'green', 'blue'])} {name}{i}"
                for word in generator.sample(sorted(said), 4):
                    document = f"{word} w{generator.randrange(30)} {query}"
                    file.write(json.dumps({"query": query, "document": document, "relevance": said[word]}) + "\n")
    return {name: str(folder / f"{name}.jsonl") for name in names}


def settings(run: Path, data: dict[str, str], steps: int = 60) -> dict[str, Any]:
    return {
        "run": str(run),
        "machine": {"threads": 1, "precision": "float32"},
        "model": {"size": TINY},
        "tokenizer": {"kind": "word", "vocab": 400},
        "data": data,
        "task": {"name": "rerank", "max_length": 16, "highest": 2},
        "train": {"steps": steps, "batch_tokens": 512, "lr": 5e-3, "evaluations": 2},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("rerank")
    data = corpus(folder)
    return folder / "run", yanmo.finetune(**settings(folder / "run", data)), data


ASKED = [("why red", "because w1 why red"), ("why red", "never w2 " * 20), ("why", "perhaps w3")]


def test_it_learns_an_order_and_is_a_cross_encoder(run: Trained) -> None:
    from sentence_transformers import CrossEncoder

    folder, metrics, data = run
    assert metrics["headline"] == "ndcg@10" and metrics["test"]["rows"] == 16
    assert metrics["test"]["ndcg@10"] > 0.93 > 0.85 > metrics["baseline"]["tfidf"]["ndcg@10"]
    ours = torch.tensor([answer["score"] for answer in yanmo.predict(folder, ASKED)])
    opened = CrossEncoder(str(folder), device="cpu", max_length=16)
    assert torch.allclose(torch.from_numpy(opened.predict(ASKED)), ours, atol=1e-6)
    assert ours[0] > 0.5 > ours[1]
    assert yanmo.evaluate(folder, data={"test": data["test"]})["test"] == metrics["test"]
    card = (folder / "README.md").read_text()
    assert "library_name: sentence-transformers\npipeline_tag: text-ranking\n" in card and "LABEL_0" not in card


def test_what_another_tool_saved_answers_and_is_gone_on_with(run: Trained, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    folder, _, data = run
    opened = CrossEncoder(str(folder), device="cpu", max_length=16)
    opened.save_pretrained(str(tmp_path / "theirs"))
    config = json.loads((tmp_path / "theirs/config.json").read_text())
    config.pop("problem_type", None)  # which a CrossEncoder of others has not
    (tmp_path / "theirs/config.json").write_text(json.dumps(config))
    engine = yanmo.load(tmp_path / "theirs")
    assert isinstance(engine.task, Rerank)
    ours = torch.tensor([answer["score"] for answer in engine.predict(ASKED[::2])])
    assert torch.allclose(torch.from_numpy(opened.predict(ASKED[::2])), ours, atol=1e-6)
    keys = settings(tmp_path / "run", data, steps=1) | {"model": {"base": str(tmp_path / "theirs")}, "tokenizer": {}}
    keys["train"] |= {"lr": 1e-6}
    assert yanmo.finetune(**keys)["test"]["ndcg@10"] > 0.9  # the head is the folder's own
    shutil.rmtree(tmp_path / "theirs")


# name: (rows, what is said)
REFUSED = {
    "nothing relevant": (SOME[3:5], "no document is relevant (above 0)"),
    "nothing else": (SOME[:1], "every document is relevant"),
    "a document a query": (SOME[2:4], "every query has one document, so there is nothing to put in order"),
}


@pytest.mark.parametrize(("examples", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(examples: list[Example], said: str) -> None:
    with pytest.raises(DataError) as caught:
        Rerank.learnt(Settings(), examples, "train.tsv")
    assert said in str(caught.value)


def test_the_baseline_goes_by_words() -> None:
    asked = rows(("a cat", "a cat sat", "1"), ("a cat", "a dog sat", "0"), ("a dog", "a cat sat", "1"))
    asked += rows(("a dog", "a dog sat", "0"))
    for found in BASELINES["rerank"](asked, asked, (), None).values():
        assert found["rows"] == 2 and found["mrr"] == pytest.approx((1 + 1 / 2) / 2)
    assert {*BASELINES["rerank"](asked, asked, (), None)} == {"tfidf", "bm25"}
