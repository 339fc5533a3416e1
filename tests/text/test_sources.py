"""Files of every format -> Examples, and what is said about files that can't be used."""

import gzip
import json
import zipfile
from pathlib import Path

import pytest

from yanmo.errors import DataError
from yanmo.text import sources
from yanmo.text.sources import Columns, Data, Example

BOTH = [("good film", "pos"), ("bad film", "neg"), ("a good one", "pos"), ("a bad one", "neg")]

# name: (file name, content, columns, [(text, label, line)])
FORMATS = {
    "csv": ("a.csv", b"text,label\ngood,pos\nbad,neg\n", {}, [("good", "pos", 2), ("bad", "neg", 3)]),
    "csv, other names": ("a.csv", b"id,Sentence,Intent\n1,good,pos\n", {}, [("good", "pos", 2)]),
    "csv, named columns": (
        "a.csv",
        b"frage,antwort\ngut,ja\n",
        {"text": "frage", "label": "antwort"},
        [("gut", "ja", 2)],
    ),
    "csv, no header": (
        "a.csv",
        b"good film,pos\nbad film,neg\nalso bad,neg\n",
        {},
        [("good film", "pos", 1), ("bad film", "neg", 2), ("also bad", "neg", 3)],
    ),
    "csv, no header, label first": (
        "a.csv",
        b"1,good film\n0,bad film\n",
        {},
        [("good film", "1", 1), ("bad film", "0", 2)],
    ),
    "csv, no header, ids first": (
        "a.csv",
        b"1,a good film,p\n2,a bad film,n\n3,a nice film,p\n",
        {},
        [("a good film", "p", 1), ("a bad film", "n", 2), ("a nice film", "p", 3)],
    ),
    "csv, quotes": (
        "a.csv",
        b'text,label\n"good, ""very"" good",pos\nbad,neg\n',
        {},
        [('good, "very" good', "pos", 2), ("bad", "neg", 3)],
    ),
    "csv, line ends inside": (
        "a.csv",
        b'text,label\n"one\n\ntwo",pos\n\nbad,neg\n"x\ny",pos\n',
        {},
        [("one\n\ntwo", "pos", 2), ("bad", "neg", 6), ("x\ny", "pos", 7)],
    ),
    "csv, CRLF and BOM": ("a.CSV", b"\xef\xbb\xbftext,label\r\ngood,pos\r\n", {}, [("good", "pos", 2)]),
    "tsv": ("a.tsv", b"label\ttext_a\n1\tgood\n", {}, [("good", "1", 2)]),
    "tsv, quotes are text": (
        "a.tsv",
        b'text\tlabel\n"good\tpos\nso "so"\tneg\n\'\tneg\n',
        {},
        [('"good', "pos", 2), ('so "so"', "neg", 3), ("'", "neg", 4)],
    ),
    "tsv, quoted header": ("a.tsv", b'"text"\t"label"\ngood\tpos\n', {}, [("good", "pos", 2)]),
    "tsv, no header": ("a.tsv", "好电影\t好\n坏电影\t坏\n".encode(), {}, [("好电影", "好", 1), ("坏电影", "坏", 2)]),
    "jsonl": (
        "a.jsonl",
        '{"text": "好\\n电影", "label": 1, "more": [1]}\n\n{"label": "neg", "text": "bad"}\n'.encode(),
        {},
        [("好\n电影", "1", 1), ("bad", "neg", 3)],
    ),
    "jsonl, pairs of surrogates": (
        "a.jsonl",
        b'{"text": "\\ud83d\\ude00", "label": 0}\n',
        {},
        [("\U0001f600", "0", 1)],
    ),
    "label text": (
        "stsa.binary.dev",
        b"1 a good film\n0 a bad one\n0 a bad film\n",
        {},
        [("a good film", "1", 1), ("a bad one", "0", 2), ("a bad film", "0", 3)],
    ),
    "label TAB text": (
        "a.txt",
        b"pos\ta good film\nneg\ta bad film\n",
        {},
        [("a good film", "pos", 1), ("a bad film", "neg", 2)],
    ),
    "label text, BOM, CRLF": (
        "a.txt",
        b"\xef\xbb\xbf1 good film\r\n\r\n0 bad film\r\n",
        {},
        [("good film", "1", 1), ("bad film", "0", 3)],
    ),
    "line separators are text": (
        "a.tsv",
        "text\tlabel\none\u2028two\x85three\tpos\n".encode(),
        {},
        [("one\u2028two\x85three", "pos", 2)],
    ),
}


