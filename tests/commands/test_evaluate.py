"""`yanmo evaluate`: what it says of one run and of several, what it writes, and rows that a run knows."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import yanmo
from tests.test_report import check_page
from yanmo.__main__ import main
from yanmo.errors import SettingsError

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
WORDS = {"pos": ("good", "great"), "neg": ("bad", "awful")}
Said = Callable[..., tuple[int, str]]


def rows(part: str, count: int) -> list[tuple[str, str]]:
    """Long ones in English, short ones in Chinese, which say nothing that can be learnt."""
    found = []
    for i in range(count):
        label = ("pos", "neg")[i % 2]
        said = f"{WORDS[label][i // 2 % 2]} {' '.join(f'w{(7 * i + j) % 30}' for j in range(3 + i % 9))} {part}{i}"
        found.append((said if i % 3 else f"中文{'一二三四五'[i % 5]}{part}{i}", label))
    return found


def write(path: Path, found: list[tuple[str, str]]) -> None:
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in found))


def settings(run: str, **keys: Any) -> dict[str, Any]:
    return {
        "run": run,
        "machine": {"threads": 1, "precision": "float32"},
        "model": {"size": TINY},
        "tokenizer": {"vocab": 400},
        "data": {"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv"},
        "task": {"max_length": 24},
        **keys,
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run that has learnt something, `a`, and one that has not, `b`; 10 of its 70 test rows stand in the training rows."""
    folder = tmp_path_factory.mktemp("evaluate")
    train = rows("train", 200)
    for name, part in (("train", train), ("dev", rows("dev", 40)), ("test", [*rows("test", 60), *train[:10]])):
        write(folder / f"{name}.tsv", part)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        learnt = {"batch_tokens": 512, "lr": 5e-3}
        metrics = yanmo.finetune(**settings("a", train={"steps": 60, "evaluations": 2, **learnt}))
        yanmo.finetune(**settings("b", train={"steps": 1, "evaluations": 1, **learnt}))
    return folder, metrics


