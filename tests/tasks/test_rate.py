"""Rating: what is found in the rows, what the losses are, that answers come back in the unit of the labels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch

import yanmo
from yanmo import baselines
from yanmo.errors import DataError
from yanmo.tasks import make, restore
from yanmo.tasks.rate import Rate, Settings, lost_of_levels
from yanmo.text import sources
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings, train


class Fake:
    """A model that always says the same."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits

    def hidden(self, batch: Any) -> None:
        return None

    def head(self, hidden: Any, run: Any) -> torch.Tensor:
        return self.logits


@pytest.fixture(scope="module")
def cutter() -> Tokenizer:
    return train(["some words of a text"] * 3, TokenizerSettings(kind="word", vocab=100))


def rows(*labels: str) -> list[Example]:
    return [
        Example((f"words {i}",), (label,) if label else (), f"r{i}", "f.tsv", i) for i, label in enumerate(labels, 1)
    ]


# name: (labels, levels that are asked for, levels that are found)
FOUND: dict[str, tuple[list[str], list[float] | None, list[float]]] = {
    "whole numbers": (["1", "3", "2.0"], None, [1, 2, 3]),
    "one that no row has": (["-1", "1"], None, [-1, 0, 1]),
    "fractions": (["1", "2.5"], None, []),
    "many": (["1", "50"], None, []),
    "any number is asked for": (["1", "2"], [], []),
    "given": (["1", "2.5"], [5, 2.5, 1], [1, 2.5, 5]),
}


@pytest.mark.parametrize(("labels", "asked", "found"), FOUND.values(), ids=FOUND)
def test_what_the_rows_decide(labels: list[str], asked: list[float] | None, found: list[float]) -> None:
    settled = Rate.settle(Settings(levels=asked), rows(*labels))
    assert settled.levels == found and Rate.settle(settled, rows(*labels)) == settled
    assert Rate.learnt(settled, rows(*labels), "f.tsv") == ([f"{level:g}" for level in found] or ["rating"])
    numbers = [float(label) for label in labels]
    assert (settled.middle, settled.spread) == (pytest.approx(np.mean(numbers)), pytest.approx(np.std(numbers)))


def test_faults(cutter: Tokenizer) -> None:
    with pytest.raises(
        DataError, match=r"2 of 3 rows have a rating that is no number.*\n  f.tsv:2: 'good'\n  f.tsv:3: 'nan'"
    ):
        Rate.settle(Settings(), rows("1", "good", "nan"))
    with pytest.raises(DataError, match="no number"):
        Rate.settle(Settings(), [Example(("x",), ("1", "2"), "r", "f.tsv", 1)])
    with pytest.raises(DataError, match="every row has the same rating"):
        Rate.learnt(Settings(levels=[]), rows("1", "1"), "f.tsv")
    with pytest.raises(DataError, match=r"none of the levels 1, 2 .*\n  f.tsv:2: 3"):
        make(Settings(levels=[1, 2]), cutter, ["1", "2"]).prepare(rows("2", "3", ""))


def test_any_number(cutter: Tokenizer) -> None:
    task = make(Settings(levels=[], middle=3.0, spread=2.0), cutter, ["rating"])
    examples = task.prepare(rows("5", "2", "3"))
    batch = task.batch(examples, None)
    model: Any = Fake(torch.tensor([[1.0], [0.5], [-0.5]]))
    assert batch.labels.tolist() == [1.0, -0.5, 0.0]
    loss = task.loss(model, batch)
    assert float(loss.total) == pytest.approx(0 + 1 + 0.25) and loss.count == 3
    answers = task.predict(model, batch)
    assert answers == [{"rating": 5.0}, {"rating": 4.0}, {"rating": 2.0}] and task.cells(answers[0]) == {"rating": 5.0}
    scores = task.score(answers, examples)
    assert scores["pearson"] == pytest.approx(scipy.stats.pearsonr([5, 2, 3], [5, 4, 2])[0], abs=1e-9)
    assert scores["spearman"] == pytest.approx(scipy.stats.spearmanr([5, 2, 3], [5, 4, 2])[0], abs=1e-9)
    assert scores["mae"] == 1.0 and task.problem == "regression" and "accuracy" not in scores
    assert restore(task.record(), cutter, ["rating"]).predict(model, batch) == answers


def test_levels(cutter: Tokenizer) -> None:
    task = make(Settings(levels=[0, 1, 4]), cutter, ["0", "1", "4"])
    examples = task.prepare(rows("4", "0", "1"))
    batch = task.batch(examples, None)
    p = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25], [0.3, 0.6, 0.1]])
    model: Any = Fake(p.log())
    assert batch.labels.tolist() == [2, 0, 1]
    expected = -np.log([(1 - 0.1) * (1 - 0.3), 0.5 * 0.75, (1 - 0.3) * 0.9]).sum()  # above 0?, above 1?
    assert float(task.loss(model, batch).total) == pytest.approx(expected, abs=1e-5)
    answers = task.predict(model, batch)
    assert [a["rating"] for a in answers] == pytest.approx([3.0, 1.25, 1.0])
    assert answers[0]["probabilities"] == pytest.approx({"0": 0.1, "1": 0.2, "4": 0.7})
    scores = task.score(answers, examples)
    truths, guesses = [2, 0, 1], [2, 1, 1]  # at the nearest levels
    assert scores["accuracy"] == pytest.approx(2 / 3)
    kappa = sklearn.metrics.cohen_kappa_score(truths, guesses, weights="quadratic")
    assert scores["quadratic_kappa"] == pytest.approx(kappa, abs=1e-9)


