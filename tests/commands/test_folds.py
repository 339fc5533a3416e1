"""Cross-validation: what is in a fold, that a fold is a run like any other, what all of them say together, what is told of mistakes."""

import itertools
import json
import os
import re
import signal
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

import yanmo
from tests.reliability.rows import FOLDED, ROWS, Row, digest, settings, write_data
from yanmo import fit, report
from yanmo.commands import folds
from yanmo.errors import DataError, Interrupted, ModelError, SettingsError
from yanmo.tasks import TASKS
from yanmo.text import sources
from yanmo.text.sources import Example

CLASSIFY, RATE = TASKS["classify"][1], TASKS["rate"][1]
WORDS = [
    f"{a}{b}" for a in ("river", "stone", "cloud", "ember", "meadow", "harbour", "lantern") for b in "abcdefghijkl"
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    yanmo.finetune(**settings(FOLDED, data, run))
    return run


def rows(labels: list[str]) -> list[Example]:
    """A row of each label; no two texts resemble one another."""
    draws = np.random.default_rng(0).permuted(np.tile(WORDS, (len(labels), 1)), axis=1)
    return [
        Example((" ".join(words[:6]),), (label,), file="a.tsv", line=line)
        for line, (words, label) in enumerate(zip(draws, labels, strict=True), 2)
    ]


LABELS = {  # the labels of the rows, and how the sizes of folds may differ
    "as many of each": (["a", "b", "c"] * 40, 0),
    "few of one": (["a"] * 90 + ["b"] * 5 + ["c"] * 5, 1),
    "two rows each": ([f"l{i}" for i in range(50)] * 2, 2),
}


@pytest.mark.parametrize("name", LABELS)
def test_folds_part_the_rows(name: str) -> None:
    """Each row is scored once, by a model that neither learnt it nor chose by it; folds are of one size, for each label."""
    labels, apart = LABELS[name]
    every = rows(labels)
    found = folds.divided({"train": every}, 5, CLASSIFY)
    assert sorted(row.line for parts in found for row in parts["test"]) == [row.line for row in every]
    for parts in found:
        assert sorted(row.line for part in parts.values() for row in part) == [row.line for row in every]
        assert parts["dev"] and len(parts["train"]) > len(parts["dev"])
        assert {label for row in parts["train"] for label in row.labels} == {*labels}
    sizes = [len(parts["test"]) for parts in found]
    assert max(sizes) - min(sizes) <= apart
    for label in {*labels}:
        counts = [sum(row.labels == (label,) for row in parts["test"]) for parts in found]
        assert max(counts) - min(counts) <= 1
    assert folds.divided({"train": every}, 5, CLASSIFY) == found


def test_what_resembles_stays_in_one_fold() -> None:
    every = rows(["a", "b"] * 50)
    near = [Example((row.texts[0] + " once more",), row.labels, file="b.tsv", line=row.line) for row in every[:30]]
    equal = [Example((f"{row.texts[0].upper()}!",), row.labels, file="c.tsv", line=row.line) for row in every[:30]]
    for parts in folds.divided({"train": [*every, *near, *equal]}, 4, RATE):
        there = Counter(row.line for row in parts["test"])
        assert all(there[row.line] in (0, 3) for row in every[:30])


def test_where_all_rows_resemble_one_another(capsys: pytest.CaptureFixture[str]) -> None:
    every = [Example((f"The same sentence but for the number {i // 2}",), ("1",), file="a.tsv") for i in range(40)]
    found = folds.divided({"train": every}, 4, RATE)
    assert [len(parts["test"]) for parts in found] == [10, 10, 10, 10]
    assert all({*Counter(row.texts for row in parts["test"]).values()} == {2} for parts in found)
    assert "warning: 40 of 40 rows resemble one another, more than a fold has" in capsys.readouterr().err


def test_a_label_of_one_row_is_learnt_by_all(capsys: pytest.CaptureFixture[str]) -> None:
    every = rows(["a", "b"] * 30 + ["rare"])
    found = folds.divided({"train": every}, 3, CLASSIFY)
    assert all(every[-1] in parts["train"] for parts in found)
    assert sum(len(parts["test"]) for parts in found) == 60
    assert "1 row with labels that only one fold has: every model learns them" in capsys.readouterr().err


def test_given_dev_rows_are_those_of_every_fold_that_is_not_scored_on_them() -> None:
    every, dev = rows(["a", "b"] * 10), [Example(("another text",), ("a",)), Example(("one more text",), ("b",))]
    for parts in folds.divided({"train": every, "dev": [*dev, *every[:4]]}, 2, CLASSIFY):
        assert parts["dev"] == [*dev, *(row for row in every[:4] if row not in parts["test"])]
        assert len(parts["train"]) + len(parts["test"]) == 20


TOO_FEW = {
    "different texts": (rows(["a"]) * 9, 2, "1 different text can't make 2 folds"),
    "rows": (
        rows(["a", "b"]),
        3,
        "a.tsv: 2 different texts can't make 3 folds; give a smaller data.folds=... or more rows",
    ),
    "labels": (rows(["a", "b", "c"]), 3, "a.tsv: 3 rows can't make 3 folds"),
    "to choose by": (rows(["a", "b"] * 3), 2, "a.tsv: 6 rows can't make 2 folds"),
}


@pytest.mark.parametrize("name", TOO_FEW)
def test_too_few_rows(name: str) -> None:
    every, count, said = TOO_FEW[name]
    with pytest.raises(DataError, match=re.escape(said)):
        folds.divided({"train": every}, count, CLASSIFY)


def test_what_all_folds_say(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    asked = settings(FOLDED, data, run, steps=30)
    metrics = yanmo.finetune(**asked)
    said = capsys.readouterr().err
    assert metrics == json.loads((run / "metrics.json").read_text())

    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert [line["where"] for line in lines] == [f"{data / 'train.tsv'}:{number}" for number in range(2, 242)]
    truths, guesses = [line["truth"][0] for line in lines], [line["label"] for line in lines]
    pooled = metrics["pooled"]
    assert pooled["accuracy"] == pytest.approx(accuracy_score(truths, guesses), abs=1e-9)
    assert pooled["macro_f1"] == pytest.approx(f1_score(truths, guesses, average="macro"), abs=1e-9)
    assert pooled["interval"][0] <= pooled["macro_f1"] <= pooled["interval"][1] and pooled["rows"] == 240

    found = [json.loads((run / "folds" / str(number) / "metrics.json").read_text()) for number in (1, 2, 3)]
    for number, fold in enumerate(found, 1):
        own = [(t, g) for t, g, line in zip(truths, guesses, lines, strict=True) if line["fold"] == number]
        assert fold["test"]["accuracy"] == pytest.approx(statistics.mean(t == g for t, g in own), abs=1e-9)
        assert fold["test"]["rows"] == len(own) == 80
        assert metrics["folds"][number - 1]["test"] == fold["test"]
    scores = [fold["test"]["macro_f1"] for fold in found]
    assert metrics["mean"]["macro_f1"] == pytest.approx(np.mean(scores), abs=1e-9)
    assert metrics["deviation"]["macro_f1"] == pytest.approx(np.std(scores, ddof=1), abs=1e-9)
    theirs = [fold["baseline"]["svm"]["macro_f1"] for fold in found]
    assert metrics["baseline"]["svm"]["mean"]["macro_f1"] == pytest.approx(np.mean(theirs), abs=1e-9)
    assert metrics["cost"]["steps"] == 90 and metrics["rows"] == 240 and metrics["headline"] == "macro_f1"

    mean, deviation = metrics["mean"]["macro_f1"], metrics["deviation"]["macro_f1"]
    assert f"3 folds: 240 rows, accuracy {metrics['mean']['accuracy']:.4f} ±" in said
    assert f"macro F1 {mean:.4f} ± {deviation:.4f} (all answers together {pooled['macro_f1']:.4f} [95%" in said
    assert f"ahead in {sum(s > t for s, t in zip(scores, theirs, strict=True))} of 3 folds." in said
    wrong = [line["where"] for line, t, g in zip(lines, truths, guesses, strict=True) if t != g]
    errors = [json.loads(line) for line in (run / "errors.jsonl").read_text().splitlines()]
    assert sorted(f"{error['file']}:{error['line']}" for error in errors) == sorted(wrong)
    assert metrics["slices"]["score"] == pytest.approx(pooled["accuracy"], abs=1e-9)
    page = (run / "report.html").read_text()
    for part in (
        "All answers together",
        "Confusions",
        "Calibration",
        "Slices",
        *(["Worst errors"] if wrong else []),
        "without data.folds",
        report.number(pooled["interval"][0]),
    ):
        assert part in page
    assert yanmo.finetune(**asked) == metrics  # it is finished
    assert yanmo.doctor(run)[str(run)] | {"state": "finished", "faults": []} == yanmo.doctor(run)[str(run)]
    assert yanmo.load(run / "folds" / "2").predict(["w1 good great"])[0]["label"]
    with pytest.raises(ModelError, match=r"no config.json here.* each fold is a model: open .*folds/1"):
        yanmo.load(run)
    with pytest.raises(SettingsError, match=r"a fold of .*; give run="):
        yanmo.finetune(**{**asked, "run": str(run / "folds" / "4")})
    yanmo.finetune(**{**asked, "force": True, "data": {"train": asked["data"]["train"], "folds": 2}})
    assert sorted(path.name for path in (run / "folds").iterdir()) == ["1", "2"]


def test_a_fold_is_a_run_like_any_other(data: Path, whole: Path, tmp_path: Path) -> None:
    """Trained and scored on the same rows given as files, a model is the same to the bit."""
    asked = settings(FOLDED, data, tmp_path / "plain")
    parts = folds.divided({"train": sources.read(data / "train.tsv")}, 3, CLASSIFY)[1]
    for name, part in parts.items():
        lines = "".join(f"{row.labels[0]}\t{row.texts[0]}\n" for row in part)
        (tmp_path / f"{name}.tsv").write_text("label\ttext\n" + lines)
    metrics = yanmo.finetune(**{**asked, "data": {name: tmp_path / f"{name}.tsv" for name in parts}})
    fold = whole / "folds" / "2"
    found = json.loads((fold / "metrics.json").read_text())
    assert {**found, "cost": None} == {**metrics, "cost": None}
    assert (fold / "model.safetensors").read_bytes() == (tmp_path / "plain" / "model.safetensors").read_bytes()


SEVERAL = Row("finetune", more={"task": {"several": True}})
TASKS_OF = {
    **{
        name: row
        for name, row in ROWS.items()
        if row.verb == "finetune" and name not in ("classify", "classify, averaged")
    },
    "classify, several": SEVERAL,
}


@pytest.mark.parametrize("name", TASKS_OF)
def test_every_task(name: str, data: Path, tmp_path: Path) -> None:
    row = TASKS_OF[name]
    asked = settings(Row(row.verb, row.train, row.more, rows=row.rows, folds=2), data, tmp_path / "run", steps=2)
    metrics = yanmo.finetune(**asked)
    key = metrics["headline"]
    assert metrics["mean"][key] == pytest.approx(statistics.mean(fold["test"][key] for fold in metrics["folds"]))
    # Vectors of texts that two models made can't be compared.
    assert (key in metrics["pooled"]) == (name != "embed, texts alone")
    for baseline in metrics["baseline"].values():
        assert baseline["mean"].keys() == baseline["deviation"].keys() and key in baseline["mean"]
    lines = (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()
    assert sum(len(json.loads(line)["truth"]) > 0 for line in lines) or name == "embed, texts alone"
    assert report.headline(metrics) == key


def test_r2_folds_go_on_where_they_were(
    data: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped within a fold, the run ends as one that was not stopped, and trains no finished fold again."""
    run, fold, step = tmp_path / "run", 2, 3
    said = rf"stopped at step {step} of 10; saved in {run}/folds/{fold}\. The same command"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted, match=said):
        steps, left = fit.loop.steps, itertools.count(1 - 10 * (fold - 1) - step)

        def stopping(*arguments: Any, **keys: Any) -> Any:
            for done in steps(*arguments, **keys):
                if not next(left):
                    os.kill(os.getpid(), signal.SIGTERM)
                yield done

        patch.setattr(fit.loop, "steps", stopping)
        yanmo.finetune(**settings(FOLDED, data, run))
    times = [path.stat().st_mtime_ns for path in sorted(run.glob("folds/*/model.safetensors"))]
    assert len(times) == fold - 1
    capsys.readouterr()
    yanmo.finetune(**settings(FOLDED, data, run))
    assert f"going on from step {step} of 10" in capsys.readouterr().err
    assert [path.stat().st_mtime_ns for path in sorted(run.glob("folds/*/model.safetensors"))][: fold - 1] == times
    assert digest(run) == digest(whole)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "one fold": ({"folds": 1}, r"data\.folds: .*greater than or equal to 2"),
    "a test file, too": ({"folds": 3, "test": "dev.tsv"}, r"two tests: data\.test=dev\.tsv, and with data\.folds"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, data: Path, tmp_path: Path) -> None:
    changes, said = MISTAKES[name]
    asked = settings(FOLDED, data, tmp_path / "run")
    with pytest.raises(SettingsError, match=said):
        yanmo.finetune(**{**asked, "data": {**asked["data"], **changes}})


def test_the_test_part_of_a_folder_is_left_alone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    for name in ("train", "dev", "test"):
        (tmp_path / "set" / f"{name}.tsv").write_text((data / f"{name}.tsv").read_text())
    asked = settings(FOLDED, data, tmp_path / "run", steps=1)
    metrics = yanmo.finetune(**{**asked, "data": {"train": tmp_path / "set", "folds": 2}})
    assert metrics["rows"] == 240 and [fold["train"]["rows"] for fold in metrics["folds"]] == [120, 120]
    assert f"{tmp_path}/set/test.tsv: left alone, since with data.folds the training rows" in capsys.readouterr().err
