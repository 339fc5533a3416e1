"""Files of any known format -> the rows worth keeping, and every other row with its place, its bytes and the rule that dropped it.

Rows are quarantined (unreadable, or not what their column holds), filtered (a rule of `rules.py`), or duplicates (exact, near or
fragments, over all files together, the first one kept); for each file the four counts add up to its rows, exactly.
Writes nothing; what is to be written is told in `cleaned.py`. Holds the bytes of all rows in memory, and their texts as they are compared.
"""

import sys
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, compress, count, islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from yanmo.errors import DataError, SettingsError
from yanmo.settings import Block
from yanmo.text import dedup, formats, minhash, textual, workers
from yanmo.text.columns import Columns
from yanmo.text.formats import Fault, Header, Row
from yanmo.text.judge import Judge, Texts
from yanmo.text.rules import Clean
from yanmo.text.textual import Column

# The formats whose rows can be written back as they stand, a row of bytes each.
TABLES = ("csv", "tsv", "tabs")
KEPT = ("jsonl", *TABLES, "label text", "text")
_FIRST = 1000  # rows by which the columns are chosen
_ROWS, _BYTES = 4096, 1 << 16  # the most that a process judges at once: larger arrays leave its cache


class Duplicates(Block):
    exact: bool = Field(True, description="drop rows of the same letters and digits as an earlier one")
    near: float | None = Field(
        0.8,
        gt=0,
        le=1,
        description="drop rows that resemble an earlier one by this much, or one that was dropped for it; null: none",
    )
    fragments: bool = Field(True, description="drop rows that stand within a larger one, by four fifths or whole")


class Rows(Block):
    columns: Columns = Field(default_factory=Columns, description="which column is what")
    id: str = Field("id", description="the column, if there is one, whose values must differ")
    labels: list[str] = Field(default_factory=list, description="the labels that may stand; none named: any word")
    longest: int = Field(1_000_000, ge=1, description="characters; a row with a longer text is quarantined")


@dataclass(frozen=True, slots=True)
class Verdict:
    kind: str  # one of KINDS
    rule: str
    reason: str
    column: str = ""


KINDS = ("filtered", "duplicate", "quarantined")


@dataclass(slots=True, eq=False)
class Table:
    """One text, taken apart: a file, or a member of an archive."""

    source: formats.Source
    format: str
    header: Header | None = None
    names: list[str] = field(default_factory=list)  # of the columns, in their order
    texts: list[Column] = field(default_factory=list)  # what of it is text
    label: str | None = None
    # Of every row, sound or not, by its number. Plain lists of numbers and bytes: a million objects would slow everything down.
    lines: "array[int]" = field(default_factory=lambda: array("q"))
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    raws: list[bytes] = field(default_factory=list)
    fields: dict[int, dict[str, Any]] = field(
        default_factory=dict
    )  # of those whose bytes are not enough to write them back
    keys: dict[int, str] = field(default_factory=dict)  # the rows that stand, each with what it is compared by
    labels: dict[int, str] = field(default_factory=dict)
    changed: dict[int, tuple[str, ...]] = field(default_factory=dict)  # the texts of the rows whose texts were changed
    verdicts: dict[int, Verdict] = field(default_factory=dict)  # of the rows that are dropped

    def add(self, row: Row | Fault) -> int:
        self.lines.append(row.line)
        self.offsets.append(row.offset)
        self.raws.append(row.raw)
        return len(self.raws) - 1

    def drop(self, number: int, verdict: Verdict) -> None:
        self.keys.pop(number, None)
        self.changed.pop(number, None)
        self.verdicts[number] = verdict

    def where(self, number: int) -> str:
        return f"{self.source.name}:{self.lines[number]}"


def tables(paths: Sequence[Path], given: Rows) -> list[Table]:
    """The files, of an archive its texts; none of them is read yet."""
    named = (given.columns.text, given.columns.pair, given.columns.label, given.id)
    wanted = [name for name in named if name]
    return [Table(source, format) for path in paths for source, format in formats.opened(path, columns=wanted)]


