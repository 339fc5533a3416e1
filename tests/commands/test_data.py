"""`yanmo data clean`: what it writes and what it refuses. (That it can be killed: tests/reliability/test_prepare.py.)"""

import json
import random
from pathlib import Path
from typing import Any

import pytest

import yanmo
from yanmo import files
from yanmo.__main__ import main
from yanmo.errors import SettingsError

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def lines(count: int) -> list[str]:
    choose = random.Random(0)
    return ["text,label"] + [f"{''.join(choose.choices(LETTERS, k=60))},{number % 2}" for number in range(count)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    content = lines(300)
    content[100] = content[7].upper()
    content[200] = '"open,1'
    (tmp_path / "rows.csv").write_text("\n".join(content) + "\n")
    return tmp_path


def test_what_is_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "clean", "rows.csv", "out=clean", "--json"]) == 0
    rules = {"duplicate.exact": 1, "quarantined.quote": 1}
    expected = {"rows": 300, "kept": 298, "filtered": 0, "duplicate": 1, "quarantined": 1, "rules": rules}
    said = capsys.readouterr()
    assert json.loads(said.out) == {"out": "clean", "files": {"rows.csv": expected}}
    assert "298 of 300 rows kept (duplicate.exact 1, quarantined.quote 1)" in said.err
    assert json.loads((here / "clean/counts.json").read_text()) == {"rows.csv": expected}
    rejects = [json.loads(line) for line in (here / "clean/rejects.jsonl").read_text().splitlines()]
    assert [(row["file"], row["line"], row["rule"]) for row in rejects] == [
        ("rows.csv", 101, "exact"),
        ("rows.csv", 201, "quote"),
    ]
    before = (here / "rows.csv").read_bytes()
    assert all(before[row["offset"] :].startswith(row["raw"].encode() + b"\n") for row in rejects)
    given = before.decode().splitlines()
    assert (here / "clean/rows.csv").read_text().splitlines() == [
        line for line in given if line not in (given[100], given[200])
    ]
    assert files.verify(here / "clean") == []


def test_from_python_and_again(here: Path) -> None:
    first = yanmo.data("clean", "rows.csv", out="clean", clean={"longest": 50, "personal": ["PHONE"]})
    assert first["files"]["rows.csv"]["filtered"] == 299
    again = yanmo.data("clean", "rows.csv", out="clean")
    assert again["files"]["rows.csv"]["filtered"] == 0
    assert files.verify(here / "clean") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rows.csv"], "expected `yanmo data VERB"),
        (["clean"], "expected `yanmo data VERB"),
        (["clean", "none.csv"], "none.csv: no such file"),
        (["clean", "rows.csv", "out=."], "holds a file that is to be read"),
        (["clean", "rows.csv", "out=mine"], "holds what this command did not write"),
        (["clean", "rows.csv", "sub/rows.csv", "out=clean"], "two files would be written under this name"),
        (["clean", "rows.csv", "clean.personal=[FAX]"], "clean.personal"),
        (
            ["clean", "rows.csv", "out=clean", "max_bad=0.001"],
            "1 of 300 rows can't be used (quote 1), more than max_bad=0.001",
        ),
    ],
)
def test_refused(words: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("mine", "sub"):
        (here / folder).mkdir()
        (here / folder / "rows.csv").write_text("text\nwords\n")
    assert main(["data", *words]) in (1, 2)
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (here / "clean").exists()
    assert (here / "mine/rows.csv").read_text() == "text\nwords\n"


def test_a_result_that_was_edited_is_not_written_over(here: Path) -> None:
    yanmo.data("clean", "rows.csv", out="clean")
    (here / "clean/rows.csv").write_text("mine now\n")
    with pytest.raises(SettingsError, match="did not write"):
        yanmo.data("clean", "rows.csv", out="clean")


def test_label_marks_what_a_run_is_sure_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [{"text": "a good film", "label": "positive"}, {"text": "a bad film", "id": 7}, {"text": "不好"}]
    Path("new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    engine = yanmo.load(small_folder)
    answers = engine.predict(["a bad film", "不好"])
    sure = [max(answer["probabilities"].values()) for answer in answers]
    above = sum(sure) / 2  # between the two
    assert (
        main(["data", "label", "new.jsonl", f"label.run={small_folder}", f"label.above={above}", "out=o", "--json"])
        == 0
    )
    counts = json.loads(capsys.readouterr().out)["parts"]["new"]
    assert (counts["rows"], counts["labelled_before"], counts["labelled"], counts["unsure"]) == (3, 1, 1, 1)
    kept = [json.loads(line) for line in Path("o/new.jsonl").read_text().splitlines()]
    unsure = [json.loads(line) for line in Path("o/unsure.jsonl").read_text().splitlines()]
    assert kept[0] == given[0], "a label that was there stays as it is, unmarked"
    best = int(sure[1] > sure[0])
    mark = {"run": str(small_folder), "label": answers[best]["label"], "confidence": round(sure[best], 6)}
    assert kept[1] == {**given[1 + best], "label": answers[best]["label"], "pseudo_label": mark}
    assert unsure[0]["text"] == given[2 - best]["text"] and "label" not in unsure[0]
    assert files.verify(Path("o")) == []


# (labels given, probabilities) -> whether each of the row's labels is sure enough, those that are not given too
SEVERAL = [
    (["i"], (0.9, 0.1), True),
    (["i", "s"], (0.9, 0.95), True),
    (["i"], (0.9, 0.3), False),
    ([], (0.1, 0.1), False),
]


@pytest.mark.parametrize(("labels", "shares", "taken"), SEVERAL)
def test_label_gives_several_labels(
    labels: list[str],
    shares: tuple[float, float],
    taken: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_folder: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("new.jsonl").write_text('{"text": "ink paper"}\n')
    engine: Any = yanmo.load(small_folder)
    answer = {"labels": labels, "probabilities": dict(zip("is", shares, strict=True))}
    monkeypatch.setattr(engine, "predict", lambda texts: [answer] * len(texts))
    monkeypatch.setattr("yanmo.commands.predict.opened", lambda *_: engine)
    counts = yanmo.data("label", "new.jsonl", label={"run": "run", "above": 0.85}, out="o")["parts"]["new"]
    assert counts["labels"] == dict.fromkeys(labels, 1) if taken else counts["unsure"] == 1
    [row] = [
        json.loads(line) for name in ("new", "unsure") for line in Path(f"o/{name}.jsonl").read_text().splitlines()
    ]
    assert row.get("label") == (labels if taken else None) and row["pseudo_label"]["label"] == labels


def test_label_needs_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("new.txt").write_text("a text\n")
    with pytest.raises(SettingsError, match=r"label.run: which run is to label the rows"):
        yanmo.data("label", "new.txt")
