"""Classification: several labels a row, and the ways of weighing rows, each held against what its paper or a library says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import sklearn.utils.class_weight
import torch
from torch.nn import functional as F

import yanmo
from yanmo.errors import DataError, SettingsError
from yanmo.tasks import make, restore
from yanmo.tasks.classify import Classify, Settings
from yanmo.text import sources
from yanmo.text.columns import Columns
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings, train

LABELS = ["a", "b", "c"]
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [-1.0, 4.0, 1.0], [0.0, 0.0, 0.0]])
SINGLE = [("a",), ("c",), ("b",), ("b",)]
SEVERAL = [("a", "c"), ("c",), ("b", "a"), ("b",)]


class Fake:
    """A model that always says the same."""

    def hidden(self, batch: Any) -> None:
        return None

    def head(self, hidden: Any, run: Any) -> torch.Tensor:
        return LOGITS


@pytest.fixture(scope="module")
def cutter() -> Tokenizer:
    return train(["some words of a text"] * 3, TokenizerSettings(kind="word", vocab=100))


def rows(labels: list[tuple[str, ...]]) -> list[Example]:
    return [Example((f"words {i}",), each, f"r{i}", "f.tsv", i) for i, each in enumerate(labels, 1)]


def loss_of(cutter: Tokenizer, labels: list[tuple[str, ...]], **keys: Any) -> float:
    task = make(Settings(several=labels is SEVERAL, **keys), cutter, LABELS)
    loss = task.loss(Fake(), task.batch(task.prepare(rows(labels)), None))  # type: ignore[arg-type]
    assert loss.count == len(labels)
    return float(loss.total)


WEIGHTS = {"a": 0.5, "c": 3.0}  # b: 1


def test_one_label(cutter: Tokenizer) -> None:
    truths, weights = torch.tensor([0, 2, 1, 1]), torch.tensor([0.5, 1.0, 3.0])
    p = LOGITS.softmax(-1)[torch.arange(4), truths]
    for smoothing in (0.0, 0.1):
        for each in (None, weights):
            expected = F.cross_entropy(LOGITS, truths, each, reduction="sum", label_smoothing=smoothing)
            asked = {"label_smoothing": smoothing, "class_weights": WEIGHTS if each is not None else None}
            assert loss_of(cutter, SINGLE, **asked) == pytest.approx(float(expected), abs=1e-5)
    for gamma in (0.5, 2.0):  # Lin et al. 2017, equation 4, and 5 with weights
        focal = (1 - p) ** gamma * -p.log()
        assert loss_of(cutter, SINGLE, focal=gamma) == pytest.approx(float(focal.sum()), abs=1e-5)
        weighted = (weights[truths] * focal).sum()
        assert loss_of(cutter, SINGLE, focal=gamma, class_weights=WEIGHTS) == pytest.approx(float(weighted), abs=1e-5)


def test_several_labels(cutter: Tokenizer) -> None:
    truths = torch.tensor([[1.0, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]])
    weights = torch.tensor([0.5, 1.0, 3.0])
    p = torch.where(truths > 0, LOGITS.sigmoid(), 1 - LOGITS.sigmoid())
    for smoothing in (0.0, 0.1):
        for each in (None, weights):
            spread = truths * (1 - smoothing) + smoothing / 2
            expected = F.binary_cross_entropy_with_logits(LOGITS, spread, pos_weight=each, reduction="sum")
            asked = {"label_smoothing": smoothing, "class_weights": WEIGHTS if each is not None else None}
            assert loss_of(cutter, SEVERAL, **asked) == pytest.approx(float(expected), abs=1e-5)
    assert loss_of(cutter, SEVERAL, focal=2.0) == pytest.approx(float(((1 - p) ** 2 * -p.log()).sum()), abs=1e-5)


def test_focal_loss_has_a_slope_where_the_answer_is_sure() -> None:
    from yanmo.tasks.classify import _lost_of_one, _lost_of_several

    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    lost = _lost_of_one(logits, torch.tensor([0]), None, 0.0, 0.5)
    more = _lost_of_several(logits, torch.tensor([[True, False]]), None, 0.0, 0.5)
    (lost + more).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_what_the_rows_decide(capsys: pytest.CaptureFixture[str]) -> None:
    single = rows([("a",)] * 6 + [("b",)] * 3 + [("c",)])
    settled = Classify.settle(Settings(class_weights="balanced"), single)
    expected = sklearn.utils.class_weight.compute_class_weight(
        "balanced", classes=np.array(LABELS), y=[e.labels[0] for e in single]
    )
    assert settled.several is False
    assert [settled.class_weights[label] for label in LABELS] == pytest.approx(expected.tolist())
    assert Classify.settle(settled, single) == settled and not capsys.readouterr().err
    several = Classify.settle(Settings(class_weights="balanced"), rows([("a", "b"), ("a",), ("a", "c"), ("b",)]))
    assert several.several and several.class_weights == {"a": 1 / 3, "b": 1.0, "c": 3.0}  # no for each yes
    assert "2 of 4 rows bear several labels" in capsys.readouterr().err
    assert Classify.settle(Settings(), rows([("a",)] * 40 + [("a", "b")])).several is False  # a slip, which is refused
    assert Classify.settle(Settings(several=True), single).several is True
    with pytest.raises(SettingsError, match=r"task.class_weights: no row bears 'x'; known: a, b, c"):
        Classify.settle(Settings(class_weights={"a": 1, "x": 2}), single)


def test_rows_of_several_labels_are_refused_where_one_is_asked_for(cutter: Tokenizer) -> None:
    task = make(Settings(several=False), cutter, LABELS)
    with pytest.raises(DataError, match=r"2 of 4 rows with several labels.*task.several=true"):
        task.prepare(rows(SEVERAL))


def test_answers_and_scores(cutter: Tokenizer) -> None:
    """Given from the threshold on; each score is scikit-learn's."""
    task = make(Settings(several=True), cutter, LABELS)
    examples = task.prepare(rows(SEVERAL))
    answers = task.predict(Fake(), task.batch(examples, None))  # type: ignore[arg-type]
    assert [a["labels"] for a in answers] == [["a", "c"], ["a", "b"], ["b", "c"], ["a", "b", "c"]]
    task.take({"thresholds": torch.tensor([0.6, 0.5, 0.73])})
    answers = task.predict(Fake(), task.batch(examples, None))  # type: ignore[arg-type]
    assert [a["labels"] for a in answers] == [["a"], ["b"], ["b", "c"], ["b"]]
    assert task.cells(answers[2]) == {"labels": "b; c", "probabilities": "0.9820; 0.7311"}
    truths = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]])
    guesses = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 1, 0]])
    p = LOGITS.sigmoid().numpy().astype(float)
    scores = task.score(answers, examples)
    assert scores["accuracy"] == sklearn.metrics.accuracy_score(truths, guesses)
    for average in ("micro", "macro", "weighted"):
        found = sklearn.metrics.precision_recall_fscore_support(truths, guesses, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), found[:3], strict=True):
            assert scores[f"{average}_{name}"] == pytest.approx(value, abs=1e-9)
    assert scores["mcc"] == pytest.approx(sklearn.metrics.matthews_corrcoef(truths.ravel(), guesses.ravel()), abs=1e-9)
    assert scores["brier"] == pytest.approx(sklearn.metrics.brier_score_loss(truths.ravel(), p.ravel()), abs=1e-7)
    assert sum(each["rows"] for each in scores["calibration"]) == truths.size

    one = make(Settings(), cutter, LABELS)
    examples = one.prepare(rows(SINGLE))
    scores = one.score(one.predict(Fake(), one.batch(examples, None)), examples)  # type: ignore[arg-type]
    truth, p = np.array([0, 2, 1, 1]), LOGITS.softmax(-1).numpy().astype(float)
    assert scores["brier"] == pytest.approx(((np.eye(3)[truth] - p) ** 2).sum(1).mean(), abs=1e-7)
    sure, right = p.max(1), p.argmax(1) == truth
    bins = [(sure > low) & (sure <= low + 0.1) for low in np.arange(10) / 10]
    assert scores["ece"] == pytest.approx(sum(abs((sure[b] - right[b]).sum()) for b in bins) / 4, abs=1e-5)


