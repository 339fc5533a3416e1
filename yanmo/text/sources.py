"""Files of any known format -> Examples.

The format is recognised from the name and the content: JSON lines, `.csv` and `.tsv` with a header or without one, "label text"
lines, plain text (one row a line). A fault names its file and line; all faults of a file are raised in one DataError.
"""

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
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
_USUAL = {
    "text": ("text", "sentence", "text_a", "sentence1", "content", "review", "title", "question"),
    "pair": (),
    "label": ("label", "labels", "category", "class", "intent", "sentiment"),
}
_MOST_LABELS = 200  # a column with more distinct values than this is not taken for a label


def read(path: Path, columns: Columns | None = None, *, labelled: bool = True) -> list[Example]:
    """All rows of a file. With `labelled`, a row without a label is a fault; without it, labels are read where they stand.

    Raises DataError (file, line, column, expected, fix) for a missing file or column, an empty file, bad UTF-8, a broken row.
    """
    columns = columns or Columns()
    rows = _table(path, labelled)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: the file has no rows. Expected one row a line.")
    names = _choose(first[1], columns, path, labelled)
    faults: list[str] = []
    examples: list[Example] = []
    for line, row in itertools.chain([first], rows):
        texts = tuple(str(row.get(name) or "").strip() for name in names["texts"])
        label = str(row[names["label"][0]]).strip() if names["label"] and row.get(names["label"][0]) is not None else ""
        if labelled and not any(texts):
            faults.append(f"{path}:{line}: column '{names['texts'][0]}' is empty; remove the row")
        elif labelled and not label:
            faults.append(f"{path}:{line}: column '{names['label'][0]}' is empty; give the row a label or remove it")
        else:
            examples.append(Example(texts, (label,) if label else (), f"{path.name}:{line}", str(path), line))
    gather(faults, f"{path}: {len(faults)} of {len(faults) + len(examples)} rows can't be used:", DataError)
    return examples


def read_texts(path: Path) -> list[str]:
    """The texts of a file without labels (every text column of a table), for tokenisers and pre-training."""
    if path.suffix in (".csv", ".tsv", ".jsonl", ".json"):
        return [text for example in read(path, labelled=False) for text in example.texts]
    texts = [text for _, text in lines(path) if text.strip()]
    if not texts:
        raise DataError(f"{path}: the file has no text. Expected one document a line.")
    return texts


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, text without its line end). Raises DataError at the first line that is not UTF-8."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                try:
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{path}:{number}: byte {error.start + 1} of the line is not UTF-8 (0x{raw[error.start]:02x}). "
                        f"Save the file as UTF-8, for example: iconv -f GB18030 -t UTF-8 {path}"
                    ) from None
                yield number, text.rstrip("\r\n")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: this is a folder; expected a data file") from None


Row = tuple[int, dict[str, Any]]


def _table(path: Path, labelled: bool) -> Iterator[Row]:
    """(line, {column: value}) of every row."""
    if path.suffix in (".jsonl", ".json"):
        return _json_lines(path)
    if path.suffix in (".csv", ".tsv"):
        return _separated(path, labelled)
    return _label_lines(path, labelled)


def _json_lines(path: Path) -> Iterator[Row]:
    for number, text in lines(path):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise DataError(
                f'{path}:{number}: not JSON ({error}); expected one object a line, such as {{"text": ..., "label": ...}}'
            ) from None
        if not isinstance(row, dict):
            raise DataError(
                f'{path}:{number}: a {type(row).__name__}, expected an object such as {{"text": ..., "label": ...}}'
            )
        yield number, row


def _separated(path: Path, labelled: bool) -> Iterator[Row]:
    if path.suffix == ".tsv":  # a tab separates whatever stands round it: quotes are text
        cells = ((number, text.split("\t")) for number, text in lines(path) if text.strip())
    else:
        reader = csv.reader(text + "\n" for _, text in lines(path))
        cells = ((reader.line_num, row) for row in reader if row)
    found = list(cells)
    if not found:
        return
    known = {name for names in _USUAL.values() for name in names}
    first = [cell.strip().strip('"') for cell in found[0][1]]
    header: list[str]
    if known & {cell.lower() for cell in first}:
        header, found = first, found[1:]
    else:
        header = _guess([row for _, row in found], labelled)
    for number, row in found:
        if len(row) != len(header):
            raise DataError(
                f"{path}:{number}: {len(row)} columns, expected {len(header)} ({', '.join(header)}); is a separator missing or unquoted?"
            )
        yield number, dict(zip(header, row, strict=True))


def _guess(rows: list[list[str]], labelled: bool) -> list[str]:
    """Names for the columns of a file without a header: the one with the fewest distinct values is the label."""
    width = len(rows[0])
    if width == 1 or not labelled:
        return ["text", *(f"column{i}" for i in range(2, width + 1))]
    distinct = [len({row[i] for row in rows if len(row) > i}) for i in range(width)]
    label = min(range(width), key=distinct.__getitem__)
    rest = iter(["text", *(f"column{i}" for i in range(2, width + 1))])
    return ["label" if i == label else next(rest) for i in range(width)]


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


def _choose(row: dict[str, Any], columns: Columns, path: Path, labelled: bool) -> dict[str, list[str]]:
    """Which columns to read: those that the settings name, or the usual names."""
    faults = []

    def one(kind: str, wanted: str | None, needed: bool) -> list[str]:
        usual = _USUAL[kind] if wanted is None else (wanted,)
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
        "texts": one("text", columns.text, True) + one("pair", columns.pair, False),
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
    return sorted(found, key=lambda label: (0, int(label), "") if label.lstrip("-").isdecimal() else (1, 0, label))