@pytest.mark.parametrize(("name", "content", "columns", "rows"), FORMATS.values(), ids=FORMATS)
def test_formats(
    tmp_path: Path, name: str, content: bytes, columns: dict[str, str], rows: list[tuple[str, str, int]]
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    found = sources.read(file, Columns(**columns))
    assert [(e.texts[0], e.labels[0], e.line) for e in found] == rows
    assert [e.where for e in found] == [f"{file}:{line}" for _, _, line in rows]
    assert [e.id for e in found] == [f"{name}:{line}" for _, _, line in rows]


def test_other_formats(tmp_path: Path) -> None:
    """What `formats` reads is there for every task: packed, in other encodings, as fastText, JSON or parquet."""
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    words = "".join(f"{text}\t{label}\n" for text, label in BOTH)
    chinese = "text,label\n这部电影很好看,好\n这部电影不好看,坏\n"
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(words.encode()))
    (tmp_path / "a.txt").write_text("".join(f"__label__{label} {text}\n" for text, label in BOTH))
    (tmp_path / "a.json").write_text(json.dumps([{"text": text, "label": label} for text, label in BOTH], indent=1))
    pyarrow.parquet.write_table(
        arrow.Table.from_pylist([{"text": t, "label": y} for t, y in BOTH]), tmp_path / "a.parquet"
    )
    for name in ("a.tsv.gz", "a.txt", "a.json", "a.parquet"):
        assert [(e.texts[0], e.labels[0]) for e in sources.read(tmp_path / name)] == BOTH
    for encoding in ("gb18030", "utf-16"):
        (tmp_path / "a.csv").write_bytes(chinese.encode(encoding))
        assert [(e.texts[0], e.labels[0]) for e in sources.read(tmp_path / "a.csv")] == [
            ("这部电影很好看", "好"),
            ("这部电影不好看", "坏"),
        ]


def test_pairs_and_unlabelled_rows(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text("sentence1\tsentence2\tlabel\none\ttwo\t1\nthree\t\t\n", "utf-8")
    found = sources.read(file, Columns(pair="sentence2"), labelled=False)
    assert [(e.texts, e.labels) for e in found] == [(("one", "two"), ("1",)), (("three", ""), ())]
    with pytest.raises(DataError, match=r"a\.tsv:3: column 'label' is empty"):
        sources.read(file)


def test_unlabelled_files_without_a_header(tmp_path: Path) -> None:
    for content in ("1\ta good film\n0\ta bad film\n", "a good film\t1\na bad film\t0\n"):
        (tmp_path / "a.tsv").write_text(content, "utf-8")
        assert [e.texts for e in sources.read(tmp_path / "a.tsv", labelled=False)] == [
            ("a good film",),
            ("a bad film",),
        ]


def test_read_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeff研 墨\r\n\r\n  two\n".encode())
    assert sources.read_texts(tmp_path / "a.txt") == ["研 墨", "  two"]
    (tmp_path / "a.csv").write_text("text,label\none,1\n,0\ntwo,\n", "utf-8")
    assert sources.read_texts(tmp_path / "a.csv") == ["one", "two"]
    chat = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}
    (tmp_path / "a.jsonl").write_text(json.dumps(chat), "utf-8")
    assert sources.read_texts(tmp_path / "a.jsonl") == ["hi", "ho"]
    (tmp_path / "b.txt").write_text("\n\n", "utf-8")
    with pytest.raises(DataError, match=r"b\.txt: the file has no text"):
        sources.read_texts(tmp_path / "b.txt")