@pytest.fixture
def here(made: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, which may be changed."""
    shutil.copytree(made[0], tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def said(here: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    def run(*words: str) -> tuple[int, str]:
        status = main(["evaluate", *words, "machine.threads=1"])
        return status, capsys.readouterr().err

    return run


def test_the_report_of_a_run_says_what_stands_behind_its_score(made: tuple[Path, dict[str, Any]]) -> None:
    folder, metrics = made
    assert metrics["leaks"]["train"] == 10 and metrics["leaks"]["of"] == 70
    assert metrics["leaks"]["without"]["rows"] == 60
    assert {*metrics["slices"]["by"]} == {"length", "label", "language"}
    assert sum(each["rows"] for each in metrics["slices"]["by"]["language"]) == 70
    errors = [json.loads(line) for line in (folder / "a" / "errors.jsonl").read_text().splitlines()]
    assert len(errors) == round(70 * (1 - metrics["test"]["accuracy"]))
    assert [e["wrongness"] for e in errors] == sorted((e["wrongness"] for e in errors), reverse=True)
    page = (folder / "a" / "report.html").read_text()
    check_page(page)
    leak = page.index("A leak: 10 of 70 test rows stand in the training rows. Without these, Macro F1 is")
    assert leak < page.index(" of the best baseline")
    for title in ("Rows that it knew", "Slices", "Confusions", "Calibration", "Worst errors"):
        assert f"<h2>{title}</h2>" in page
    assert "10 of 70 test rows stand in the training rows" in (folder / "a" / "README.md").read_text()


def test_one_run(here: Path, said: Said, made: tuple[Path, dict[str, Any]]) -> None:
    status, told = said("a", "data.test=test.tsv", "out=found")
    assert status == 0
    leak = told.index("warning: 10 of 70 test rows stand in the training rows; a knows these")
    assert leak < told.index("scoring 70 rows") < told.index("\nmacro F1 0.")
    assert "[95% 0." in told and "without the rows that it knows: macro F1" in told
    assert "clearly below accuracy" in told and "language Chinese" in told
    first = json.loads((here / "found" / "errors.jsonl").read_text().splitlines()[0])
    assert f"{first['file']}:{first['line']}: {first['text'][:80]}" in told
    metrics = json.loads((here / "found" / "metrics.json").read_text())
    assert metrics["test"] == made[1]["test"] and metrics["slices"] == made[1]["slices"]
    assert metrics["leaks"] == made[1]["leaks"]
    page = (here / "found" / "report.html").read_text()
    check_page(page)
    assert "never saw in training" not in page and "Worst errors" in page
    assert said("a", "data.test=test.tsv", "out=b") == (
        2,
        "\nerror: out: b is a model's or a run's folder, whose own report stands there. Give another\n",
    )


def test_rows_that_are_known_otherwise(here: Path, said: Said) -> None:
    """Dev rows; rows written in another way; training rows that are changed or gone."""
    again = rows("train", 2)[1][0].upper().replace(" ", ", ") + "!"
    write(here / "some.tsv", [*rows("new", 5), *rows("dev", 3), (again, "neg")])
    told = said("a", "data.test=some.tsv")[1]
    assert "warning: 1 of 9 test rows stand in the training rows, and 3 in the dev rows; a knows these" in told
    write(here / "other.tsv", rows("new", 12))
    assert "warning" not in said("a", "data.test=other.tsv")[1]
    write(here / "train.tsv", rows("train", 199))
    told = said("a", "data.test=test.tsv", "out=found")[1]
    why = "train.tsv, on which it was trained, has changed since"
    assert f"leaks could not be looked for: {why}" in told and "without the rows" not in told
    assert f"nobody knows which of it the model saw in training ({why})" in (here / "found/report.html").read_text()
    (here / "train.tsv").unlink()
    assert "train.tsv, on which it was trained, is not here any more" in said("a", "data.test=test.tsv")[1]
    shutil.copy(here / "dev.tsv", here / "train.tsv")  # all rows of a file that is known by its content
    assert "stands" not in said("a", "data.test=dev.tsv")[1]


def test_several_runs(here: Path, said: Said) -> None:
    status, told = said("a", "b", "data.test=test.tsv", "out=found")
    assert status == 0
    assert "\na: macro F1 0." in told and "\nb: without the rows that it knows: macro F1" in told
    assert "\nb is worse than a: macro F1 -0." in told and "McNemar's test: p = " in told
    assert "without the rows that one of them knows: b is worse than a" in told
    found = yanmo.evaluate(["b", "a"], data={"test": "test.tsv"}, machine={"threads": 1})
    [pair] = found["comparisons"]
    assert (pair["run"], pair["against"]) == ("a", "b") and pair["sentence"].startswith(
        "a is better than b: macro F1 +0."
    )
    scores = [run["test"]["macro_f1"] for run in found["runs"]]
    assert pair["difference"] == pytest.approx(scores[1] - scores[0]) and pair["p"] < 0.05
    low, high = pair["interval"]
    assert 0 < low < pair["difference"] < high and pair["without"]["rows"] == 60
    page = (here / "found" / "report.html").read_text()
    check_page(page)
    assert "b is worse than a" in page and "Slices: b" in page
    same = said("a", "a", "data.test=test.tsv")[1]
    assert "no difference can be shown between a and a: macro F1 +0.0000 [+0.0000, +0.0000], p = 1" in same


def test_runs_that_cannot_be_compared(here: Path) -> None:
    ask = {"data": {"test": "test.tsv"}, "machine": {"threads": 1}}
    renamed = json.loads(Path("b", "config.json").read_text().replace('"pos"', '"positive"'))
    shutil.copytree("b", "c", ignore=shutil.ignore_patterns("manifest.json"))
    Path("c", "config.json").write_text(json.dumps(renamed))
    with pytest.raises(SettingsError, match="only one of a and c knows 'pos', 'positive'"):
        yanmo.evaluate(["a", "c"], **ask)
    shutil.copytree("b", "d", ignore=shutil.ignore_patterns("manifest.json"))
    record = json.loads(Path("d", "yanmo.json").read_text())
    record["task"] = {"name": "rerank"}
    Path("d", "yanmo.json").write_text(json.dumps(record))
    with pytest.raises(SettingsError, match=r"different tasks can't be compared: a \(classify\), d \(rerank\)"):
        yanmo.evaluate(["a", "d"], **ask)
