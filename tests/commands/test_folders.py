"""Data-set folders and archives given to the verbs: which files are used, where that is said, and that a run stays with them."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from yanmo.__main__ import main

WORDS = ("good", "bad")
QUICK = ["model.base=model", "train.steps=2", "train.evaluations=1", "machine.threads=1"]


def rows(count: int, name: str) -> str:
    return "text,label\n" + "".join(f"a {WORDS[i % 2]} film {name} {i},{WORDS[i % 2]}\n" for i in range(count))


@pytest.fixture
def here(tmp_path: Path, small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_folder, tmp_path / "model")
    (tmp_path / "set").mkdir()
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name, count in (("train", 40), ("dev", 8), ("test", 12)):
            (tmp_path / f"set/{name}.csv").write_text(rows(count, name))
            archive.write(tmp_path / f"set/{name}.csv", f"inside/{name}.csv")
    return tmp_path


def record(run: str) -> dict[str, dict[str, object]]:
    content: dict[str, dict[str, object]] = json.loads(Path(run, "yanmo.json").read_text())
    return content


@pytest.mark.parametrize(("given", "inside"), [("set", "set"), ("set.zip", "set.zip/inside")])
def test_finetune_and_evaluate(here: Path, capsys: pytest.CaptureFixture[str], given: str, inside: str) -> None:
    words = ["finetune", f"data.train={given}", "run=runs/a", "task.max_length=16", *QUICK]
    assert main(words) == 0
    parts = {name: [f"{inside}/{name}.csv"] for name in ("train", "dev", "test")}
    assert f"{given}: " + ", ".join(f"{name}: {files[0]}" for name, files in parts.items()) in capsys.readouterr().err
    assert record("runs/a")["parts"] == parts
    assert {*record("runs/a")["inputs"]} == ({"set.zip"} if given == "set.zip" else {f[0] for f in parts.values()})
    assert json.loads((here / "runs/a/metrics.json").read_text())["test"]["rows"] == 12
    assert main(["evaluate", "runs/a", f"data.test={given}", "machine.threads=1", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["test"]["rows"] == 12
    assert f"{given}: test: {inside}/test.csv" in said.err
    assert "warning" not in said.err


def test_a_run_stays_with_its_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["finetune", "data.train=set", "run=runs/a", "task.max_length=16", *QUICK]
    (here / "set/test.csv").rename(here / "later.csv")
    assert main(words) == 0
    (here / "runs/a/metrics.json").unlink()  # as if it had not been finished
    (here / "later.csv").rename(here / "set/test.csv")
    assert main(words) == 2
    assert "this run began with other files; now set/test.csv came or went" in capsys.readouterr().err


def test_pretrain(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "books").mkdir()
    for name, count in (("one", 30), ("two", 30), ("dev", 5)):
        (here / f"books/{name}.txt").write_text("".join(f"some words of {name} {i}\n" for i in range(count)))
    quick = [*QUICK, "objective.max_length=16"]
    for number, given in enumerate((["data.train=books"], ["books"])):
        assert main(["pretrain", *given, f"run=runs/{number}", *quick]) == 0
        assert "train: books/one.txt books/two.txt, dev: books/dev.txt" in capsys.readouterr().err
        assert {*record(f"runs/{number}")["inputs"]} == {"books/one.txt", "books/two.txt", "books/dev.txt"}
    assert main(["pretrain", "data.train=model", "run=runs/x", *quick]) == 1
    assert "holds a model" in capsys.readouterr().err