def clean(tables: Sequence[Table], given: Rows, rule: Clean, duplicates: Duplicates, max_bad: float) -> None:
    """Read the tables, and give a verdict on every row that is dropped.

    Raises DataError for a file without rows or without a text column, for one that can't be read to its end, and where more than
    `max_bad` of a file is quarantined.
    """
    judge = Judge(rule, duplicates.exact or duplicates.near is not None or duplicates.fragments)
    for table in tables:
        _read(table, given, judge)
    refused = [message for table in tables if (message := _too_bad(table, max_bad))]
    if refused:
        raise DataError("\n".join(refused))
    _deduplicate(tables, duplicates)
    for table in tables:
        found = counts(table)
        assert found["rows"] == sum(found[kind] for kind in ("kept", *KINDS)), f"{table.source.name}: a row was lost"  # noqa: S101


def counts(table: Table) -> dict[str, Any]:
    """rows, kept, and what each kind and each rule dropped."""
    kinds = Counter(verdict.kind for verdict in table.verdicts.values())
    named = Counter(f"{verdict.kind}.{verdict.rule}" for verdict in table.verdicts.values())
    return {
        "rows": len(table.raws),
        "kept": len(table.keys),
        **{kind: kinds[kind] for kind in KINDS},
        "rules": dict(sorted(named.items())),
    }


# ---- reading


def _read(table: Table, given: Rows, judge: Judge) -> None:
    """Fill a table: what can't be used is quarantined, all else changed and filtered, a block of rows at a time, on all cores."""
    waiting: deque[Sequence[int]] = deque()

    def blocks() -> Iterator[list[Texts]]:
        found = formats.FORMATS[table.format].read(table.source)
        first = list(islice(found, _FIRST))
        _prepare(table, given, judge.rule, first)
        plain = table.format == "text" and len(table.texts) == 1 and table.label is None and given.id not in table.names
        for numbers, texts in _plain(table, given) if plain else _sound(table, given, chain(first, found)):
            waiting.append(numbers)
            yield texts

    for keys, changed, dropped in workers.over(judge, blocks()):
        numbers = waiting.popleft()
        table.keys.update(zip(numbers, keys, strict=True))
        table.changed.update((numbers[row], texts) for row, texts in changed.items())
        for row, broken in dropped.items():
            table.drop(numbers[row], Verdict("filtered", broken, f"the filter clean.{broken}"))


def _sound(
    table: Table, given: Rows, rows: Iterable[Row | Fault | Header]
) -> Iterator[tuple[Sequence[int], list[Texts]]]:
    """The rows that can be used, as blocks of (numbers, texts); all others are quarantined."""
    written_back = table.format in KEPT
    ids: set[str] = set()
    numbers: list[int] = []
    texts: list[Texts] = []
    size = 0
    for row in rows:
        if isinstance(row, Header):
            table.header = row
            continue
        if isinstance(row, Fault):
            _quarantine(table, row)
            continue
        number = table.add(row)
        if not written_back:
            table.fields[number] = row.fields
        if fault := _fault(row.fields, table, given, ids):
            table.drop(number, fault)
            continue
        if table.label is not None:
            table.labels[number] = sys.intern(str(row.fields[table.label]))
        numbers.append(number)
        texts.append(_texts(table, row.fields))
        size += len(row.raw)
        if len(numbers) == _ROWS or size >= _BYTES:
            yield numbers, texts
            numbers, texts, size = [], [], 0
    yield numbers, texts