# name: (file name, content, columns, what the message must contain)
FAULTS: dict[str, tuple[str, bytes, dict[str, str], list[str]]] = {
    "empty": ("a.csv", b"", {}, ["a.csv: the file has no rows", "one row a line"]),
    "blank": ("a.txt", b"\n \n", {}, ["a.txt: the file has no rows"]),
    "header only": ("a.tsv", b"text\tlabel\n", {}, ["a.tsv: the file has no rows"]),
    "no label column": (
        "a.csv",
        b"text,colour\nx,red\n",
        {},
        ["a.csv:1:", "no column for the label", "text, colour", "data.columns.label="],
    ),
    "no such column": (
        "a.csv",
        b"text,label\nx,1\n",
        {"text": "body"},
        ["a.csv:1:", "no column 'body'", "text, label", "data.columns.text="],
    ),
    "two columns": ("a.csv", b"text,label\nx,1\n", {"text": "a", "pair": "b"}, ["'a'", "'b'"]),
    "one column": ("a.csv", b"x\ny\n", {}, ["no column for the label"]),
    "no labels": (
        "a.tsv",
        b"".join(b"row %d\tother %d\n" % (i, i) for i in range(30)),
        {},
        ["a.tsv:1: no header", "text, label"],
    ),
    "names twice": ("a.csv", b"text,text,label\nx,y,1\n", {}, ["a.csv:1:", "two columns are called 'text'"]),
    "ragged": (
        "a.csv",
        b"text,label\nx,1\ny,z,1\nw\n",
        {},
        ["2 rows can't be used", "separator", "a.csv:3: 3 columns, expected 2 (text, label)", "a.csv:4: 1 column"],
    ),
    "ragged tsv": ("a.tsv", b"text\tlabel\n\nx\n", {}, ["a.tsv:3: 1 column, expected 2"]),
    "open quote": ("a.csv", b'text,label\nx,1\n"y,0\nz,1\n', {}, ["a.csv:3: a quote is left open", "unquoted"]),
    "open quote, much text": (
        "a.csv",
        b'text,label\nx,1\n"y,0\n' + b"z,1\n" * 40_000,
        {},
        ["a.csv:3: not readable as .csv", "quote left open"],
    ),
    "no text": ("a.csv", b"text,label\nx,1\n ,1\n", {}, ["1 of 2 rows", "a.csv:3: column 'text' is empty"]),
    "no label": (
        "a.jsonl",
        b'{"text": "x", "label": "1"}\n{"text": "y"}\n{"text": "z", "label": null}\n',
        {},
        ["2 of 3 rows", "a.jsonl:2: column 'label' is empty", "a.jsonl:3:"],
    ),
    "not JSON": (
        "a.jsonl",
        b'{"text": "x", "label": "1"}\n{"text": x}\n[1]\n',
        {},
        ["2 lines", "one object a line", "a.jsonl:2: not JSON (Expecting value", "a.jsonl:3: a list"],
    ),
    "JSON without end": ("a.jsonl", b"[" * 100_000, {}, ["a.jsonl:1: not JSON"]),
    "nested JSON": (
        "a.jsonl",
        b'{"text": "x", "label": {"a": "b"}}\n',
        {},
        ["a.jsonl:1: column 'label' holds", '{"a": "b"}', "expected a word or number"],
    ),
    "half a surrogate": ("a.jsonl", b'{"text": "\\ud83d", "label": 1}\n', {}, ["a.jsonl:1: half of a surrogate pair"]),
    "not UTF-8": (
        "a.csv",
        b"text,label\nx,1\ncaf\xe9,0\ny,1\n\xff,0\n",
        {},
        ["2 lines not in UTF-8", "a.csv:3: byte 4 of the line (0xe9)", "a.csv:5: byte 1", "iconv"],
    ),
    "GB18030": (
        "a.txt",
        "1 好电影\n0 坏电影\n".encode("gb18030"),
        {},
        ["2 lines not in UTF-8", "a.txt:1: byte 3", "a.txt:2", "iconv -f GB18030 -t UTF-8"],
    ),
    "plain text": (
        "a.txt",
        b"".join(b"word%d and more\n" % i for i in range(30)),
        {},
        ["a.txt: the lines do not begin with labels", "'label text'"],
    ),
    "label without text": ("a.txt", b"1 good\n0\n1 fine\n0 bad\n", {}, ["a.txt:2: column 'text' is empty"]),
}


@pytest.mark.parametrize(("name", "content", "columns", "expected"), FAULTS.values(), ids=FAULTS)
def test_faults(tmp_path: Path, name: str, content: bytes, columns: dict[str, str], expected: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        sources.read(tmp_path / name, Columns(**columns))
    for part in expected:
        assert part in str(caught.value)


def test_many_faults_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "x\n" * 100 + "x,1\n", "utf-8")
    with pytest.raises(DataError) as caught:
        sources.read(tmp_path / "a.csv")
    assert str(caught.value).splitlines()[-1] == "  ... and 95 more"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nosuch\.csv: no such file"):
        sources.read(tmp_path / "nosuch.csv")
    with pytest.raises(DataError, match="this is a folder; expected a data file"):
        sources.read(tmp_path)


def test_several_labels(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"text": "x", "label": ["a", 1]}\n{"text": "y", "labels": []}\n{"text": "z", "label": NaN}\n'
    )
    assert [e.labels for e in sources.read(tmp_path / "a.jsonl", labelled=False)] == [("a", "1"), (), ()]
    with pytest.raises(DataError, match="2 of 3 rows can't be used"):
        sources.read(tmp_path / "a.jsonl")
    (tmp_path / "a.txt").write_text("__label__a __label__b both\n__label__a one\n")
    assert [e.labels for e in sources.read(tmp_path / "a.txt")] == [("a", "b"), ("a",)]
    (tmp_path / "a.json").write_text(
        json.dumps([["some words", "a b"], ["more", "b c"], ["words", "a c"], ["yet more", "c"]])
    )
    assert [e.labels for e in sources.read(tmp_path / "a.json")] == [("a", "b"), ("b", "c"), ("a", "c"), ("c",)]


# ---- what a folder or an archive stands for

