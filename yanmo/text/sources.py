"""Files of any known format -> Examples.

Also says which files a folder or archive of data stands for. What a file is and how it is read is known to `formats`, which columns are
the texts and the label to `choice`. A fault names its file and line; all faults of a file are raised in one DataError.
"""

import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from yanmo import files
from yanmo.errors import DataError, gather, some
from yanmo.progress import say
from yanmo.settings import Block
from yanmo.text import formats
from yanmo.text.columns import COLUMNS, choose
from yanmo.text.columns import Columns as Columns
from yanmo.text.formats.base import Fault, decoded
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


class Data(Block):
    train: Path | list[Path] | None = Field(
        None, description="training rows: files, or a folder or .zip of train, dev and test files"
    )
    dev: Path | None = Field(
        None, description="rows to stop and choose by; null: those of train's folder, or a tenth of train, by hash"
    )
    test: Path | None = Field(None, description="rows to score once, at the end; null: those of train's folder, if any")
    columns: Columns = Field(default_factory=Columns, description="which column is what")


_LINES = ("text", "label text")  # the formats of one text a line, which only the task tells apart
_TABLES = ("csv", "tsv", "tabs")
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
        empty = ", not a byte is in it" if not formats.container(path).stat().st_size else ""
        raise DataError(f"{path}: the file has no rows{empty}. Expected one row a line.")
    names = choose(first.fields, columns, path, labelled, learnt or {})
    if labelled and kind in _TABLES and first.line == 1:
        say(f"{path}: line 1 is no header; by what is in them the columns are taken for {', '.join(first.fields)}")
    faults: list[str] = []
    examples: list[Example] = []
    for row in itertools.chain([first], rows):
        texts = [row.fields.get(name) for name in names["texts"]]
        label = row.fields.get(names["label"][0]) if names["label"] else None
        several = label if isinstance(label, list) else [label]
        nested = [(name, text) for name, text in zip(names["texts"], texts, strict=True) if not _plain(text)]
        nested += [(names["label"][0], label) for one in several if not _plain(one)]
        words = tuple(map(_word, texts))
        labels = tuple(word for one in several if (word := _word(one)))
        where = f"{path}:{row.line}"
        if nested:
            name, value = nested[0]
            shown = json.dumps(value, ensure_ascii=False)
            faults.append(f"{where}: column '{name}' holds {shown:.60}; expected a word or number alone")
        elif labelled and not any(words):
            faults.append(f"{where}: column '{names['texts'][0]}' is empty; remove the row")
        elif labelled and not labels:
            faults.append(f"{where}: column '{names['label'][0]}' is empty; give the row a label or remove it")
        else:
            examples.append(Example(words, labels, f"{path.name}:{row.line}", str(path), row.line))
    if kind == "label text" and len({e.labels for e in examples}) > min(MOST_LABELS, max(2, len(examples) // 2)):
        raise DataError(f"{path}: {_no_labels(examples)}")
    gather(faults, f"{path}: {len(faults):,} of {some(len(faults) + len(examples), 'row')} can't be used:", DataError)
    return examples


def _no_labels(examples: Sequence[Example]) -> str:
    """Why lines whose first words are too many for labels are not 'label text'."""
    return (
        "the lines do not begin with labels; expected 'label text', or a .csv, .tsv or .jsonl file with columns"
        + _at_the_end(examples)
    )


def _at_the_end(examples: Sequence[Example]) -> str:
    last = {" ".join(e.texts).rpartition(" ")[2] for e in examples}
    if not 1 < len(last) <= max(2, len(examples) // 5):
        return ""
    shown = ", ".join(sorted(last)[:5])
    return f". They seem to end with labels ({shown}): put these first, or a tab before them and name the file .tsv"


def _plain(value: Any) -> bool:
    return not isinstance(value, (list, dict))


def _word(value: Any) -> str:
    """ "" of what is not there; NaN is what pandas makes of it."""
    return "" if value is None or value != value else str(value).strip()


def present(paths: Sequence[Path]) -> None:
    """Raise one DataError for all files that are not there, before the first of them is read."""
    missing = [formats.absent(path) for path in paths if not formats.container(path).exists()]
    if len(missing) == 1:
        raise DataError(missing[0])
    gather(missing, "these can't be read:", DataError)


PARTS = ("train", "dev", "test")


def listed(paths: Path | list[Path] | None) -> list[Path]:
    """What a key that takes one path or several was given."""
    return paths if isinstance(paths, list) else [paths] if paths else []


def parts(data: Data) -> dict[str, list[Path]]:
    """The files of train, dev and test. A folder or archive stands for its part of that name (see `formats.splits`); as the only
    `train` also for its dev and test parts, where these are not named.

    Raises DataError for a path that is not there, or a folder without the part.
    """
    given = {name: paths for name in PARTS if (paths := listed(getattr(data, name)))}
    present([path for paths in given.values() for path in paths])
    found = {name: [file for path in paths for file in part(path, name)] for name, paths in given.items()}
    if len(train := listed(data.train)) == 1 and formats.is_set(train[0]):
        whole = formats.splits(train[0])
        found |= {name: whole[name] for name in PARTS if name in whole and name not in given}
        if "test" not in given and not all(_has_labels(path, data.columns) for path in found.get("test", ())):
            say(f"{' '.join(map(str, found.pop('test')))}: no labels, so nothing is scored on it")
    return found


def part(path: Path, name: str) -> list[Path]:
    """The files that a path stands for: itself; of a folder or archive those of its part `name` (of "test" else "dev"), or all that
    it holds where that is one part. Raises DataError for a folder of another kind."""
    if not formats.is_set(path):
        return [path]
    refuse_model(path)
    whole = formats.splits(path)
    chosen = next((whole[each] for each in _STANDS_FOR[name] if each in whole), None)
    if chosen is None and len(whole) > 1:
        there = [path for paths in whole.values() for path in paths]
        shown = ", ".join(path.name for path in there[:10])
        raise DataError(f"{path}: no file in it is called {name}; it holds {shown}. Name one: data.{name}={there[0]}")
    return chosen or next(iter(whole.values()))


def refuse_model(path: Path) -> None:
    """Raise DataError for a folder of a model, a tokeniser or shards where data is expected."""
    if mark := next((mark for mark in _MODEL if (path / mark).is_file()), None):
        raise DataError(
            f"{path}: this folder has a {mark}, so it holds {_MODEL[mark]}, not rows. Expected a file of rows or a folder of such files"
        )


_MODEL = {
    "shards.json": "token shards (for `yanmo pretrain`)",
    "config.json": "a model (given as model.base=...)",
    "tokenizer.json": "a tokeniser (given as tokenizer.base=...)",
}
_STANDS_FOR = {"train": ("train",), "dev": ("dev",), "test": ("test", "dev")}


def _has_labels(path: Path, columns: Columns) -> bool:
    if formats.recognise(path).format in _LINES:
        return True
    first = next(formats.raw(path, [], columns=[columns.label] if columns.label else []), None)
    names = (columns.label,) if columns.label else COLUMNS["label"]
    return first is None or any(name in names or name.lower() in names for name in first.fields)


def hashes(paths: Iterable[Path]) -> dict[str, str]:
    """file -> sha256, of an archive for what stands in it."""
    return {str(path): files.sha256(path) for path in dict.fromkeys(map(formats.container, paths))}


def told(found: Mapping[str, Sequence[Path]]) -> str:
    """One line: which files are which part."""
    return ", ".join(f"{name}: {' '.join(map(str, paths))}" for name, paths in found.items())


def is_file(word: str) -> bool:
    """Whether a word of a command line, which may be a long text, is the path of a file."""
    return os.path.isfile(word)  # noqa: PTH113 (Path's raises for a long text)


def is_name(word: str) -> bool:
    """Whether it looks like one."""
    return _NAME.fullmatch(word) is not None


_NAME = re.compile(r"\S+\.(txt|jsonl?|csv|tsv|parquet)")


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
        yield from formats.texts(path)
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


def label_set(examples: Sequence[Example], where: str) -> list[str]:
    """The labels of training rows, in a stable order (numbers by value, words by spelling). Raises DataError for fewer than two."""
    found = {label for example in examples for label in example.labels}
    if len(found) < 2:
        raise DataError(
            f"{where}: only one label ({', '.join(map(repr, found)) or 'none'}); a classifier needs rows of at least two"
            + _at_the_end(examples)
        )
    return sorted(found, key=lambda label: (0, int(label), label) if _NUMBER.fullmatch(label) else (1, 0, label))
