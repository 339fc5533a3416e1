"""Promise D1: no row is lost, and none goes in silence."""

import base64
import csv
import io
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yanmo.errors import DataError
from yanmo.text import cleaned, cleaning
from yanmo.text.cleaning import Duplicates, Rows, Table
from yanmo.text.rules import Clean

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
GIVEN = Rows(labels=["good", "bad"], longest=500)


def run(paths: list[Path], max_bad: float = 1.0, given: Rows = GIVEN, rule: Clean | None = None) -> list[Table]:
    tables = cleaning.tables(paths, given)
    cleaning.clean(tables, given, rule or Clean(), Duplicates(), max_bad)
    return tables


def kept(table: Table) -> str:
    return "".join(cleaned.kept(table))


def rejects(*tables: Table) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cleaned.rejects(tables)]


def sound(choose: random.Random, number: int) -> dict[str, str]:
    text = "".join(choose.choices(LETTERS, k=choose.randint(20, 60)))
    return {
        "id": str(number),
        "text": choose.choice(["{}", "{}, {}", '"{}"', "很{}"]).replace("{}", text),
        "label": "good",
    }


def as_json(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


def as_csv(row: dict[str, Any]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(row.values())
    return buffer.getvalue().removesuffix("\r\n").encode()


# kind of damage: (the rule that finds it, what becomes of the row), for a row that follows a sound one with the id "0"
JSON: dict[str, tuple[str, Any]] = {
    "bad JSON": ("json", lambda row: as_json(row)[:-2]),
    "non-object": ("object", lambda row: as_json([row["text"]])),  # type: ignore[arg-type]
    "missing field": ("missing", lambda row: as_json({k: row[k] for k in ("id", "label")})),
    "wrong type": ("type", lambda row: as_json({**row, "text": [row["text"]]})),
    "bad UTF-8": ("encoding", lambda row: as_json(row).replace(b'"text": "', b'"text": "\xff')),
    "NUL": ("nul", lambda row: as_json({**row, "text": "a\0b"})),
    "too long": ("long", lambda row: as_json({**row, "text": "x" * 501})),
    "duplicate id": ("id", lambda row: as_json({**row, "id": "0"})),
    "empty": ("empty", lambda row: as_json({**row, "text": " "})),
    "bad label": ("label", lambda row: as_json({**row, "label": "ugly"})),
}
CSV: dict[str, tuple[str, Any]] = {
    "bad UTF-8": ("encoding", lambda row: b"\xff" + as_csv({**row, "text": "plain"})),
    "NUL": ("nul", lambda row: as_csv({**row, "text": "a\0b"})),
    "too long": ("long", lambda row: as_csv({**row, "text": "x" * 501})),
    "duplicate id": ("id", lambda row: as_csv({**row, "id": "0"})),
    "empty": ("empty", lambda row: as_csv({**row, "text": ""})),
    "bad label": ("label", lambda row: as_csv({**row, "label": "ugly"})),
    "ragged CSV": ("ragged", lambda row: as_csv({**row, "more": "cell"})),
    "open quote": ("quote", lambda row: as_csv({**row, "text": "open"}).replace(b"open", b'"open')),
}


def test_the_twelve_kinds() -> None:
    assert len({*JSON, *CSV}) == 12


@pytest.mark.parametrize("format", ["jsonl", "csv"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30), size=st.integers(2, 40), data=st.data())
def test_d1_exactly_the_corrupted_rows_are_quarantined(
    format: str, seed: int, size: int, data: st.DataObject, tmp_path: Path
) -> None:
    choose = random.Random(seed)
    kinds = JSON if format == "jsonl" else CSV
    bad = data.draw(st.dictionaries(st.integers(1, size - 1), st.sampled_from(sorted(kinds)), max_size=size))
    lines = [] if format == "jsonl" else [b"id,text,label"]
    expected, offset = [], sum(len(line) + 1 for line in lines)
    for number in range(size):
        row = sound(choose, number)
        line = kinds[bad[number]][1](row) if number in bad else (as_json if format == "jsonl" else as_csv)(row)
        if number in bad:
            expected.append((len(lines) + 1, offset, kinds[bad[number]][0], line))
        lines.append(line)
        offset += len(line) + 1
    path = tmp_path / f"rows.{format}"
    path.write_bytes(b"\n".join(lines) + choose.choice([b"", b"\n"]))
    table = run([path])[0]
    found = rejects(table)
    places = [(r["line"], r["offset"], r["rule"], raw(r)) for r in found if r["kind"] == "quarantined"]
    assert places == expected
    assert {r["file"] for r in found} <= {str(path)}
    counts = cleaning.counts(table)
    assert counts["rows"] == size == counts["kept"] + counts["filtered"] + counts["duplicate"] + len(bad)
    again = tmp_path / f"again.{format}"
    again.write_text(kept(table), "utf-8")
    assert cleaning.counts(run([again])[0])["kept"] == counts["kept"]  # what was kept is sound


def raw(reject: dict[str, Any]) -> bytes:
    return base64.b64decode(reject["raw_base64"]) if "raw_base64" in reject else reject["raw"].encode()


def test_d1_more_than_one_percent_is_an_error(tmp_path: Path) -> None:
    choose = random.Random(0)
    lines = [as_json(sound(choose, number)) for number in range(1000)]
    path = tmp_path / "rows.jsonl"
    lines[5:15] = [b"{"] * 10
    path.write_bytes(b"\n".join(lines))
    assert cleaning.counts(run([path], 0.01)[0])["quarantined"] == 10
    lines[20] = as_json({"id": "x", "text": "", "label": "good"})
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(DataError) as caught:
        run([path], 0.01)
    message = str(caught.value)
    assert "11 of 1,000 rows can't be used (json 10, empty 1)" in message
    assert message.count("rows.jsonl:") == 6
    assert "rows.jsonl:6: byte" in message
    assert "... and 6 more" in message
    assert "max_bad=" in message
    assert cleaning.counts(run([path], 0.011)[0])["quarantined"] == 11


def test_each_verdict(tmp_path: Path) -> None:
    base = "the quick brown fox jumps over the lazy dog and runs away"
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text(f"{base}\n\n  {base.upper()}!\n{'哈' * 30}\nＡ　B\n", "utf-8")
    two.write_bytes(f"\ufeff{base} again\r\nfox jumps over the lazy\r\nshort\r\n好\r\n".encode())
    tables = run([one, two])
    rules = [{number: (v.kind, v.rule) for number, v in table.verdicts.items()} for table in tables]
    assert rules == [
        {1: ("duplicate", "exact"), 2: ("filtered", "repeated_characters")},
        {0: ("duplicate", "near"), 1: ("duplicate", "fragment")},
    ]
    assert [kept(table) for table in tables] == [f"{base}\nA B\n", "short\n好\n"]
    assert any("one.txt:1" in row["reason"] for row in rejects(*tables))


def test_one_text_under_two_labels_goes_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nsome words,good\nSome words!,bad\nother words,good\n")
    table = run([path])[0]
    assert Counter(verdict.rule for verdict in table.verdicts.values()) == {"contradicting": 2}
    assert kept(table) == "text,label\nother words,good\n"


def test_formats_keep_what_is_not_text(tmp_path: Path) -> None:
    table, lines = tmp_path / "rows.tsv", tmp_path / "rows.jsonl"
    table.write_text('label\tsentence\tnote\ngood\tＡ "quoted"\t １\n')
    lines.write_text('{"n": 1.50, "text": "plain"}\n{"n": 1, "text": "ａ\\u0000"}\n{"n": [2], "text": "ａ\\tb"}\n')
    assert [kept(found) for found in run([table, lines])] == [
        'label\tsentence\tnote\ngood\tA "quoted"\t １\n',
        '{"n": 1.50, "text": "plain"}\n{"n": [2], "text": "a b"}\n',
    ]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('text,label\n"two\nlines",good\nnext,bad\n', ["two\nlines", "next"]),
        ('text,label\r\n"a ""b"" c",good\r\n5" screen,bad\r\n', ['a "b" c', '5" screen']),
        ('text,label\n"open,good\n"quoted, row",bad\nlast,good\n', ["quoted, row", "last"]),
        ('text,label\n"closed"early,good\nlast,bad\n', ["last"]),
        ('text,label\nlast,bad\n"open,good', ["last"]),
    ],
)
def test_quotes_of_a_csv(content: str, texts: list[str], tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content.encode())
    table = run([path])[0]
    assert [row["text"] for row in csv.DictReader(io.StringIO(kept(table), newline=""))] == texts


def test_a_field_that_is_missing_everywhere_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("words,label\nsome,good\n")
    with pytest.raises(DataError, match=r"rows.csv:1: no column for the text; the file has: words, label"):
        run([path])


def test_many_open_quotes_take_no_square_time(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f'"open {number},good\n' for number in range(20_000)))
    assert cleaning.counts(run([path])[0])["quarantined"] == 20_000


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_form_letter_in_every_row_takes_seconds(share: float, tmp_path: Path) -> None:
    choose = random.Random(0)
    form = "".join(choose.choices(LETTERS, k=int(200 * share)))
    path = tmp_path / "rows.txt"
    path.write_text("".join(form + "".join(choose.choices(LETTERS, k=200 - len(form))) + "\n" for _ in range(20_000)))
    start = time.perf_counter()
    table = run([path])[0]
    assert time.perf_counter() - start < 60
    assert cleaning.counts(table)["kept"] == (20_000 if share == 0.5 else 1)
