"""Files of any known format -> Examples.

The format is recognised from the name and the content: JSON lines, `.csv` and `.tsv` with a header or without one, "label text"
lines, plain text (one row a line). A fault names its file and line; all faults of a file are raised in one DataError.
"""

import csv
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from yanmo.errors import DataError, gather
from yanmo.settings import Block


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One row of somebody's data, and where it stands."""

    texts: tuple[str, ...]  # one text, or several (a pair)
    labels: tuple[str, ...] = ()  # as words; what they mean is the task's business
    id: str = ""
    file: str = ""
    line: int = 0
    ids: np.ndarray | None = (
        None  # (length,) the row's token ids with special tokens, once it is tokenised or comes from a shard
    )
    types: np.ndarray | None = None  # (length,) the segment of each token; None means all 0

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


class Columns(Block):
    text: str | None = Field(None, description="the column of the text; null: recognised by its name")
    pair: str | None = Field(None, description="the column of a second text, if the task takes two")
    label: str | None = Field(None, description="the column of the label; null: recognised by its name")


class Data(Block):
    train: Path | None = Field(None, description="training rows")
    dev: Path | None = Field(None, description="rows to stop and choose by; null: a tenth of train, by hash")
    test: Path | None = Field(None, description="rows to score once, at the end")
    columns: Columns = Field(default_factory=Columns, description="which column is what")


# Names that people give their columns, tried in this order.
USUAL = {
    "text": ("text", "sentence", "text_a", "sentence1", "content", "review", "title", "question"),
    "pair": (),
    "label": ("label", "labels", "category", "class", "intent", "sentiment"),
}
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_MOST_LABELS = 200  # a column with more distinct values than this is not taken for a label


def read(
    path: Path, columns: Columns | None = None, *, labelled: bool = True, learnt: Mapping[str, str | None] | None = None
) -> list[Example]:
    """All rows of a file. With `labelled`, a row without a label is a fault; without it, labels are read where they stand.
    learnt: the columns that a model was trained on, looked for where the settings name none.

    Raises DataError (file, line, column, expected, fix) for a missing file or column, an empty file, bad UTF-8, a broken row.
    """
    columns = columns or Columns()
    named = {*(columns.text, columns.pair, columns.label), *(learnt or {}).values()} - {None}
    rows = _table(path, named, labelled)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: the file has no rows. Expected one row a line.")
    names = _choose(first[1], columns, path, labelled, learnt or {})
    faults: list[str] = []
    examples: list[Example] = []
    for line, row in itertools.chain([first], rows):
        values = {name: row.get(name) for name in (*names["texts"], *names["label"])}
        nested = [name for name, value in values.items() if isinstance(value, (list, dict))]
        texts = tuple(_word(values[name]) for name in names["texts"])
        label = _word(values[names["label"][0]]) if names["label"] else ""
        if nested:
            faults.append(f"{path}:{line}: column '{nested[0]}' is not a word or number: {values[nested[0]]!r:.60}")
        elif labelled and not any(texts):
            faults.append(f"{path}:{line}: column '{names['texts'][0]}' is empty; remove the row")
        elif labelled and not label:
            faults.append(f"{path}:{line}: column '{names['label'][0]}' is empty; give the row a label or remove it")
        else:
            examples.append(Example(texts, (label,) if label else (), f"{path.name}:{line}", str(path), line))
    gather(faults, f"{path}: {len(faults)} of {len(faults) + len(examples)} rows can't be used:", DataError)
    return examples


def _word(value: Any) -> str:
    return "" if value is None else str(value).strip()


def present(paths: Sequence[Path]) -> None:
    """Raise one DataError for all files that are not there, before the first of them is read."""
    gather([f"{path}: no such file" for path in paths if not path.exists()], "these can't be read:", DataError)


def read_texts(path: Path) -> list[str]:
    """The texts of a file without labels (every text column of a table), for tokenisers and pre-training."""
    found = list(texts(path))
    if not found:
        raise DataError(f"{path}: the file has no text. Expected one document a line.")
    return found


