"""What rows become as documents, and what is said of rows that can be none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yanmo.errors import DataError
from yanmo.index import Columns, Document, documents
from yanmo.index.documents import Documents

# name of the file: (its content, the columns that are named, the documents)
ROWS: dict[str, tuple[str, dict[str, Any], list[Document]]] = {
    "plain.txt": ("ink\n\n墨\n", {}, [Document("plain.txt:1", "ink"), Document("plain.txt:3", "墨")]),
    "ids.jsonl": ('{"id": 7, "text": " ink "}\n', {}, [Document("7", "ink")]),
    "beir.jsonl": (
        '{"_id": "d1", "title": "Ink", "text": "It is black.", "url": "u"}\n{"_id": "d2", "title": "", "text": "x"}\n',
        {},
        [Document("d1", "Ink\nIt is black.", "", {"url": "u"}), Document("d2", "x")],
    ),
    "title.jsonl": ('{"title": "Ink", "content": "black"}\n', {}, [Document("title.jsonl:1", "Ink\nblack")]),
    "only.csv": ("title\nInk\n", {}, [Document("only.csv:2", "Ink")]),
    "chinese.csv": ("标题,内容\n墨,黑\n", {}, [Document("chinese.csv:2", "墨\n黑")]),
    "faq.tsv": (
        "question\tanswer\twhen\nwho?\tme\t2024\n",
        {},
        [Document("faq.tsv:2", "who?", "me", {"when": "2024"})],
    ),
    "faq.csv": ("问题,答案\n谁？,我\n", {}, [Document("faq.csv:2", "谁？", "我")]),
    "asked.jsonl": ('{"question": "who?"}\n', {}, [Document("asked.jsonl:1", "who?")]),
    "answers.jsonl": (
        '{"question": "who?", "answers": ["me", "I"]}\n',
        {},
        [Document("answers.jsonl:1", "who?", "me")],
    ),
    "unanswered.jsonl": ('{"question": "who?", "answer": ""}\n', {}, [Document("unanswered.jsonl:1", "who?")]),
    "queries.jsonl": ('{"_id": "q", "query": "ink"}\n', {}, [Document("q", "ink")]),
    "named.jsonl": (
        '{"sku": "a", "name": "ink", "about": "black", "text": "no", "reply": "yes", "id": 3}\n',
        {"id": "sku", "text": ["name", "about"], "answer": "reply"},
        [Document("a", "ink\nblack", "yes", {"text": "no", "id": 3})],
    ),
    "number.jsonl": ('{"text": 5}\n', {}, [Document("number.jsonl:1", "5")]),
    "paragraphs.jsonl": ('{"text": ["one", "", "two"]}\n', {}, [Document("paragraphs.jsonl:1", "one\ntwo")]),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str, tmp_path: Path) -> None:
    content, columns, expected = ROWS[name]
    (tmp_path / name).write_text(content)
    assert documents.rows(tmp_path / name, Columns(**columns)) == expected


MISTAKES: dict[str, tuple[str, dict[str, Any], str]] = {
    "no.jsonl": ('{"sku": 1}\n', {}, r"no\.jsonl:1: no column of text; the row has: sku\. Name it: columns\.text="),
    "named.csv": ("text,id\na,1\n", {"text": "body"}, r"named\.csv:2: no column 'body'; the row has: text, id"),
    "id.jsonl": ('{"text": "a", "id": null}\n', {}, r"id\.jsonl:1: column 'id': expected a word or number, not null"),
    "ids.jsonl": ('{"text": "a", "id": [1]}\n', {}, r"column 'id': expected a word or number, not \[1\]"),
    "empty.jsonl": ('{"text": ""}\n{"text": " "}\n', {}, r"empty\.jsonl:1 .*empty\.jsonl:2: no text in any row"),
    "twice.jsonl": (
        '{"text": "a", "id": 1}\n{"text": "b", "id": "1"}\n',
        {},
        r"1 id taken twice; (.|\n)*twice\.jsonl:2: id '1', as in .*twice\.jsonl:1",
    ),
    "broken.jsonl": ('{"text": "a"}\n{"text": \n', {}, r"broken\.jsonl:2: not JSON"),
    "nothing.txt": ("\n", {}, "nothing.txt"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str, tmp_path: Path) -> None:
    content, columns, said = MISTAKES[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        documents.read([tmp_path / name], Columns(**columns))


def test_files_together(tmp_path: Path) -> None:
    """What has no text is left out and told; the same id in two files is a mistake."""
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": ""}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "two"}\n')
    found, empty = documents.read([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert [document.id for document in found] == ["a.jsonl:1", "b.jsonl:1"]
    assert empty == [f"{tmp_path}/a.jsonl:2"]
    with pytest.raises(DataError, match=r"a\.jsonl:1: id 'a\.jsonl:1', as in"):
        documents.read([tmp_path / "a.jsonl", tmp_path / "a.jsonl"])


def test_on_the_disk(tmp_path: Path) -> None:
    held = [expected for _, _, rows in ROWS.values() for expected in rows]
    written = documents.lines(held)
    file = tmp_path / "documents.jsonl"
    file.write_bytes(b"".join(written))
    opened = Documents(file, np.cumsum([len(line) for line in written]))
    assert len(opened) == len(held)
    assert [*opened] == held
    assert opened[-1] == held[-1]
    assert all(json.loads(line)["text"] for line in written)
    with pytest.raises(ValueError, match="bytes, expected"):
        Documents(file, np.array([3]))
    file.write_bytes(b"".join(written).replace(b'"text"', b'"test"', 1))
    with pytest.raises(DataError, match=r"documents\.jsonl:1: damaged"):
        Documents(file, np.cumsum([len(line) for line in written]))[0]
