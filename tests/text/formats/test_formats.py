"""Each format from a few bytes: what it is recognised as, its rows with their places, and its faults."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from yanmo.errors import DataError
from yanmo.text import formats

PAIRS = b'<?xml version="1.0"?>\n<c>\n<pair id="1" value="TRUE">\n<t>One\nwalks.</t><h>One moves.</h>\n</pair>\n</c>\n'
SEMEVAL = b'1\t"The <e1>cat</e1> of the <e2>house</e2>."\r\nOther\r\nComment: no\r\n\r\n2\t"A <e1>b</e1> <e2>c</e2>"\r\nX(e2,e1)\r\n\r\n'
SMART = b".I 7\n.T\na title\n.A\n.W\none\ntwo\n.I 9\n.W\nthree\n"
SQUAD = {
    "data": [
        {
            "title": "T",
            "paragraphs": [
                {"context": "研墨", "qas": [{"id": 1, "question": "?", "answers": [{"text": "墨", "answer_start": 1}]}]}
            ],
        }
    ]
}
CHAT = {
    "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}],
    "chosen": {"from": "gpt", "value": "ha"},
}

Rows = list[tuple[dict[str, Any], int, int]]
# name: (file name, content, format, task, [(some of the fields, line, offset)])
CASES: dict[str, tuple[str, bytes, str, str, Rows]] = {
    "text": (
        "a.txt",
        "研墨\r\n\r\nb\0c".encode(),
        "text",
        "texts",
        [({"text": "研墨"}, 1, 0), ({"text": "b\0c"}, 3, 10)],
    ),
    "no suffix": ("a", b"one\n", "text", "texts", [({"text": "one"}, 1, 0)]),
    "label text": ("a.dev", b"1 a\n0 b\n" * 9, "label text", "classify", [({"label": "1", "text": "a"}, 1, 0)]),
    "fastText": (
        "a.txt",
        b"__label__x good\n__label__y __label__z so\n",
        "fasttext",
        "classify",
        [({"label": "x", "text": "good"}, 1, 0), ({"label": ["y", "z"], "text": "so"}, 2, 16)],
    ),
    "TREC": (
        "a",
        b"NUM:dist How far ?\nLOC:city Where ?\n",
        "coarse:fine",
        "classify",
        [({"label": "NUM", "fine": "NUM:dist"}, 1, 0)],
    ),
    "PhraseBank": (
        "a.txt",
        b"a b@c .@neutral\nd .@positive\n",
        "text@label",
        "classify",
        [({"text": "a b@c .", "label": "neutral"}, 1, 0)],
    ),
    "csv": (
        "a.csv",
        b'id,text,label\n1,"a,\nb",x\n2,c,y\n',
        "csv",
        "classify",
        [({"text": "a,\nb"}, 2, 14), ({"text": "c"}, 4, 25)],
    ),
    "csv, words above numbers": (
        "a.csv",
        b"user,item\n1,2\n3,4\n",
        "csv",
        "table",
        [({"user": "1", "item": "2"}, 2, 10)],
    ),
    "tsv": ("a.tsv", b'label\ttext_a\n1\t"a\n', "tsv", "classify", [({"label": "1", "text": '"a'}, 2, 13)]),
    "text with tabs": (
        "a.txt",
        b"good film\t3\nbad film\t4\nso so\t3\n",
        "tabs",
        "classify",
        [({"text": "good film", "label": "3"}, 1, 0)],
    ),
    "several labels": (
        "a.tsv",
        b"good film\t3,4\nbad film\t4\nso so\t3\n",
        "tsv",
        "classify",
        [({"label": ["3", "4"]}, 1, 0)],
    ),
    "pairs with scores": (
        "a.csv",
        b"a b,c d,4.5\nb c,e f,1.0\n",
        "csv",
        "match",
        [({"text": "a b", "pair": "c d", "score": 4.5}, 1, 0)],
    ),
    "relations": (
        "a.txt",
        "他\t狗\tOwn\t他的狗\n她\t狗\tOwn\t她的狗\n".encode(),
        "tabs",
        "relate",
        [({"head": "他", "relation": "Own"}, 1, 0)],
    ),
    "jsonl": (
        "a.jsonl",
        b'{"sentence": "x", "idx": 3}\n\n{"sentence": "y"}',
        "jsonl",
        "texts",
        [({"text": "x", "id": 3}, 1, 0), ({"text": "y"}, 3, 29)],
    ),
    "json lines in .json": (
        "a.json",
        b'{"text": "x"}\n{"text": "y"}\n',
        "jsonl",
        "texts",
        [({"text": "x"}, 1, 0), ({"text": "y"}, 2, 14)],
    ),
    "json list": (
        "a.json",
        '[\n {"text": "研"},\n {"text": "y"}]'.encode(),
        "json",
        "texts",
        [({"text": "研"}, 2, 3), ({"text": "y"}, 3, 21)],
    ),
    "json pairs": (
        "a.json",
        b'[["a long text", 1], ["another", 0]]',
        "json",
        "classify",
        [({"text": "a long text", "label": 1}, 1, 1)],
    ),
    "one object": (
        "a.json",
        b'{\n"paragraphs": ["a", "b"]}',
        "json",
        "texts",
        [({"text": "a\nb", "sentences": ["a", "b"]}, 1, 0)],
    ),
    "SQuAD": (
        "a.json",
        json.dumps(SQUAD).encode(),
        "json",
        "read",
        [({"context": "研墨", "answers": [{"text": "墨", "start": 1}], "id": 1, "title": "T"}, 1, 0)],
    ),
    "alpaca": (
        "a.json",
        b'[{"instruction": "do", "input": "", "output": "done"}]',
        "json",
        "instruct",
        [({"instruction": "do", "input": "", "target": "done"}, 1, 1)],
    ),
    "sharegpt": (
        "a.jsonl",
        json.dumps(CHAT).encode(),
        "jsonl",
        "chat",
        [
            (
                {
                    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
                    "chosen": {"role": "assistant", "content": "ha"},
                },
                1,
                0,
            )
        ],
    ),
    "choices": (
        "a.csv",
        b"Question,A,B,C,D,Answer\nq,w,x,y,z,B\n",
        "csv",
        "choose",
        [({"choices": ["w", "x", "y", "z"], "label": "B"}, 2, 24)],
    ),
    "dialogue": (
        "a.txt",
        b"hi __eou__ ho __eou__\t1\t3 4\t0 0\n",
        "dialogue",
        "chat",
        [
            (
                {
                    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
                    "acts": ["3", "4"],
                },
                1,
                0,
            )
        ],
    ),
    "CoNLL": (
        "a.train",
        b"-DOCSTART- -X- O\n\nEU N I-ORG\nis V O\n\n-DOCSTART- -X- O\n\nUN N I-ORG\nNY N I-LOC",
        "conll",
        "tag",
        [
            ({"tokens": ["EU", "is"], "tags": ["B-ORG", "O"], "column2": ["N", "V"], "document": 1}, 3, 18),
            ({"tokens": ["UN", "NY"], "tags": ["B-ORG", "B-LOC"], "document": 2}, 8, 55),
        ],
    ),
    "characters and positions": (
        "a.dev",
        "李0\tB-PER.NAM\n开1\tI-PER.NAM\n\n".encode(),
        "conll",
        "tag",
        [({"tokens": ["李", "开"]}, 1, 0)],
    ),
    "words of characters": (
        "a.txt",
        "江 S\n泽 B\n民 E\n\n的 S\n".encode(),
        "conll",
        "tag",
        [({"tokens": ["江", "泽", "民"], "tags": ["B", "B", "I"]}, 1, 0), ({"tokens": ["的"]}, 5, 19)],
    ),
    "parts of speech": (
        "a.pos",
        b"a DT\ncat NN\n\nit PRP\n",
        "conll",
        "tag",
        [({"tokens": ["a", "cat"], "tags": ["DT", "NN"]}, 1, 0), ({"tokens": ["it"], "tags": ["PRP"]}, 4, 13)],
    ),
    "SemEval": (
        "a.TXT",
        SEMEVAL,
        "semeval",
        "relate",
        [
            ({"id": "1", "head": "cat", "tail": "house", "relation": "Other", "comment": "no"}, 1, 0),
            ({"relation": "X(e2,e1)"}, 5, 67),
        ],
    ),
    "SMART": (
        "a.all",
        SMART,
        "smart",
        "texts",
        [
            ({"id": "1", "number": "7", "title": "a title", "text": "one\ntwo"}, 1, 0),
            ({"id": "2", "number": "9", "text": "three"}, 8, 30),
        ],
    ),
    "qrels": (
        "qrels",
        b"1 184 2 \n1 29 -1\n40 85  3 \n",
        "qrels",
        "rank",
        [({"query": "1", "document": "184", "score": 2}, 1, 0), ({"score": -1}, 2, 9), ({"document": "85"}, 3, 17)],
    ),
    "TREC qrels": (
        "qrels",
        b"301\t0\tFT-1\t1\n",
        "qrels",
        "rank",
        [({"query": "301", "document": "FT-1", "score": 1}, 1, 0)],
    ),
    "XML pairs": (
        "a.xml",
        PAIRS,
        "xml",
        "match",
        [({"text": "One walks.", "pair": "One moves.", "label": "TRUE", "id": "1"}, 3, 26)],
    ),
}


@pytest.mark.parametrize(("name", "content", "kind", "task", "expected"), CASES.values(), ids=CASES)
def test_rows(tmp_path: Path, name: str, content: bytes, kind: str, task: str, expected: Rows) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    found = formats.recognise(file)
    assert (found.format, found.task, found.compression) == (kind, task, "")
    rows = list(formats.rows(file))
    assert [(row.line, row.offset) for row in rows[: len(expected)]] == [(line, offset) for _, line, offset in expected]
    for row, (fields, _, _) in zip(rows, expected, strict=False):
        assert {name: row.fields.get(name) for name in fields} == fields
        assert {*fields} <= {*rows[0].fields} | {*row.fields}
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(content))
    assert (formats.recognise(packed).format, formats.recognise(packed).compression) == (kind, "gz")
    assert list(formats.rows(packed)) == rows


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(arrow.table({"sentence": ["研", "b"], "label": [1, 0]}), tmp_path / "a.parquet")
    found = formats.recognise(tmp_path / "a.parquet")
    assert (found.format, found.encoding, found.fields, found.task) == ("parquet", "", ("text", "label"), "classify")
    assert [row.fields for row in formats.rows(tmp_path / "a.parquet")] == [
        {"text": "研", "label": 1},
        {"text": "b", "label": 0},
    ]
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"b\.parquet:1: not readable as \.parquet"):
        list(formats.rows(tmp_path / "b.parquet"))


# name: (file name, content, [(line, offset, part of the reason, raw)], texts of the sound rows)
FAULTS: dict[str, tuple[str, bytes, list[tuple[int, int, str, bytes]], list[str]]] = {
    "bad UTF-8": (
        "a.csv",
        b"text,label\na,1\nb\xff\xfe,1\nc,0\n",
        [(3, 15, "byte 2 of the line (0xff)", b"b\xff\xfe,1\n")],
        ["a", "c"],
    ),
    "ragged": ("a.csv", b"text,label\na,1\nb\nc,0\n", [(3, 15, "1 column, expected 2", b"b\n")], ["a", "c"]),
    "open quote": (
        "a.csv",
        b'text,label\na,1\n"b,1\nc,0\n"d",1\n',
        [(3, 15, "a quote is left open", b'"b,1\n')],
        ["a", "c", "d"],
    ),
    "open quote in the last column": (
        "a.csv",
        b'text,label\na,"1\nb,0\n',
        [(2, 11, "a quote is left open", b'a,"1\n')],
        ["b"],
    ),
    "open quote, long": (
        "a.csv",
        b'text,label\n"b,1\n' + b"c,0\n" * 40_000,
        [(2, 11, "not readable as .csv", b'"b,1\n')],
        ["c"] * 40_000,
    ),
    "bad JSON": (
        "a.jsonl",
        b'{"text": "a"}\n{"text": b}\n[1]\n{"text": "\\ud83d"}\n{"text": "c"}',
        [
            (2, 14, "not JSON", b'{"text": b}\n'),
            (3, 26, "a list", b"[1]\n"),
            (4, 30, "half of a surrogate", b'{"text": "\\ud83d"}\n'),
        ],
        ["a", "c"],
    ),
    "first line of JSON cut": (
        "a.jsonl",
        b'{"text": "a\n{"text": "b"}\n',
        [(1, 0, "not JSON", b'{"text": "a\n')],
        ["b"],
    ),
    "JSON document cut": ("a.json", b'[{"text": "a"},\n{"text": ', [(2, 16, "not JSON", b'{"text": ')], ["a"]),
    "JSON list without end": ("a.json", b'[{"text": "a"},\n', [(2, 16, "does not end", b"")], ["a"]),
    "not an object": ("a.json", b'[{"text": "a"}, 1]', [(1, 16, "a int, not an object", b"1")], ["a"]),
    "surrogate in UTF-8": (
        "a.txt",
        b"a\n\xed\xa0\x80\nc\n",
        [(2, 2, "byte 1 of the line (0xed)", b"\xed\xa0\x80\n")],
        ["a", "c"],
    ),
    "qrels": ("qrels", b"1 2 3\n4 5 6\n" * 9000 + b"7\n", [(18_001, 108_000, "query document grade", b"7\n")], []),
    "XML entity": (
        "a.xml",
        b'<!DOCTYPE c [<!ENTITY a "b">]>\n<c><pair></pair></c>',
        [(1, 0, "XML entity", b'<!DOCTYPE c [<!ENTITY a "b">]>\n')],
        [],
    ),
    "XML cut": ("a.xml", PAIRS.replace(b"</h>", b"</x>"), [(5, 60, "not XML", b"walks.</t><h>One moves.</x>\n")], []),
}


@pytest.mark.parametrize(("name", "content", "expected", "texts"), FAULTS.values(), ids=FAULTS)
def test_faults(
    tmp_path: Path, name: str, content: bytes, expected: list[tuple[int, int, str, bytes]], texts: list[str]
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    faults: list[formats.Fault] = []
    rows = list(formats.rows(file, faults))
    assert [row.fields["text"] for row in rows if "text" in row.fields] == texts
    assert [(fault.line, fault.offset, fault.raw) for fault in faults] == [
        (line, offset, raw) for line, offset, _, raw in expected
    ]
    for fault, (line, _, reason, raw) in zip(faults, expected, strict=True):
        assert reason in fault.reason
        assert str(fault).startswith(f"{file}:{line}: ")
        assert content[fault.offset :].startswith(raw)
    with pytest.raises(DataError) as caught:
        list(formats.rows(file))
    assert expected[0][2] in str(caught.value)


def test_faults_of_several_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\na,1\nb\n\xff,0\n")
    with pytest.raises(DataError, match=r"a\.csv: 2 rows can't be used:\n.*:3: 1 column.*\n.*:4: byte 1"):
        list(formats.rows(tmp_path / "a.csv"))


def test_parallel_files(tmp_path: Path) -> None:
    for language, text in {"en": "one\n\nthree\n", "de": "eins\n\ndrei\n"}.items():
        (tmp_path / f"train.{language}").write_text(text)
    rows = formats.load(tmp_path)["train"]
    assert [(row.fields["text"], row.fields["target"]) for row in rows] == [
        ("one", "eins"),
        ("", ""),
        ("three", "drei"),
    ]
    (tmp_path / "train.de").write_text("eins\n")
    with pytest.raises(DataError, match="not line-aligned"):
        formats.load(tmp_path)


def test_line_formats_are_read_as_they_come(tmp_path: Path) -> None:
    """No more of the file is held than a few pieces of it."""
    import tracemalloc

    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"text": "%s"}\n' % (b"a" * 1600) * 10_000)  # 17 MB
    tracemalloc.start()
    assert sum(1 for _ in formats.rows(file)) == 10_000
    assert tracemalloc.get_traced_memory()[1] < 6 << 20
    tracemalloc.stop()
