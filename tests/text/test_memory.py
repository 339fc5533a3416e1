"""Promise D2 about memory: text of any size, in any format that is read by lines, and lines of any length cost a fixed amount of it.

Every trial is a process of its own, and counted is the most that it and those that it forked held at once.
"""

import json
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from benchmarks import watch
from benchmarks.shards import generate
from yanmo.text import formats, sources
from yanmo.text.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]
PROMISED = 600  # MB

READ = """
import json, sys
from pathlib import Path
from yanmo.errors import YanmoError
from yanmo.text import sources
found = {"texts": 0, "characters": 0, "said": ""}
try:
    for text in sources.texts(Path(sys.argv[1])):
        found["texts"] += 1
        found["characters"] += len(text)
except YanmoError as error:
    found["said"] = str(error)
"""
PREPARE = """
import json, sys
from pathlib import Path
from yanmo.text import tokenizer, tokens
record = tokens.prepare([Path(sys.argv[1])], tokenizer.load(Path(sys.argv[2])), Path(sys.argv[3]))
found = {"texts": record["documents"]}
"""
SAY = """
print(json.dumps(found))
"""


def trial(code: str, *paths: Path) -> dict[str, float | str]:
    said, held = watch.run([sys.executable, "-c", code + SAY, *map(str, paths)], cwd=ROOT)
    return {**json.loads(said), **held}


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """About 8 MB of lines."""
    path = tmp_path_factory.mktemp("block") / "text.txt"
    generate(path, 8 << 20)
    return path.read_text("utf-8").splitlines()


@pytest.fixture(scope="module")
def words(block: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickest tokeniser there is: known words between spaces."""
    known = {word: id for id, word in enumerate(["[UNK]", *dict.fromkeys(" ".join(block[:4000:2]).split())])}
    inner = tokenizers.Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder = tmp_path_factory.mktemp("words")
    Tokenizer(inner).save(folder)
    return folder


def fill(path: Path, head: str, part: str, megabytes: int) -> int:
    """Write `part` again and again; answers how often."""
    content = part.encode()
    times = (megabytes << 20) // len(content)
    with path.open("wb") as file:
        file.write(head.encode())
        for _ in range(times):
            file.write(content)
    return times


@pytest.mark.timeout(1200)
def test_d2_preparing_takes_little_memory(block: list[str], words: Path, tmp_path: Path) -> None:
    """256 MB here, about half a minute; 2 GB in benchmarks/shards.py."""
    times = fill(tmp_path / "text.txt", "", "\n".join(block) + "\n", 256)
    found = trial(PREPARE, tmp_path / "text.txt", words, tmp_path / "shards")
    assert found["texts"] == times * len(block)
    assert float(found["megabytes"]) < PROMISED


ROWS: dict[str, tuple[str, Callable[[int, str], str]]] = {
    "csv": ("id,text\n", lambda number, line: f'{number},"{line}, ""quoted"""\n'),
    "tsv": ("label\ttext\n", lambda number, line: f"{number % 2}\t{line}\n"),
    "jsonl": ("", lambda number, line: json.dumps({"id": number, "text": line}, ensure_ascii=False) + "\n"),
}


@pytest.mark.parametrize("megabytes", [48, pytest.param(256, marks=pytest.mark.slow)])
@pytest.mark.parametrize("format", ROWS)
def test_d2_tables_are_read_as_streams(format: str, megabytes: int, block: list[str], tmp_path: Path) -> None:
    """Held are the first rows, by which columns are named, and an interpreter; all rows of 48 MB would be 200 MB."""
    head, row = ROWS[format]
    path = tmp_path / f"text.{format}"
    times = fill(path, head, "".join(row(number, line) for number, line in enumerate(block)), megabytes)
    found = trial(READ, path)
    assert (found["texts"], found["said"]) == (times * len(block), "")
    assert float(found["megabytes"]) < 150


# name: (what a line of a GB is made of, encoding)
GIANTS = {"ascii": ("a", "utf-8"), "chinese": ("研墨，", "utf-8"), "utf-16": ("研墨，", "utf-16-le")}


@pytest.mark.parametrize(("unit", "encoding"), GIANTS.values(), ids=GIANTS)
def test_d2_a_line_of_a_gigabyte_is_a_fault_with_its_place(unit: str, encoding: str, tmp_path: Path) -> None:
    """What stands before and behind it is read."""
    path = tmp_path / "text.txt"
    part = (unit * (1 << 20)).encode(encoding)
    times = (1 << 30) // len(part)
    with path.open("wb") as file:
        file.write("\ufeff研磨\n".encode(encoding))
        for _ in range(times):
            file.write(part)
        file.write("\n成文\n".encode(encoding))
    found = trial(READ, path)
    path.unlink()
    line_end = len("\n".encode(encoding))
    assert f"{path}:2: {times * len(part) + line_end:,} bytes; at most 16,777,216 are read" in str(found["said"])
    assert "1 line too long" in str(found["said"])
    assert (found["texts"], found["characters"]) == (2, 4)
    assert float(found["megabytes"]) < 200


def test_d2_a_long_line_is_prepared_within_the_bound(words: Path, tmp_path: Path) -> None:
    """Just below the longest that is read, without a place to cut it: the library would take gigabytes for it at once."""
    (tmp_path / "text.txt").write_text("墨" * 5_500_000, "utf-8")
    found = trial(PREPARE, tmp_path / "text.txt", words, tmp_path / "shards")
    assert found["texts"] == 1
    assert float(found["megabytes"]) < PROMISED


@pytest.mark.parametrize("size", [1, 99, 100, 101, 250])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "gb18030"])
def test_lines_about_the_longest(size: int, encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Line, offset and number of bytes of each row and fault hold, wherever the long line stands."""
    monkeypatch.setattr("yanmo.text.formats.base.Source.lines.__defaults__", (200,))
    text = "研墨是一个小小的文本工具\n"
    lines = [text] * 3 + ["研" * size + "\n"] + [text] * 3
    path = tmp_path / "text.txt"
    path.write_bytes("".join(lines).encode(encoding))
    assert list(islice(sources.lines(path), 3)) == [(number, text.strip()) for number in (1, 2, 3)]
    faults: list[formats.Fault] = []
    rows = list(formats.rows(path, faults, format="text"))
    sizes = [len(line.encode(encoding)) for line in lines]
    offsets = [sum(sizes[:number]) for number in range(len(lines))]
    long = [number for number, each in enumerate(sizes) if each > 200]
    assert [(row.line, row.offset) for row in rows] == [(i + 1, offsets[i]) for i in range(len(lines)) if i not in long]
    assert [(fault.line, fault.offset, fault.kind) for fault in faults] == [
        (i + 1, offsets[i], "overlong") for i in long
    ]
    assert all(fault.reason.startswith(f"{sizes[fault.line - 1]:,} bytes") for fault in faults)
