"""`yanmo data split`: nothing straddles, old rows stay where they are, whatever the format (D4)."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import yanmo
from yanmo import files
from yanmo.errors import DataError, SettingsError
from yanmo.text import sources
from yanmo.text.split import leaks


def column(path: Path, name: str) -> list[str]:
    return [json.loads(line)[name] for line in path.read_text().splitlines()]


def texts(folder: Path) -> dict[str, list[str]]:
    return {path.stem: column(path, "text") for path in sorted(folder.glob("*.jsonl"))}


def split(*paths: Path, out: Path, **division: Any) -> dict[str, Any]:
    return yanmo.data("split", *paths, out=out, division=division)


def table(path: Path, rows: list[tuple[str, ...]], header: str = "label\ttext") -> Path:
    path.write_text("\n".join([header, *("\t".join(row) for row in rows)]) + "\n")
    return path


def test_d4_no_leak_of_real_reviews_and_old_rows_stay(shared_data: Path, tmp_path: Path) -> None:
    """Half of the reviews are divided, then all of them into the same folder."""
    rows = sources.read(shared_data / "classification_zh/chnsenticorp/train.tsv")[:3000]
    half = table(tmp_path / "half.tsv", [(row.labels[0], row.texts[0]) for row in rows[:1500]])
    whole = table(tmp_path / "whole.tsv", [(row.labels[0], row.texts[0]) for row in rows])
    first = split(half, out=tmp_path / "out")
    before = texts(tmp_path / "out")
    assert sum(first["parts"].values()) == 1500 and first["set_aside"] == 0
    second = split(whole, out=tmp_path / "out")
    after = texts(tmp_path / "out")
    for name in ("train", "dev", "test"):
        assert after[name][: len(before[name])] == before[name]
    assert second["rows"] == sum(second["parts"].values()) + second["set_aside"]
    assert files.verify(tmp_path / "out") == []
    parts = {name: sources.read(tmp_path / f"out/{name}.jsonl") for name in ("train", "dev", "test")}
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        found = leaks(parts[one], parts[other])
        assert found["exact"] == 0 and found["near"] <= 0.001 * len(parts[other]), (one, other, found)
    assert parts["train"][0].labels[0] in ("0", "1")


def test_by_label_group_and_time(tmp_path: Path) -> None:
    rows = [
        ("a" if i % 5 else "b", f"w{i} other{i * 7} x{i * 13} y{i * 31}", f"user{i % 40}", f"2024-{1 + i // 40:02d}-01")
        for i in range(400)
    ]
    file = table(tmp_path / "rows.tsv", rows, "label\ttext\tuser\tday")
    split(file, out=tmp_path / "label", by="label")
    assert Counter(column(tmp_path / "label/test.jsonl", "label")) == {"a": 32, "b": 8}
    split(file, out=tmp_path / "group", by="group", column="user")
    users = [set(column(tmp_path / f"group/{name}.jsonl", "user")) for name in ("train", "dev", "test")]
    assert sum(map(len, users)) == 40 and not users[0] & users[2]
    split(file, out=tmp_path / "time", by="time", column="day")
    days = [column(tmp_path / f"time/{name}.jsonl", "day") for name in ("train", "dev", "test")]
    assert max(days[0]) <= min(days[1]) <= max(days[1]) <= min(days[2])


def test_a_fragment_stays_with_what_holds_it_wherever_that_stands(tmp_path: Path) -> None:
    """Long rows and a piece of each, in both orders; no two of them in different parts."""
    choose = random.Random(0)
    long = ["".join(choose.choices("abcdefghijklmnopqrstuvwxyz", k=300)) for _ in range(60)]
    rows = [("a", text) for pair in ((text[30:90], text) for text in long[:30]) for text in pair]
    rows += [("a", text) for pair in ((text, text[30:90]) for text in long[30:]) for text in pair]
    split(table(tmp_path / "rows.tsv", rows), out=tmp_path / "out", parts={"train": 0.3, "dev": 0.7})
    parts = {text: name for name, found in texts(tmp_path / "out").items() for text in found}
    assert [text for text in long if parts[text] != parts[text[30:90]]] == []
    assert {*parts.values()} == {"train", "dev"}


def test_mistakes(tmp_path: Path) -> None:
    file = table(tmp_path / "rows.tsv", [("a", f"text number {i}") for i in range(50)])
    split(file, out=tmp_path / "out")
    with pytest.raises(SettingsError, match="a division with other settings stands here"):
        split(file, out=tmp_path / "out", by="label")
    with pytest.raises(SettingsError, match="which column holds the time"):
        split(file, out=tmp_path / "b", by="time")
    with pytest.raises(DataError, match="no 'day'; the row has: label, text"):
        split(file, out=tmp_path / "c", by="time", column="day")
    with pytest.raises(SettingsError, match="add up to 1"):
        split(file, out=tmp_path / "d", parts={"train": 0.5})


@pytest.mark.parametrize("verb", ["split", "clean", "augment", "inspect"])
def test_a_folder_of_somebody_else_is_not_written_over(verb: str, tmp_path: Path) -> None:
    file = table(tmp_path / "rows.tsv", [("a", f"text number {i}") for i in range(50)])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="holds what this command did not write"):
        yanmo.data(verb, file, out=tmp_path / "mine")
    with pytest.raises(SettingsError, match="holds a file that is to be read"):
        yanmo.data(verb, file, out=tmp_path)
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


def test_augment_adds_marked_rows_that_a_seed_repeats(tmp_path: Path) -> None:
    file = table(tmp_path / "rows.tsv", [("a", f"a good room number {i}") for i in range(20)])
    (tmp_path / "synonyms.txt").write_text("good fine nice\n")
    asked = {"augment": {"transforms": ["delete", "synonym"]}, "synonyms": tmp_path / "synonyms.txt"}
    found = yanmo.data("augment", file, out=tmp_path / "out", **asked)
    counts = found["parts"]["rows"]
    assert counts["rows"] == 20 + counts["new"] and counts["new"] > 20
    rows = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]
    assert {row.get("augmented") for row in rows} == {None, "delete", "synonym"}
    assert all(row["label"] == "a" for row in rows)
    assert all("fine" in row["text"] or "nice" in row["text"] for row in rows if row.get("augmented") == "synonym")
    before = (tmp_path / "out/rows.jsonl").read_bytes()
    yanmo.data("augment", file, out=tmp_path / "out", **asked)
    assert (tmp_path / "out/rows.jsonl").read_bytes() == before
    yanmo.data("augment", file, out=tmp_path / "out", seed=1, **asked)
    assert (tmp_path / "out/rows.jsonl").read_bytes() != before


def test_inspect_finds_the_known_leaks(shared_data: Path, tmp_path: Path) -> None:
    """By a data set's folder alone; the page is whole."""
    found = yanmo.data("inspect", shared_data / "finance/finfe_zh", out=tmp_path)
    assert found["leakage"]["exact"] == {"train/test": 1097}
    page = (tmp_path / "report.html").read_text()
    assert "Doubtful labels" in page and "<script" not in page
