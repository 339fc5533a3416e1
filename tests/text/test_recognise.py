"""What a data file is for, by its columns' names or by what they hold; on real sets, and on tables that are called as nobody expects."""

from pathlib import Path

import pytest

from yanmo.errors import DataError
from yanmo.text.columns import Columns
from yanmo.text.recognise import recognise

# path in the shared data: (kind, text, pair, label)
SETS = {
    "classification_zh/chnsenticorp/train.tsv": ("classify", "text_a", None, "label"),
    "dialogue/banking77_en/train.csv": ("classify", "text", None, "category"),
    "matching/afqmc_zh/train.csv": ("match", "sentence1", "sentence2", "label"),
    "matching/stsb_en_zh/stsb-en-train.csv": ("rate", "text", "pair", None),
    "mt/tatoeba_en_zh/cmn.train.txt": ("translate", "text", None, None),
    "lm/tinyshakespeare/input.txt": ("texts", None, None, None),
}


@pytest.mark.parametrize("name", SETS)
def test_real_sets(name: str, shared_data: Path) -> None:
    kind, text, pair, label = SETS[name]
    seen = recognise(shared_data / name, Columns())
    assert (seen.kind, seen.columns.text, seen.columns.pair, seen.columns.label) == (kind, text, pair, label)


def table(folder: Path, header: str, rows: list[str]) -> Path:
    path = folder / "rows.csv"
    path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
    return path


def test_columns_by_what_they_hold(tmp_path: Path) -> None:
    rows = [f"{n},评论第{n}条写得很长很长的一句话,{'好' if n % 2 else '坏'}" for n in range(60)]
    seen = recognise(table(tmp_path, "编号,评论内容,情感", rows), Columns())
    assert seen.kind == "classify"
    assert seen.columns == Columns(text="评论内容", label="情感")
    assert seen.present == ("编号", "评论内容", "情感")


def test_numbers_on_a_scale_are_no_labels(tmp_path: Path) -> None:
    seen = recognise(table(tmp_path, "text,label", [f"row {n},{n / 8}" for n in range(60)]), Columns())
    assert seen.kind == "rate"


def test_columns_that_are_named(tmp_path: Path) -> None:
    path = table(tmp_path, "text,body,label,topic", [f"t {n},a longer text {n},x,{n % 3}" for n in range(60)])
    seen = recognise(path, Columns(text="body", label="topic"))
    assert (seen.kind, seen.columns) == ("classify", Columns(text="body", label="topic"))
    with pytest.raises(
        DataError, match=r"data.columns.label: no column 'tropic'; the file has: text, body, label, topic"
    ):
        recognise(path, Columns(label="tropic"))


def test_a_table_without_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column of text among a, b"):
        recognise(table(tmp_path, "a,b", [f"{n},{n * 7}" for n in range(60)]), Columns())


@pytest.mark.parametrize("column", ["label", "relation", "kind"])
def test_marked_entities_say_that_rows_are_of_relations(column: str, tmp_path: Path) -> None:
    rows = [f"the <e1>ink{n}</e1> on the <e2>stone</e2>,r{n % 2}" for n in range(60)]
    seen = recognise(table(tmp_path, f"text,{column}", rows), Columns())
    assert (seen.kind, seen.columns) == ("relate", Columns(text="text", label=column))
    seen = recognise(table(tmp_path, f"text,{column}", [*rows, "no marks,r1"]), Columns())
    assert seen.kind == "classify"
