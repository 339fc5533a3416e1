"""What people get wrong with their data, and what they are told: golden messages, each a command as it is typed.

`YANMO_GOLDEN=write python -m pytest tests/test_mistakes.py` writes the messages of today into golden/mistakes.yaml; read the difference as
somebody who meets it for the first time: what is wrong, where, what was expected, what to do.
"""

import gzip
import io
import json
import os
import shlex
import shutil
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from yanmo import checkpoint, files
from yanmo.__main__ import main

GOLDEN = Path(__file__).parent / "golden" / "mistakes.yaml"
# Added to the commands, so that what goes on after a warning is over at once.
QUICK = {
    "finetune": "model.base=model train.steps=1 train.evaluations=1 machine.threads=1 task.max_length=32",
    "pretrain": "train.steps=1 train.evaluations=1 machine.threads=1 objective.max_length=32",
    "evaluate": "machine.threads=1",
    "predict": "machine.threads=1",
}
PAIRS = [(f"a {'good' if i % 2 else 'bad'} film, number {i}", "positive" if i % 2 else "negative") for i in range(60)]


def table(pairs: list[tuple[str, str]] = PAIRS, separator: str = ",", header: str = "text,label") -> str:
    quote = '"' if separator == "," else ""
    rows = [f"{quote}{text}{quote}{separator}{label}" for text, label in pairs]
    return "".join(row + "\n" for row in [*filter(None, [header.replace(",", separator)]), *rows])


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def packed(**entries: str | bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def but(**changes: str) -> list[tuple[str, str]]:
    """The sound rows with other labels: but(row7="2")."""
    return [(text, changes.get(f"row{i}", label)) for i, (text, label) in enumerate(PAIRS)]


CHINESE = "text,label\n" + "".join(f"这部电影{'很好看' if i % 2 else '不好看'}第{i}次,{i % 2}\n" for i in range(30))
CONLL = "John B-PER\nlives O\nin O\nParis B-LOC\n\n"
SQUAD = {
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": "Paris lies on the Seine.",
                    "qas": [
                        {"id": "1", "question": "Where?", "answers": [{"text": "the Seine", "answer_start": 14}]},
                        {"id": "2", "question": "What?", "answers": [{"text": "Paris", "answer_start": 3}]},
                    ],
                }
            ],
        }
    ]
}
NAMES_IN_PLACES = "".join(f"John{i} B-PER\nlives O\nin O\nParis B-LOC\n\n" for i in range(40))
RELATED = [
    {"text": f"ink {i} on stone", "head": f"ink {i}", "tail": "stone", "relation": f"r{i % 2}"} for i in range(40)
]
ASKED = [
    {"context": f"Ann has {i} brushes.", "question": "How many?", "answers": [{"text": f"{i}", "start": 8}]}
    for i in range(10, 50)
]
NAMED = "finetune data.train=train.csv"