def texts(path: Path) -> Iterator[str]:
    """The same one by one; plain text is not held in memory."""
    if _kind(path) in (".csv", ".tsv", ".jsonl", ".json"):
        yield from (text for example in read(path, labelled=False) for text in example.texts if text)
    else:
        yield from (text for _, text in lines(path) if text.strip())


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, text without its line end). Raises DataError at the end, naming the lines that are not UTF-8."""
    try:
        with path.open("rb") as file:
            yield from decode(file, str(path))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: this is a folder; expected a data file") from None


def decode(file: Iterable[bytes], where: str) -> Iterator[tuple[int, str]]:
    """The same for lines that are open already, such as standard input."""
    faults = []
    for number, raw in enumerate(file, 1):
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            # (In a first line with a byte order mark, the mark's three bytes are not counted.)
            faults.append(f"{where}:{number}: byte {error.start + 1} of the line (0x{error.object[error.start]:02x})")
    fix = f"Save it as UTF-8, for example: iconv -f GB18030 -t UTF-8 {where}"
    gather(faults, f"{where}: {len(faults)} lines are not UTF-8. {fix}", DataError)


Row = tuple[int, dict[str, Any]]


def _kind(path: Path) -> str:
    return path.suffix.lower()


def _table(path: Path, named: Set[str | None], labelled: bool) -> Iterator[Row]:
    """(line, {column: value}) of every row. `named` columns make a first line a header; the faults of all rows are raised at the end."""
    if _kind(path) in (".jsonl", ".json"):
        return _json_lines(path)
    if _kind(path) in (".csv", ".tsv"):
        return _separated(path, named, labelled)
    return _label_lines(path, labelled)


def _json_lines(path: Path) -> Iterator[Row]:
    faults = []
    for number, text in lines(path):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
            if "\\ud" in text.lower():
                json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            faults.append(f"{path}:{number}: half of a surrogate pair (\\ud...) stands alone, which is no text")
        except (ValueError, RecursionError) as error:
            faults.append(f"{path}:{number}: not JSON ({error})")
        else:
            if isinstance(row, dict):
                yield number, row
            else:
                faults.append(f"{path}:{number}: a {type(row).__name__}, not an object")
    expected = 'one object a line, such as {"text": ..., "label": ...}'
    gather(faults, f"{path}: {len(faults)} lines can't be used; expected {expected}:", DataError)


def _separated(path: Path, named: Set[str | None], labelled: bool) -> Iterator[Row]:
    found = list(_tabbed(path) if _kind(path) == ".tsv" else _quoted(path))
    if not found:
        return
    first = [cell.strip().strip('"') for cell in found[0][1]]
    usual = {name for names in USUAL.values() for name in names}
    if usual & {cell.lower() for cell in first} or named & {*first}:
        header, found = first, found[1:]
    else:
        header = _guess([row for _, row in found], path, labelled)
    twice = sorted({name for name in header if header.count(name) > 1})
    gather([f"two columns are called '{name}'" for name in twice], f"{path}:1:", DataError)
    faults = []
    for number, row in found:
        if len(row) == len(header):
            yield number, dict(zip(header, row, strict=True))
        else:
            faults.append(f"{path}:{number}: {len(row)} columns, expected {len(header)} ({', '.join(header)})")
    gather(faults, f"{path}: {len(faults)} rows can't be used; is a separator missing or unquoted?", DataError)


def _tabbed(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of the rows of a .tsv: a tab separates whatever stands round it, and quotes are text."""
    yield from ((number, text.split("\t")) for number, text in lines(path) if text.strip())


def _quoted(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(first line, cells) of the rows of a .csv; quotes may hold commas and line ends."""
    reader = csv.reader(text + "\n" for _, text in lines(path))
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        limit = csv.field_size_limit()
        raise DataError(
            f"{path}:{line}: not readable as .csv ({error}). Is a quote left open there? Longer texts than {limit:,} characters: a .jsonl"
        ) from None


def _guess(rows: list[list[str]], path: Path, labelled: bool) -> list[str]:
    """Names for the columns of a file without a header: the one with the fewest distinct values is the label (of two such, the
    shorter one), the longest of the others is the text."""
    columns = [[row[i] for row in rows if len(row) > i] for i in range(len(rows[0]))]
    names = [f"column{i}" for i in range(1, len(columns) + 1)]
    size = [sum(map(len, column)) for column in columns]
    rest = list(range(len(columns)))
    if labelled and len(columns) > 1:
        label = min(rest, key=lambda i: (len({*columns[i]}), size[i]))
        if len({*columns[label]}) > min(_MOST_LABELS, max(10, len(rows) // 2)):
            raise DataError(
                f"{path}:1: no header with a known name, and no column that looks like labels. Name the columns in line 1: text, label"
            )
        rest.remove(label)
        names[label] = "label"
    names[max(rest, key=size.__getitem__)] = "text"
    return names


def _label_lines(path: Path, labelled: bool) -> Iterator[Row]:
    """Plain text, or "label text" where labels are asked for."""
    found = [(number, text) for number, text in lines(path) if text.strip()]
    if not labelled:
        yield from ((number, {"text": text}) for number, text in found)
        return
    separator = "\t" if all("\t" in text for _, text in found[:100]) else " "
    cut = [(number, *text.partition(separator)) for number, text in found]
    if len({label for _, label, _, _ in cut}) > min(_MOST_LABELS, max(2, len(cut) // 2)):
        raise DataError(
            f"{path}: the lines do not begin with labels; expected 'label text', or a .csv, .tsv or .jsonl file with columns"
        )
    for number, label, _, text in cut:
        yield number, {"label": label, "text": text}


def _choose(
    row: dict[str, Any], columns: Columns, path: Path, labelled: bool, learnt: Mapping[str, str | None]
) -> dict[str, list[str]]:
    """Which columns to read: those that the settings name, or the usual names."""
    faults = []

    def one(kind: str, wanted: str | None, needed: bool) -> list[str]:
        usual = (*filter(None, [learnt.get(kind)]), *USUAL[kind]) if wanted is None else (wanted,)
        for name in usual:
            for present in row:
                if present == name or (wanted is None and present.lower() == name):
                    return [present]
        if needed or wanted is not None:
            said = f"'{wanted}'" if wanted else f"for the {kind}"
            faults.append(
                f"no column {said}; the file has: {', '.join(map(str, row))}. Name it with data.columns.{kind}=..."
            )
        return []

    chosen = {
        "texts": one("text", columns.text, True) + one("pair", columns.pair, learnt.get("pair") is not None),
        "label": one("label", columns.label, labelled),
    }
    gather(faults, f"{path}:1:", DataError)
    return chosen


def label_set(examples: Sequence[Example], where: str) -> list[str]:
    """The labels of training rows, in a stable order (numbers by value, words by spelling). Raises DataError for fewer than two."""
    found = {label for example in examples for label in example.labels}
    if len(found) < 2:
        raise DataError(
            f"{where}: only one label ({', '.join(map(repr, found)) or 'none'}); a classifier needs rows of at least two"
        )
    return sorted(found, key=lambda label: (0, int(label), label) if _NUMBER.fullmatch(label) else (1, 0, label))