def test_honest_probabilities_lose_least() -> None:
    """The expected loss has no slope where the answer is the distribution that the truths are drawn from; of two levels it is
    cross-entropy; nothing overflows."""
    p = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64)
    logits = p.log().requires_grad_()
    expected = (p * lost_of_levels(logits.expand(4, 4), torch.arange(4))).sum()
    expected.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None and logits.grad.abs().max() < 1e-9
    two = torch.tensor([[0.3, -1.0], [2.0, 1.0]])
    truths = torch.tensor([1, 0])
    plain = torch.nn.functional.cross_entropy(two, truths, reduction="none")
    assert torch.allclose(lost_of_levels(two, truths), plain)
    far = torch.tensor([[-300.0, 0.0, 300.0]], requires_grad=True)
    lost = lost_of_levels(far, torch.tensor([0]))
    lost.sum().backward()  # type: ignore[no-untyped-call]
    assert lost.item() == pytest.approx(900) and far.grad is not None and far.grad.isfinite().all()


def test_baselines() -> None:
    def texts(count: int) -> list[Example]:
        return [Example(("good " * (i % 5) + "film",), (str(i % 5),), f"{i}") for i in range(count)]

    settings = Rate.settle(Settings(), texts(50))
    found = baselines.rate(texts(50), texts(20), (), settings)
    assert {*found} == {"mean", "median", "ridge", "majority", "svm"}
    assert (
        found["mean"]["mae"] == pytest.approx(1.2) and found["mean"]["spearman"] == 0 == found["majority"]["spearman"]
    )
    assert found["svm"]["accuracy"] > found["majority"]["accuracy"] == 0.2 and found["ridge"]["spearman"] > 0.9
    pairs = [Example((f"a b c {i}", f"a b c {i}" if i % 2 else "x y"), (str(i % 2 + 0.5),), f"{i}") for i in range(40)]
    found = baselines.rate(pairs, pairs[:20], (), Rate.settle(Settings(), pairs))
    assert {*found} == {"mean", "median", "ridge", "similarity"} and found["similarity"]["spearman"] > 0.8


@pytest.mark.parametrize("unit", [[0, 1, 2], [0.0, 12.5, 100.0]], ids=["levels", "any number"])
def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: list[float]) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("bad", "fair", "good")
    for part, count in (("train", 90), ("dev", 30), ("test", 30)):
        lines = [f"a {words[i % 3]} film {part}\t{unit[i % 3]}\n" for i in range(count)]
        Path(f"{part}.tsv").write_text("text\tstars\n" + "".join(lines))
    metrics = yanmo.finetune(
        run="run",
        model={"family": "yanmo-cnn", "size": {"hidden_size": 48}},
        tokenizer={"kind": "word", "vocab": 100},
        data={name: f"{name}.tsv" for name in ("train", "dev", "test")},
        task={"name": "rate", "max_length": 16},
        train={"steps": 80, "lr": 5e-3, "batch_tokens": 256, "evaluations": 2},
        machine={"threads": 1},
    )
    assert metrics["headline"] == "spearman" and metrics["test"]["spearman"] > 0.9
    assert ("quadratic_kappa" in metrics["test"]) == (unit == [0, 1, 2])
    assert yanmo.evaluate("run", data={"test": "test.tsv"})["test"] == metrics["test"]
    config = json.loads(Path("run/config.json").read_text())
    assert [*config["id2label"].values()] == (["0", "1", "2"] if unit == [0, 1, 2] else ["rating"])
    answers = [answer["rating"] for answer in yanmo.predict("run", [f"a {word} film test" for word in words])]
    assert answers == pytest.approx(unit, abs=0.35 * unit[-1])
    assert "Spearman" in Path("run/report.html").read_text() and "Spearman" in Path("run/README.md").read_text()


def test_a_regression_of_another_tool(tmp_path: Path, small_folder: Path) -> None:
    import transformers

    config = transformers.AutoConfig.from_pretrained(small_folder, num_labels=1, problem_type="regression")
    torch.manual_seed(0)
    theirs = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    theirs.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((small_folder / "tokenizer.json").read_bytes())
    engine = yanmo.load(tmp_path)
    ids = torch.tensor([engine.tokenizer.encode("a good film")])
    with torch.inference_mode():
        expected = theirs(ids).logits[0, 0].item()
    assert engine.predict(["a good film"])[0]["rating"] == pytest.approx(expected, abs=1e-5)


REAL = {"matching/stsb_en_zh/stsb-zh-dev.csv": [], "sentiment_intensity/sst5/stsa.fine.dev": [0, 1, 2, 3, 4]}


@pytest.mark.parametrize(("name", "levels"), REAL.items(), ids=REAL)
def test_real_sets(shared_data: Path, name: str, levels: list[float]) -> None:
    assert Rate.settle(Settings(), sources.read(shared_data / name, form="rated")).levels == levels