# name: (the files, where they are not the sound ones, and the command)
MISTAKES: dict[str, tuple[dict[str, str | bytes], str]] = {
    # ---- the path
    "a misspelt name": ({}, "finetune data.train=trian.csv"),
    "a misspelt folder": ({"reviews/train.csv": table()}, "finetune data.train=review/train.csv"),
    "another ending": ({}, "finetune data.train=train.tsv"),
    "a pattern": ({}, "finetune data.train=tr*.csv"),
    "an address": ({}, "finetune data.train=https://example.org/train.csv"),
    "a Windows path": ({}, r"finetune 'data.train=C:\Users\me\train.csv'"),
    "a home folder": ({}, "finetune 'data.train=~/train.csv'"),
    "still being downloaded": ({"big.csv.part": table()}, "finetune data.train=big.csv"),
    "an unfinished download": ({"big.csv.crdownload": table()}, "finetune data.train=big.csv.crdownload"),
    "may not be read": ({"secret.csv": table()}, "data inspect secret.csv"),
    "an empty folder": ({"data/README.md": "soon"}, "finetune data.train=data"),
    "a folder without a train part": (
        {"data/a.csv": table(), "data/b.csv": table()},
        "finetune data.train=data",
    ),
    "a model folder as data": ({}, "finetune data.train=model"),
    "not in the archive": ({"set.zip": packed(**{"train.csv": table()})}, "finetune data.train=set.zip/trian.csv"),
    # ---- what is no text
    "an Excel workbook": (
        {"train.xlsx": packed(**{"[Content_Types].xml": "x", "xl/workbook.xml": "x"})},
        "finetune data.train=train.xlsx",
    ),
    "an Excel workbook called csv": (
        {"train.csv": packed(**{"[Content_Types].xml": "x", "xl/workbook.xml": "x"})},
        NAMED,
    ),
    "a Word document": ({"a.docx": packed(**{"word/document.xml": "x"})}, "pretrain a.docx"),
    "a PDF": ({"a.pdf": b"%PDF-1.7\n%\xe2\xe3\n"}, "tokenizer train a.pdf"),
    "a picture": ({"a.png": b"\x89PNG\r\n\x1a\n\0\0"}, "data inspect a.png"),
    "a web page": ({"train.csv": "\n<!DOCTYPE html>\n<html><title>train.csv</title>\n"}, NAMED),
    "a pointer of Git LFS": (
        {"train.csv": "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"},
        NAMED,
    ),
    "a pickle": ({"train.pkl": b"\x80\x04\x95\x10\0\0\0\0\0\0\0]\x94."}, "finetune data.train=train.pkl"),
    "weights": ({"model.bin": packed(**{"archive/data.pkl": b"\x80\2}q\0."})}, "finetune data.train=model.bin"),
    "another binary file": ({"train.csv": bytes(range(256)) * 20}, NAMED),
    "a .rar": ({"train.rar": b"Rar!\x1a\7\1\0"}, "finetune data.train=train.rar"),
    "a .7z": ({"train.7z": b"7z\xbc\xaf\x27\x1c\0\4"}, "finetune data.train=train.7z"),
    "a bomb": ({"train.zip": packed(**{"a.csv": b"0" * (30 << 20)})}, "finetune data.train=train.zip"),
    "a .gz cut short": (
        {"train.csv.gz": gzip.compress(table().encode(), mtime=0)[:-60]},
        "finetune data.train=train.csv.gz",
    ),
    # ---- the encoding
    "GB18030 with broken bytes": (
        {"train.csv": CHINESE.encode("gb18030").replace("第7次".encode("gb18030"), b"\xff\xff7")},
        NAMED,
    ),
    "UTF-8 with broken bytes": ({"train.csv": CHINESE.encode().replace("第7次".encode(), b"\xff\xff7")}, NAMED),
    "half a surrogate": (
        {"train.jsonl": lines({"text": "x", "label": 1}) + r'{"text": "\ud83d", "label": 0}'},
        "finetune data.train=train.jsonl",
    ),
    # ---- the table
    "an empty file": ({"train.csv": ""}, NAMED),
    "a header and no rows": ({"train.csv": "text,label\n"}, NAMED),
    "no header": ({"train.csv": table(header="")}, NAMED),
    "no header, and no labels to be seen": (
        {"train.csv": table(header="", pairs=[(text, f"id{i}") for i, (text, _) in enumerate(PAIRS)])},
        NAMED,
    ),
    "a wrong column name": (
        {"train.csv": table(header="review,stars")},
        f"{NAMED} data.columns.text=reviews data.columns.label=stars",
    ),
    "no label column": ({"train.csv": table(header="text,mood")}, NAMED),
    "names twice": ({"train.csv": table(header="text,text")}, NAMED),
    "semicolons": ({"train.csv": table(separator=";", header="text,label")}, NAMED),
    "a note for Excel": ({"train.csv": "sep=,\n" + table()}, NAMED),
    "tabs in a .csv": ({"train.csv": table(separator="\t")}, NAMED),
    "commas in a .tsv": ({"train.tsv": table()}, "finetune data.train=train.tsv"),
    "ragged rows": ({"train.csv": table() + "good, but long,positive\nbad\n"}, NAMED),
    "an open quote": ({"train.csv": table().replace('number 7"', "number 7")}, NAMED),
    "tabs within a .tsv": (
        {"train.tsv": table(separator="\t") + "good\tfilm\tpositive\n"},
        "finetune data.train=train.tsv",
    ),
    "labels at the end of lines": (
        {"train.txt": "".join(f"{text} {label}\n" for text, label in PAIRS)},
        "finetune data.train=train.txt",
    ),
    "texts without labels": (
        {"train.txt": "".join(f"{i}th film of {i}\n" for i in range(60))},
        "finetune data.train=train.txt",
    ),
    # ---- JSON
    "an array that breaks": (
        {
            "train.json": json.dumps([{"text": t, "label": y} for t, y in PAIRS], indent=1).replace(
                'number 7",', 'number 7"'
            )
        },
        "finetune data.train=train.json",
    ),
    "a comma too many": (
        {"train.jsonl": lines({"text": "x", "label": 1}) + '{"text": "y", "label": 0,}\n'},
        "finetune data.train=train.jsonl",
    ),
    "commas between the lines": (
        {"train.jsonl": '{"text": "x", "label": 1},\n{"text": "y", "label": 0},\n'},
        "finetune data.train=train.jsonl",
    ),
    "single quotes": (
        {"train.jsonl": "{'text': 'x', 'label': 1}\n{'text': 'y', 'label': 0}\n"},
        "finetune data.train=train.jsonl",
    ),
    "not a number": (
        {"train.jsonl": lines({"text": "x", "label": 1}, {"text": "y", "label": float("nan")})},
        "finetune data.train=train.jsonl",
    ),
    "a nested label": (
        {"train.jsonl": lines(*({"text": t, "label": {"name": y}} for t, y in PAIRS))},
        "finetune data.train=train.jsonl",
    ),
    "several labels in a row or two": (
        {
            "train.jsonl": lines(
                *({"text": t, "label": [y, "film"][: 2 if i in (3, 9) else 1]} for i, (t, y) in enumerate(PAIRS, 1))
            )
        },
        "finetune data.train=train.jsonl",
    ),
    "an object in the text": (
        {"train.jsonl": lines({"text": {"body": "x"}, "label": 1})},
        "finetune data.train=train.jsonl",
    ),
    # ---- the labels and texts
    "labels missing in three rows": ({"train.csv": table(but(row3="", row4=" ", row9=""))}, NAMED),
    "an empty text": ({"train.csv": table([*PAIRS, ("  ", "positive")])}, NAMED),
    "one label only": ({"train.csv": table([(text, "positive") for text, _ in PAIRS])}, NAMED),
    "a label that training has not": (
        {"test.csv": table([("so so", "neutral"), ("well", "mixed"), ("fine", "positive")])},
        f"{NAMED} data.test=test.csv",
    ),
    "different case and spaces": (
        {"train.csv": table(but(row1="Positive", row3="Positive", row2=" negative "))},
        NAMED,
    ),
    "1 and 1.0": (
        {
            "train.jsonl": lines(
                *({"text": t, "label": i % 2 if i % 9 else i % 2 + 0.0} for i, (t, _) in enumerate(PAIRS))
            )
        },
        "finetune data.train=train.jsonl",
    ),
    "a stray label": (
        {"train.csv": table([(t, "2" if i == 11 else str(i % 2)) for i, (t, _) in enumerate(PAIRS)])},
        NAMED,
    ),
    "texts and labels swapped": ({"train.csv": table(header="label,text")}, NAMED),
    "numbers for classes": ({"train.csv": table([(t, f"{i / 7:.3f}") for i, (t, _) in enumerate(PAIRS)])}, NAMED),
    "the training file as test": ({}, f"{NAMED} data.test=train.csv"),
    "test rows in training": (
        {"test.csv": table([*PAIRS[:5], ("fine indeed", "positive")])},
        f"{NAMED} data.test=test.csv",
    ),
    "the training file scored": ({}, "evaluate run data.test=train.csv"),
    "too few rows to hold some out": ({"train.csv": table(PAIRS[:2])}, NAMED),
    # ---- other shapes
    "a missing tag": ({"train.conll": CONLL * 20 + "Mary\nsings O\n"}, "data inspect train.conll"),
    "tags for a classifier": ({"train.conll": CONLL * 20}, "finetune data.train=train.conll"),
    "answers that stand elsewhere": ({"train.json": json.dumps(SQUAD)}, "data inspect train.json"),
    # ---- rows of other tasks
    "a label that no training row has": (
        {"test.csv": table([("a film", "neutral"), ("a good one", "positive")])},
        f"{NAMED} data.test=test.csv",
    ),
    "tags that break IOB": (
        {"train.conll": NAMES_IN_PLACES + "Mary I-PER\nsings O\n\nin O\nNew B-LOC\nYork I-PER\n"},
        "finetune data.train=train.conll task.name=tag",
    ),
    "a tag of no scheme": (
        {"train.conll": NAMES_IN_PLACES + "Mary PER\nsings O\n"},
        "finetune data.train=train.conll task.name=tag",
    ),
    "a tag too few": (
        {
            "train.jsonl": lines(
                *[{"tokens": ["Ann", "sings"], "tags": ["B-PER", "O"]}] * 20, {"tokens": ["a", "b"], "tags": ["O"]}
            )
        },
        "finetune data.train=train.jsonl task.name=tag",
    ),
    "an entity that no training row has": (
        {"train.conll": NAMES_IN_PLACES, "test.conll": "IBM B-ORG\nsings O\n"},
        "finetune data.train=train.conll data.test=test.conll task.name=tag",
    ),
    "a name that is not in its text": (
        {
            "train.jsonl": lines(
                *RELATED, {**RELATED[0], "head": "brush"}, {**RELATED[0], "tail": {"start": 9, "end": 99}}
            )
        },
        "finetune data.train=train.jsonl task.name=relate",
    ),
    "a name at a wrong place": (
        {
            "train.jsonl": lines(
                *RELATED, {**RELATED[1], "text": "now ink 1 on stone", "head": {"text": "ink 1", "start": 0}}
            )
        },
        "finetune data.train=train.jsonl task.name=relate",
    ),
    "marks that do not close": (
        {"train.jsonl": lines(*({"text": f"<e1>ink{' 1' * i}</e1> on <e2>stone", "relation": "r"} for i in range(9)))},
        "finetune data.train=train.jsonl task.name=relate",
    ),
    "a relation that no training row has": (
        {
            "train.jsonl": lines(*RELATED),
            "test.jsonl": lines({**RELATED[0], "text": "the ink 0 on stone", "relation": "r9"}),
        },
        "finetune data.train=train.jsonl data.test=test.jsonl task.name=relate",
    ),
    "an answer that is not in its context": (
        {"train.jsonl": lines(*ASKED, {**ASKED[0], "question": "Who?", "answers": [{"text": "Bob", "start": 0}]})},
        "finetune data.train=train.jsonl task.name=answer",
    ),
    "an answer at a wrong place": (
        {"train.jsonl": lines(*ASKED, {**ASKED[0], "question": "Who?", "answers": [{"text": "Ann", "start": 4}]})},
        "finetune data.train=train.jsonl task.name=answer",
    ),
    "answers that are all at wrong places": (
        {"train.jsonl": lines(*({**row, "answers": [{**row["answers"][0], "start": 3}]} for row in ASKED))},
        "finetune data.train=train.jsonl task.name=answer",
    ),
    "a number that is a word": (
        {"train.csv": table([(text, str(i % 5) if i else "good") for i, (text, _) in enumerate(PAIRS)])},
        f"{NAMED} task.name=rate",
    ),
    "a grade that is a word": (
        {
            "train.jsonl": lines(
                *({"query": "ink", "document": f"d{i}", "relevance": i % 2 if i else "yes"} for i in range(9))
            )
        },
        "finetune data.train=train.jsonl task.name=rerank",
    ),
    "parallel files of different lengths": ({"mt/train.en": "one\ntwo\n", "mt/train.de": "eins\n"}, "data inspect mt"),
    # ---- words of a command
    "two files": ({"test.csv": table()}, "finetune train.csv test.csv"),
    "a list of test files": ({"test.csv": table()}, "finetune train.csv 'data.test=[train.csv, test.csv]'"),
    "a key without its block": ({}, "finetune data.train=train.csv label=stars"),
    "a text instead of a file": ({}, "predict run 'a good film'"),
    # ---- other verbs
    "a book in one line": ({"book.txt": "word " * 50_000}, "pretrain book.txt"),
    "a table without a text column": ({"prices.csv": "date,price\n1,2\n3,4\n"}, "tokenizer train prices.csv"),
    "a vocabulary smaller than the alphabet, of words": (
        {"zh.txt": "".join(chr(0x4E00 + i) for i in range(500))},
        "tokenizer train zh.txt tokenizer.vocab=200",
    ),
    "shards of another tokeniser": (
        {"text.txt": "".join(f"{text}\n" for text, _ in PAIRS)},
        "tokenizer encode text.txt tokenizer.base=model out=shards && tokenizer train text.txt out=other && "
        "pretrain shards tokenizer.base=other",
    ),
    "shards for a classifier": (
        {"text.txt": "".join(f"{text}\n" for text, _ in PAIRS)},
        "tokenizer encode text.txt tokenizer.base=model out=shards && finetune data.train=shards",
    ),
    "a vocabulary smaller than the alphabet": (
        {"zh.txt": "".join(chr(0x4E00 + i) for i in range(500))},
        "tokenizer train zh.txt tokenizer.kind=unigram tokenizer.vocab=200",
    ),
    "an unknown key in the settings": (
        {"mine.yaml": "data:\n  train: train.csv\n  text: review\n"},
        "finetune mine.yaml",
    ),
    "a group without its column": ({}, "data split train.csv division.by=group"),
    "shares that are not one": ({}, "data split train.csv 'division.parts={train: 80, test: 20}'"),
    "an unknown transform": ({}, "data augment train.csv augment.transforms=[shuffle]"),
    "too many bad rows": ({"train.csv": table() + "bad\n" * 3}, "data clean train.csv"),
    "nothing to predict": ({"new.csv": "id,price\n1,2\n"}, "predict run new.csv"),
    "a workbook for the answers": ({"new.csv": "text\ngood\n"}, "predict run new.csv out=answers.xlsx"),
    "no labels to score": ({"new.csv": "text\ngood\n"}, "evaluate run data.test=new.csv"),
}