def _plain(table: Table, given: Rows) -> Iterator[tuple[Sequence[int], list[Texts]]]:
    """The same of plain text, whose lines are its rows: as a rule all of a block can be used."""
    (name,) = table.names
    for block in table.source.blocks():
        if isinstance(block, Fault):
            _quarantine(table, block)
            continue
        if "\0" in "".join(block.texts) or max(map(len, block.texts)) > given.longest:
            lines = zip(block.texts, count(block.number), block.offsets, block.raws, strict=False)
            yield from _sound(table, given, (Row({name: line[0]}, *line[1:]) for line in lines if line[0].strip()))
            continue
        full = [bool(text.strip()) for text in block.texts]  # a blank line is no row
        begin = len(table.raws)
        table.lines.extend(compress(count(block.number), full))
        table.offsets.extend(compress(block.offsets, full))
        table.raws.extend(compress(block.raws, full))
        yield range(begin, len(table.raws)), [((text,), ()) for text in compress(block.texts, full)]


def _quarantine(table: Table, fault: Fault) -> None:
    if fault.kind in formats.LOST:
        raise DataError(f"{fault}. Nothing is cleaned: mend the file, or fetch it again")
    table.drop(table.add(fault), Verdict("quarantined", fault.kind, fault.reason, fault.column))


def _prepare(table: Table, given: Rows, rule: Clean, first: Sequence[Row | Fault | Header]) -> None:
    """Choose the columns by the first rows."""
    name = table.source.name
    if not any(isinstance(row, (Row, Fault)) for row in first):
        raise DataError(f"{name}: the file has no rows. Expected one row a line")
    if isinstance(first[0], Fault) and first[0].line == 1 and table.format in ("csv", "tsv"):
        raise DataError(f"{name}:1: the header can't be read ({first[0].reason}). Expected the names of the columns")
    sound = [row.fields for row in first if isinstance(row, Row)]
    table.names = textual.column_names(sound)
    table.texts = textual.texts(given.columns, sound)
    if table.format in TABLES:  # a list in a cell is written in some way that is not known here
        table.texts = [replace(column, fixed=column.fixed or column.nested) for column in table.texts]
    table.label = textual.label(given.columns, sound)
    there = {
        "text": bool(table.texts) and given.columns.text in (None, *table.names),
        "pair": given.columns.pair in (None, *table.names),
        "label": given.columns.label is None or table.label is not None,
    }
    missing = next((kind for kind, found in there.items() if not found), None)
    if sound and missing:
        shown = ", ".join(map(str, table.names))
        raise DataError(
            f"{name}:1: no column for the {missing}; the file has: {shown}. Name it with columns.{missing}=..."
        )
    fixed = [column.name for column in table.texts if column.fixed]
    if rule.personal and fixed:
        raise SettingsError(
            f"clean.personal: nothing in '{fixed[0]}' of {name} is changed, since answers or tags point into it by place"
        )


def _fault(fields: Mapping[str, Any], table: Table, given: Rows, ids: set[str]) -> Verdict | None:
    """What is wrong with the fields of a row. `ids` are those of the rows before it."""
    for column in table.texts:
        name = column.name
        value = fields.get(name)
        if type(value) is str and not value.isspace() and "\0" not in value and 0 < len(value) <= given.longest:
            continue  # as with most rows
        if value is None:
            if column.needed:
                return _bad("missing", "the field is missing", name)
            continue
        if column.nested and isinstance(value, list):
            value = "\n".join(textual.taken(value))
        if not isinstance(value, str):
            return _bad("type", f"a {type(value).__name__}, expected {'a list' if column.nested else 'text'}", name)
        if column.needed and not value.strip():
            return _bad("empty", "the text is empty", name)
        if "\0" in value:
            return _bad("nul", "the text holds a NUL", name)
        if len(value) > given.longest:
            return _bad("long", f"{len(value):,} characters, at most {given.longest:,} expected", name)
    if table.label is not None:
        value = fields.get(table.label)
        for label in value if isinstance(value, list) and value else [value]:
            if label is None or isinstance(label, (list, dict)) or not str(label).strip():
                return _bad("label", "the label is missing, or not a word or number", table.label)
            if given.labels and str(label).strip() not in given.labels:
                return _bad("label", f"the label {str(label)!r:.60} is none of {', '.join(given.labels)}", table.label)
    if given.id in fields:
        known = repr(fields[given.id])
        if known in ids:
            return _bad("id", f"the id {known:.60} stands in an earlier row", given.id)
        ids.add(known)
    return None


