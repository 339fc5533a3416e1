"""Files of any known format -> Examples.

Also says which files a folder or archive of data stands for. What a file is and how it is read is known to `formats`, which columns are
the texts and the label to `choice`. A fault names its file and line; all faults of a file are raised in one DataError.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from yanmo import files
from yanmo.errors import DataError, gather, some
from yanmo.progress import say
from yanmo.settings import Block
from yanmo.text import formats
from yanmo.text.columns import Columns as Columns
from yanmo.text.columns import choose
from yanmo.text.formats.base import Fault, decoded
from yanmo.text.formats.tables import MOST_LABELS
from yanmo.text.forms import FORMS, Form, Mark, Picked, Slip, Unfit


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
    marks: tuple[Mark, ...] = ()  # characters (from, to) of the last text that the labels speak of
    places: np.ndarray | None = (
        None  # (marks, 2) the tokens (from, to) that the marks are, once tokenised; -1 of one that is none
    )
    task: str = ""  # the name of the one that it is a row of, where several are learnt together

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
    folds: int | None = Field(
        None,
        ge=2,
        description="cross-validation: so many parts of the training rows, each scored by a model that learnt the others; null: none",
    )
    columns: Columns = Field(default_factory=Columns, description="which column is what")
    tasks: "dict[str, Data]" = Field(
        default_factory=dict,
        description="instead of these, where task.name=multitask: the name of each task -> its train, dev, test, columns",
    )

    @model_validator(mode="after")
    def _one_test(self) -> "Data":
        if self.folds and self.test:
            raise ValueError(
                f"two tests: data.test={self.test}, and with data.folds the training rows are scored, each by a model that did not "
                "learn it. Leave one of them out"
            )
        return self


_LINES = ("text", "label text")  # the formats of one text a line, which only the task tells apart
_TABLES = ("csv", "tsv", "tabs")
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_SHOWN = 5  # mended rows that are named


def read(
    path: Path,
    columns: Columns | None = None,
    *,
    form: str = "labelled",
    labelled: bool = True,
    learnt: Mapping[str, str | None] | None = None,
) -> list[Example]:
    """All rows of a file, of a form of FORMS. With `labelled`, a row without a label is a fault; without it, labels are read where they
    stand. learnt: the columns that a model was trained on, looked for where the settings name none. What is mended in rows is said.

    Raises DataError (file, line, column, expected, fix) for a missing file or column, an empty file, bad UTF-8, a broken row.
    """
    columns, asked = columns or Columns(), FORMS[form]
    learnt = {**(learnt or {})}
    separator = columns.separator or learnt.pop("separator", None)
    named = {*columns.named().values(), *learnt.values()}
    kind = formats.recognise(path).format
    if kind in _LINES:
        kind = asked.lines if labelled else "text"
    usual = itertools.chain.from_iterable(asked.columns.values())
    rows = formats.raw(path, format=kind, columns=[*filter(None, named), *usual])
    first = next(rows, None)
    if first is None:
        empty = ", not a byte is in it" if not formats.container(path).stat().st_size else ""
        raise DataError(f"{path}: the file has no rows{empty}. Expected one row a line.")
    needed = (*asked.needed, "label") if labelled and asked.bears else asked.needed
    picked = choose(first.fields, columns, path, asked.columns, needed, learnt)
    if labelled and kind in _TABLES and first.line == 1:
        say(f"{path}: line 1 is no header; by what is in them the columns are taken for {', '.join(first.fields)}")
    found = _Read(path, asked, separator)
    for row in itertools.chain([first], rows):
        found.take(row, picked, labelled)
    found.settle(by_line=kind == "conll")
    examples, faults = found.examples, found.faults
    if kind == "label text" and len({e.labels for e in examples}) > min(MOST_LABELS, max(2, len(examples) // 2)):
        raise DataError(f"{path}: {_no_labels(examples)}")
    gather(faults, f"{path}: {len(faults):,} of {some(len(faults) + len(examples), 'row')} can't be used:", DataError)
    found.tell()
    return examples


@dataclass
class _Read:
    """What was read of a file."""

    path: Path
    form: Form
    separator: str | None  # of several labels in a cell
    examples: list[Example] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    mended: dict[str, list[str]] = field(default_factory=dict)  # rule -> where it was needed

    def take(self, row: formats.Row, picked: Picked, labelled: bool) -> None:
        name = str(row.fields[self.form.id]) if self.form.id in row.fields else ""
        where = f"{self.path}:{row.line}" + (f" ({name})" if name else "")
        fields = row.fields
        if self.separator and isinstance(cell := fields.get(picked.get("label", "")), str):
            fields = {**fields, picked["label"]: [label.strip() for label in cell.split(self.separator)]}
        try:
            parsed = self.form.read(fields, picked, labelled)
        except Unfit as fault:
            if fault.rule:
                self.mended.setdefault(fault.rule, []).append(where)
            else:
                self.faults.append(f"{where}: {fault}")
            return
        if parsed.mended:
            self.mended.setdefault(parsed.mended, []).append(where)
        id = name or f"{self.path.name}:{row.line}"
        self.examples.append(Example(parsed.texts, parsed.labels, id, str(self.path), row.line, marks=parsed.marks))

    def settle(self, by_line: bool) -> None:
        """What the form makes of all labels together. by_line: does each stand in a line of its own?"""
        if self.form.settle is None:
            return
        settled = self.form.settle([example.labels for example in self.examples])
        if settled.mended:
            self.mended[settled.rule] = self._told(settled.mended, by_line)
        self.faults += self._told(settled.faults, by_line)
        lost = {row for row, _, _ in settled.faults}
        self.examples = [
            replace(example, labels=labels)
            for row, (example, labels) in enumerate(zip(self.examples, settled.labels, strict=True))
            if row not in lost
        ]

    def _told(self, slips: Sequence[Slip], by_line: bool) -> list[str]:
        """The first slip of each row, and how many more it has."""
        found = []
        for row, group in itertools.groupby(slips, key=lambda slip: slip[0]):
            (_, place, why), *more = group
            line = self.examples[row].line + (place if by_line else 0)
            found.append(f"{self.path}:{line}: {why}" + (f" and {len(more):,} more in its row" if more else ""))
        return found

    def tell(self) -> None:
        """Say what was mended. Raises DataError where that is too much for slips."""
        for rule, places in self.mended.items():
            shown = ", ".join(places[:_SHOWN]) + (", ..." if len(places) > _SHOWN else "")
            told = f"{self.path}: {rule}: {some(len(places), 'row')} of {len(self.examples):,} ({shown})"
            if 2 * len(places) > len(self.examples) and len(places) > _SHOWN:
                raise DataError(f"{told}. Are the columns the right ones, and places counted in characters from 0?")
            say(told)


Given = str | Sequence[str] | Mapping[str, Any]


def given(rows: Iterable[tuple[int, Given]], form: str, file: str) -> list[Example]:
    """Rows without labels that stand in no table, each with its number: a text, its texts (a pair; a question and its context), or its
    fields by name. Raises DataError for what is not of the form."""
    asked, examples, faults = FORMS[form], [], []
    for line, row in rows:
        texts = row if isinstance(row, Mapping) else (row,) if isinstance(row, str) else tuple(row)
        try:
            if isinstance(texts, Mapping):
                parsed = asked.read(texts, choose(texts, Columns(), Path(file), asked.columns, asked.needed, {}), False)
            elif len(asked.needed) <= len(texts) <= 2:
                fields = dict(zip(("text", "pair"), texts, strict=False))
                parsed = asked.read(fields, {name: name for name in fields}, False)
            else:
                raise Unfit(
                    f"{some(len(texts), 'text')}; expected {'two' if len(asked.needed) == 2 else 'one, or a pair'}"
                )
            examples.append(Example(parsed.texts, (), f"{file}:{line}", file, line, marks=parsed.marks))
        except Unfit as fault:
            faults.append(f"{file}:{line}: {fault}")
    gather(faults, f"{some(len(faults), 'row')} can't be answered:", DataError)
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


def parts(data: Data, form: str = "labelled") -> dict[str, list[Path]]:
    """The files of train, dev and test, whose rows are of this form. A folder or archive stands for its part of that name (see
    `formats.splits`); as the only `train` also for its dev and test parts, where these are not named.

    Raises DataError for a path that is not there, or a folder without the part.
    """
    given = {name: paths for name in PARTS if (paths := listed(getattr(data, name)))}
    present([path for paths in given.values() for path in paths])
    found = {name: [file for path in paths for file in part(path, name)] for name, paths in given.items()}
    if len(train := listed(data.train)) == 1 and formats.is_set(train[0]):
        whole = formats.splits(train[0])
        found |= {name: whole[name] for name in PARTS if name in whole and name not in given}
        if "test" not in given and not all(_has_labels(path, data.columns, form) for path in found.get("test", ())):
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


def _has_labels(path: Path, columns: Columns, form: str) -> bool:
    if not FORMS[form].bears or formats.recognise(path).format in _LINES:
        return True
    first = next(formats.raw(path, [], columns=[columns.label] if columns.label else []), None)
    names = (columns.label,) if columns.label else FORMS[form].columns["label"]
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