def test_thresholds_are_those_of_the_dev_rows(cutter: Tokenizer) -> None:
    task = make(Settings(several=True), cutter, LABELS)
    examples = task.prepare(rows(SEVERAL))

    def answers() -> Any:
        return task.predict(Fake(), task.batch(examples, None))  # type: ignore[arg-type]

    assert task.calibrate(examples, examples, answers) == "without_thresholds"
    tuned = task.score(answers(), examples)
    again = restore(task.record(), cutter, LABELS)
    again.take(task.tensors())
    assert again.several and again.predict(Fake(), again.batch(examples, None)) == answers()
    p, truths = LOGITS.sigmoid().numpy(), again.truths(examples)
    for number, label in enumerate(LABELS):  # no threshold is better
        best = max(sklearn.metrics.f1_score(truths[:, number], p[:, number] >= cut) for cut in np.unique(p))
        assert tuned["labels"][label]["f1"] == pytest.approx(best)


WORDS = ("red", "blue", "old")


@pytest.fixture
def run(tmp_path: Path, small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that learnt three labels by heart."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for part, count in (("train", 120), ("dev", 40), ("test", 40)):
        lines = []
        for _ in range(count):
            chosen = sorted(generator.choice(WORDS, generator.integers(1, 4), replace=False))
            lines.append(f"{' and '.join(chosen)}\t{'|'.join(chosen)}\n")
        Path(f"{part}.tsv").write_text("text\tlabel\n" + "".join(lines))
    return tmp_path / "run"


TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
LEARNER = {"family": "yanmo-cnn", "size": {"hidden_size": 48}}


def learn(run: Path, model: Any = LEARNER, **task: Any) -> dict[str, Any]:
    return yanmo.finetune(
        run=run,
        model=model,
        tokenizer={"kind": "word", "vocab": 100},
        data={name: f"{name}.tsv" for name in ("train", "dev", "test")} | {"columns": {"separator": "|"}},
        task={"max_length": 32, **task},
        train={"steps": 60, "lr": 5e-3, "batch_tokens": 512, "evaluations": 2},
        machine={"threads": 1},
    )


def test_a_run_of_several_labels(run: Path) -> None:
    metrics = learn(run)
    assert metrics["test"]["macro_f1"] > 0.95 and 0 <= metrics["test"]["without_thresholds"] <= 1
    assert {*metrics["baseline"]} == {"majority", "naive_bayes", "svm"} and metrics["baseline"]["svm"]["macro_f1"] > 0.9
    assert 0.2 < metrics["baseline"]["majority"]["macro_f1"] < 0.9
    again = yanmo.evaluate(run, data={"test": "test.tsv"})["test"]  # the separator stands in the run
    assert again == {key: value for key, value in metrics["test"].items() if key != "without_thresholds"}
    assert "red" in (run / "report.html").read_text() and "Labels: blue, old, red" in (run / "README.md").read_text()
    [answer] = yanmo.predict(run, ["red and old"])
    assert answer["labels"] == ["old", "red"]


def test_a_run_of_several_labels_in_other_tools(run: Path) -> None:
    import transformers

    learn(run, {"size": TINY})
    [answer] = yanmo.predict(run, ["red and old"])
    config = json.loads((run / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(run)
    ids = torch.tensor([yanmo.load(run).tokenizer.encode("red and old")])
    with torch.inference_mode():
        found = theirs(ids).logits[0].sigmoid().tolist()
    assert [*answer["probabilities"].values()] == pytest.approx(found, abs=1e-5)
    for name in ("yanmo.json", "manifest.json", "heads.safetensors"):  # as another tool would leave it
        (run / name).unlink(missing_ok=True)
    [foreign] = yanmo.predict(run, ["red and old"])
    assert foreign["probabilities"] == answer["probabilities"]


def test_a_linear_model_beside_several_labels(run: Path) -> None:
    metrics = learn(run, svm=True)
    assert metrics["test"]["macro_f1"] >= metrics["test"]["network_alone"] and metrics["test"]["macro_f1"] > 0.95
    assert yanmo.evaluate(run, data={"test": "test.tsv"})["test"]["macro_f1"] == metrics["test"]["macro_f1"]


def test_weights_move_the_answers(run: Path) -> None:
    """A rare label is given more often where its rows count more."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 200), ("dev", 40), ("test", 100)):
        labels = np.where(generator.random(count) < 0.15, "rare", "usual")
        Path(f"{part}.tsv").write_text(
            "text\tlabel\n" + "".join(f"same words {i % 2}\t{label}\n" for i, label in enumerate(labels))
        )
    given = []
    for weights in (None, {"rare": 20.0}):
        learn(run.with_name(f"run-{bool(weights)}"), class_weights=weights)
        [answer] = yanmo.predict(run.with_name(f"run-{bool(weights)}"), ["same words"])
        given.append(answer["probabilities"]["rare"])
    assert given[0] < 0.3 < 0.6 < given[1]


REAL = {
    "multilabel/goemotions/dev.tsv": (5426, 28),
    "finance/finnl_multilabel_zh/eval_list.json": (884, 17),
}


@pytest.mark.parametrize(("name", "count", "labels"), [(name, *row) for name, row in REAL.items()])
def test_real_sets(shared_data: Path, name: str, count: int, labels: int) -> None:
    found = sources.read(shared_data / name)
    assert (len(found), len(sources.label_set(found, name))) == (count, labels)
    assert Classify.settle(Settings(), found).several


def test_a_sign_between_labels(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\nx,"a, b"\ny,b\n')
    assert [e.labels for e in sources.read(tmp_path / "a.csv", Columns(separator=","))] == [("a", "b"), ("b",)]
    assert [e.labels for e in sources.read(tmp_path / "a.csv")] == [("a, b",), ("b",)]
    learnt = {"text": None, "label": None, "separator": ","}
    assert [e.labels for e in sources.read(tmp_path / "a.csv", learnt=learnt)] == [("a", "b"), ("b",)]
