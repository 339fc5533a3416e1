"""Files of any known format -> Examples.

Chooses which columns are the texts and the label of a row; what a file is and how it is read is known to `formats`. A fault names
its file and line; all faults of a file are raised in one DataError.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from yanmo.errors import DataError, gather
from yanmo.settings import Block
from yanmo.text import formats
from yanmo.text.formats.base import Fault, decoded
from yanmo.text.formats.names import LESS_USUAL, USUAL
from yanmo.text.formats.tables import MOST_LABELS


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


# Names that people give their columns, tried in this order. A second text is read only where it is asked for.
COLUMNS = {"text": (*USUAL["text"], *LESS_USUAL, *USUAL["question"]), "pair": (), "label": USUAL["label"]}
_LINES = ("text", "label text")  # the formats of one text a line, which only the task tells apart
_UNNAMED = re.compile(r"column\d+")  # how `formats` calls what has no name
_NUMBER = re.compile(r"-?[0-9]{1,18}")


def read(
    path: Path, columns: Columns | None = None, *, labelled: bool = True, learnt: Mapping[str, str | None] | None = None
) -> list[Example]:
    """All rows of a file. With `labelled`, a row without a label is a fault; without it, labels are read where they stand.
    learnt: the columns that a model was trained on, looked for where the settings name none.

    Raises DataError (file, line, column, expected, fix) for a missing file or column, an empty file, bad UTF-8, a broken row.
    """
    columns = columns or Columns()
    named = {*(columns.text, columns.pair, columns.label), *(learnt or {}).values()}
    kind = formats.recognise(path).format
    if kind in _LINES:
        kind = "label text" if labelled else "text"
    rows = formats.raw(path, format=kind, columns=[name for name in named if name])
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: the file has no rows. Expected one row a line.")
    names = _choose(first.fields, columns, path, labelled, learnt or {})
    faults: list[str] = []
    examples: list[Example] = []
    for row in itertools.chain([first], rows):
        values = {name: row.fields.get(name) for name in (*names["texts"], *names["label"])}
        nested = [name for name, value in values.items() if isinstance(value, (list, dict))]
        texts = tuple(_word(values[name]) for name in names["texts"])
        label = _word(values[names["label"][0]]) if names["label"] else ""
        where = f"{path}:{row.line}"
        if nested:
            faults.append(f"{where}: column '{nested[0]}' is not a word or number: {values[nested[0]]!r:.60}")
        elif labelled and not any(texts):
            faults.append(f"{where}: column '{names['texts'][0]}' is empty; remove the row")
        elif labelled and not label:
            faults.append(f"{where}: column '{names['label'][0]}' is empty; give the row a label or remove it")
        else:
            examples.append(Example(texts, (label,) if label else (), f"{path.name}:{row.line}", str(path), row.line))
    if kind == "label text" and len({e.labels for e in examples}) > min(MOST_LABELS, max(2, len(examples) // 2)):
        raise DataError(
            f"{path}: the lines do not begin with labels; expected 'label text', or a .csv, .tsv or .jsonl file with columns"
        )
    gather(faults, f"{path}: {len(faults)} of {len(faults) + len(examples)} rows can't be used:", DataError)
    return examples


def _word(value: Any) -> str:
    return "" if value is None else str(value).strip()


def present(paths: Sequence[Path]) -> None:
    """Raise one DataError for all files that are not there, before the first of them is read."""
    gather([f"{path}: no such file" for path in paths if not path.exists()], "these can't be read:", DataError)


def read_texts(path: Path) -> list[str]:
    """The texts of a file without labels, for tokenisers and pre-training: its lines, or every text column, turn and answer."""
    found = list(texts(path))
    if not found:
        raise DataError(f"{path}: the file has no text. Expected one document a line.")
    return found


def texts(path: Path) -> Iterator[str]:
    """The same one by one; only a table without a known name is held in memory."""
    found = formats.recognise(path)
    if found.format in (*_LINES, "tabs"):
        yield from (text for _, text in lines(path) if text.strip())
    elif found.task == "table":  # no name is known: `read` says which there are
        yield from (text for example in read(path, labelled=False) for text in example.texts if text)
    else:
        every = (text for row in formats.rows(path) for text in _prose(row.fields))
        yield from (
            text for text, _ in itertools.groupby(every)
        )  # a context stands in the row of each of its questions


_PROSE = ("text", "pair", "context", "question", "instruction", "input", "target")


def _prose(fields: Mapping[str, Any]) -> Iterator[str]:
    values = [fields.get(name) for name in _PROSE]
    values += [turn.get("content") for turn in fields.get("messages") or () if isinstance(turn, dict)]
    for value in values:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text.strip():
                yield text.strip()


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, text without its line end). Raises DataError at the end, naming the lines that are not text."""
    return formats.numbered(path)


def decode(file: Iterable[bytes], where: str) -> Iterator[tuple[int, str]]:
    """The same for lines that are open already, such as standard input: in UTF-8."""
    faults: list[Fault] = []
    for number, raw in enumerate(file, 1):
        line = decoded(raw, number, 0, where, "utf-8")
        if isinstance(line, Fault):
            faults.append(line)
        else:
            yield line.number, line.text
    formats.refuse(faults, where)


def _choose(
    row: dict[str, Any], columns: Columns, path: Path, labelled: bool, learnt: Mapping[str, str | None]
) -> dict[str, list[str]]:
    """Which columns to read: those that the settings name, or the usual names."""
    faults = []

    def one(kind: str, wanted: str | None, needed: bool) -> list[str]:
        usual = (*filter(None, [learnt.get(kind)]), *COLUMNS[kind]) if wanted is None else (wanted,)
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
    if faults and columns == Columns() and "text" in row and any(_UNNAMED.fullmatch(name) for name in row):
        raise DataError(
            f"{path}:1: no header with a known name, and no column that looks like labels. Name the columns in line 1: text, label"
        )
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