def _bad(rule: str, reason: str, column: str) -> Verdict:
    return Verdict("quarantined", rule, reason, column)


def _texts(table: Table, fields: Mapping[str, Any]) -> Texts:
    free: list[str] = []
    fixed: list[str] = []
    for column in table.texts:
        value = fields.get(column.name)
        if column.fixed:
            fixed.append(" ".join(textual.taken(value)))
        elif type(value) is str:
            free.append(value)
        else:
            free += textual.taken(value)
    return tuple(free), tuple(fixed)


def _too_bad(table: Table, max_bad: float) -> str:
    """What to say of more than `max_bad` of the rows in quarantine; "" of fewer."""
    bad = [(number, verdict) for number, verdict in table.verdicts.items() if verdict.kind == "quarantined"]
    if len(bad) <= max_bad * len(table.raws):
        return ""
    total = Counter(verdict.rule for _, verdict in bad)
    shown = []
    for number, verdict in bad[:5]:
        place = f"{table.where(number)}: byte {table.offsets[number]}"
        shown.append(f"{place}: {f'column {verdict.column!r}: ' if verdict.column else ''}{verdict.reason}")
    if len(bad) > 5:
        shown.append(f"... and {len(bad) - 5:,} more")
    kinds = ", ".join(f"{rule} {count:,}" for rule, count in total.most_common())
    share = f"{len(bad):,} of {len(table.raws):,} rows can't be used ({kinds}), more than max_bad={max_bad:g}"
    return "\n  ".join([f"{table.source.name}: {share}. Mend them, or raise max_bad=:", *shown])


# ---- duplicates


class _Standing:
    """The rows that stand, of all tables in their order, under numbers of their own."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.tables = tables
        self.owners = np.repeat(np.arange(len(tables)), [len(table.keys) for table in tables])
        self.numbers = [number for table in tables for number in table.keys]
        self.keys = [key for table in tables for key in table.keys.values()]

    def place(self, row: int) -> tuple[Table, int]:
        return self.tables[self.owners[row]], self.numbers[row]

    def drop(self, row: int, rule: str, reason: str) -> None:
        table, number = self.place(row)
        table.drop(number, Verdict("duplicate", rule, reason))

    def where(self, row: int) -> str:
        table, number = self.place(row)
        return table.where(number)


def _deduplicate(tables: Sequence[Table], settings: Duplicates) -> None:
    if not (settings.exact or settings.near is not None or settings.fragments):
        return
    if settings.exact:
        _exact(_Standing(tables))
    rows = _Standing(tables)
    alike = np.array([textual.resemble(table.texts) for table in tables])[rows.owners]
    texts = ["" if key[0] == "\0" or not may else key for key, may in zip(rows.keys, alike, strict=True)]
    among = np.ones(len(texts), dtype=bool)
    if settings.near is not None:
        firsts = minhash.clusters(texts, settings.near)
        among = firsts == np.arange(len(texts))
        for row in np.flatnonzero(~among).tolist():
            rows.drop(row, "near", f"like {rows.where(int(firsts[row]))}")
    if settings.fragments:
        whole = dedup.unheld(dedup.Grams(texts, most=dedup.COMPARED), among)
        for row in np.flatnonzero(among & ~whole).tolist():
            rows.drop(row, "fragment", "it stands within a larger row")


def _exact(rows: _Standing) -> None:
    first: dict[str, int] = {}
    labels: dict[str, str] = {}
    contradicting = set()
    for row, key in enumerate(rows.keys):
        first.setdefault(key, row)
        table, number = rows.place(row)
        if (label := table.labels.get(number)) is not None and labels.setdefault(key, label) != label:
            contradicting.add(key)
    for row, key in enumerate(rows.keys):
        if key in contradicting:
            rows.drop(row, "contradicting", "one text under several labels")
        elif first[key] != row:
            rows.drop(row, "exact", f"the text of {rows.where(first[key])}")