@pytest.fixture
def here(tmp_path: Path, small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with sound data (train.csv), a model, and a run that was trained on that data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    (tmp_path / "train.csv").write_text(table())
    shutil.copytree(small_folder, tmp_path / "model")
    shutil.copytree(small_folder, tmp_path / "run")
    record = checkpoint.read_record(tmp_path / "run")
    inputs = {"train.csv": files.sha256(tmp_path / "train.csv")}
    files.write_json(tmp_path / "run/yanmo.json", {**record, "inputs": inputs, "parts": {"train": ["train.csv"]}})
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextmanager
def unprivileged(secret: Path) -> Iterator[None]:
    """Where there is a secret, nobody may read it, and root is nobody meanwhile."""
    root = secret.exists() and os.geteuid() == 0
    if secret.exists():
        secret.chmod(0)
        Path.cwd().chmod(0o755)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def told(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What a command says of a mistake: its exit status, and the warnings and the error among its lines."""
    spoilt, command = MISTAKES[name]
    for file, content in spoilt.items():
        files.write_file(Path(file), content)
    *before, last = command.split(" && ")
    assert all(main(shlex.split(one)) == 0 for one in before)
    verb, *words = shlex.split(last)
    capsys.readouterr()
    with unprivileged(Path("secret.csv")):
        status = main([verb, *words, *shlex.split(QUICK.get(verb, ""))])
    captured = capsys.readouterr()
    if status:
        assert captured.out == ""
    said = captured.err.splitlines()
    first = next((i for i, line in enumerate(said) if line.startswith("error: ")), len(said))
    warnings = [line for line in said[:first] if line.startswith(("warning: ", *spoilt))]
    command = " && ".join(f"yanmo {one}" for one in [*before, last])
    return {"command": command, "status": status, "said": "\n".join([*warnings, *said[first:]])}


@pytest.fixture(scope="session")
def golden() -> Iterator[dict[str, dict[str, Any]]]:
    """The messages as they stand in the file; with YANMO_GOLDEN=write what the tests put here is written there."""
    if os.environ.get("YANMO_GOLDEN") != "write":
        yield yaml.safe_load(GOLDEN.read_text("utf-8"))
        return
    found: dict[str, dict[str, Any]] = {}
    yield found
    GOLDEN.parent.mkdir(exist_ok=True)
    text = "".join(
        f"{name}:\n  command: {json.dumps(entry['command'], ensure_ascii=False)}\n  status: {entry['status']}\n  said: |-\n"
        + "".join(f"    {line}\n" for line in entry["said"].splitlines())
        for name, entry in found.items()
    )
    GOLDEN.write_text(text, "utf-8")


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_said(
    name: str, here: Path, golden: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(name, capsys)
    if os.environ.get("YANMO_GOLDEN") == "write":
        golden[name] = found
    assert found["said"]
    assert found == golden[name]


def test_every_message_is_of_a_mistake() -> None:
    assert [*yaml.safe_load(GOLDEN.read_text("utf-8"))] == [*MISTAKES]