ROWS = "text,label\ngood,pos\nbad,neg\n"
# files of the folder `set`: the parts of data.train=set
SETS = {
    "all": (["train.csv", "dev.csv", "test.csv"], {"train": ["train.csv"], "dev": ["dev.csv"], "test": ["test.csv"]}),
    "pieces": (
        ["train-0.csv", "train-1.csv", "val.csv"],
        {"train": ["train-0.csv", "train-1.csv"], "dev": ["val.csv"]},
    ),
    "one file": (["reviews.csv", "README.md"], {"train": ["reviews.csv"]}),
    "a test without labels": (["train.csv", "unlabelled-test.csv"], {"train": ["train.csv"]}),
}


def filled(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("text\ngood\n" if "unlabelled" in name else ROWS)
    return folder


@pytest.mark.parametrize(("names", "expected"), SETS.values(), ids=SETS)
def test_a_folder_stands_for_its_parts(tmp_path: Path, names: list[str], expected: dict[str, list[str]]) -> None:
    folder = filled(tmp_path / "set", names)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in names:
            archive.write(folder / name, name)
    for place in (folder, tmp_path / "set.zip"):
        found = sources.parts(Data(train=place))
        assert found == {part: [place / name for name in files] for part, files in expected.items()}
        assert all(len(sources.read(path)) == 2 for paths in found.values() for path in paths)
    assert [*sources.hashes([tmp_path / "set.zip" / names[0]])] == [str(tmp_path / "set.zip")]


def test_what_is_named_comes_before_the_folder(tmp_path: Path) -> None:
    folder = filled(tmp_path / "set", ["train.csv", "dev.csv", "test.csv"])
    (tmp_path / "mine.csv").write_text(ROWS)
    found = sources.parts(Data(train=folder, dev=tmp_path / "mine.csv", test=folder))
    assert found == {"train": [folder / "train.csv"], "dev": [tmp_path / "mine.csv"], "test": [folder / "test.csv"]}
    assert sources.part(filled(tmp_path / "two", ["train.csv", "dev.csv"]), "test") == [tmp_path / "two/dev.csv"]


def test_several_files_to_train_on(tmp_path: Path) -> None:
    folder = filled(tmp_path / "set", ["train.csv", "dev.csv"])
    (tmp_path / "more.csv").write_text(ROWS)
    found = sources.parts(Data(train=[folder, tmp_path / "more.csv"]))
    assert found == {"train": [folder / "train.csv", tmp_path / "more.csv"]}, "whose dev rows these are is not told"


def test_folders_that_stand_for_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file in it is called train; it holds a.csv, b.csv. Name one: data.train="):
        sources.parts(Data(train=filled(tmp_path / "set", ["a.csv", "b.csv"])))
    for mark, said in {
        "config.json": "a model",
        "tokenizer.json": "a tokeniser",
        "shards.json": "token shards",
    }.items():
        folder = filled(tmp_path / mark.partition(".")[0], ["train.csv"])
        (folder / mark).write_text("{}")
        with pytest.raises(DataError, match=f"so it holds {said}"):
            sources.parts(Data(train=folder))


def test_a_file_within_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("sub/train.csv", ROWS)
    [first, _] = sources.read(tmp_path / "a.zip/sub/train.csv")
    assert first.where == f"{tmp_path}/a.zip/sub/train.csv:2"
    with pytest.raises(DataError, match=r"the archive holds no such file; it holds: sub/train.csv"):
        sources.read(tmp_path / "a.zip/train.csv")


def test_label_order() -> None:
    def order(*labels: str) -> list[str]:
        return sources.label_set([Example(("x",), (label,)) for label in labels], "a.tsv")

    assert order("10", "9", "-1", "b", "a", "10") == ["-1", "9", "10", "a", "b"]
    assert order("1", "01", "--5", "９", "9" * 5000) == ["01", "1", "--5", "9" * 5000, "９"]
    with pytest.raises(DataError, match=r"a\.tsv: only one label \('x'\)"):
        order("x", "x")
    with pytest.raises(DataError, match=r"only one label \(none\)"):
        order()


# ---- the real sets: (file, rows, labels)
REAL = [
    ("classification_en/sst2_sentences/stsa.binary.train", 6920, 2),
    ("classification_en/sst2_sentences/stsa.binary.dev", 872, 2),
    ("classification_en/sst2_sentences/stsa.binary.test", 1821, 2),
    ("classification_zh/chnsenticorp/train.tsv", 9600, 2),
    ("classification_en/agnews/train_10k.tsv", 10_001, 4),
    ("classification_en/agnews/test.tsv", 7600, 4),
    ("dialogue/banking77_en/train.csv", 10_003, 77),
    ("dialogue/banking77_en/test.csv", 3080, 77),
]


@pytest.mark.parametrize(("name", "rows", "labels"), REAL)
def test_real_sets(shared_data: Path, name: str, rows: int, labels: int) -> None:
    found = sources.read(shared_data / name)
    assert len(found) == rows
    assert len(sources.label_set(found, name)) == labels
