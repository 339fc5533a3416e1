"""Files -> the rows worth keeping, and every other row with its place, its bytes and the rule that dropped it.

Rows are quarantined (unreadable, or not what their column holds), filtered (a rule of `rules.py`), or duplicates (exact, near or
fragments, over all files together, the first one kept); for each file the four counts add up to its rows, exactly.
Writes nothing. Holds all rows in memory.
"""

import base64
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from yanmo.errors import DataError
from yanmo.settings import Block
from yanmo.text import minhash, rows, rules, sources
from yanmo.text.clean import canonical
from yanmo.text.dedup import Grams, unheld
from yanmo.text.rows import Fault, Row
from yanmo.text.rules import Clean
from yanmo.text.sources import Columns

COMPARED = 200  # rows that hold its rarest grams, with which a row is compared to see whether it is a fragment


class Duplicates(Block):
    exact: bool = Field(True, description="drop rows of the same letters and digits as an earlier one")
    near: float | None = Field(
        0.5,
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


@dataclass(slots=True)
class Table:
    """One file, taken apart. `verdicts` holds (kind, rule, reason, column) of each row that is dropped."""

    path: Path
    header: list[str]
    rows: list[Row | Fault]
    texts: list[str]  # the columns that are text
    label: str | None
    verdicts: dict[int, tuple[str, str, str, str]] = field(default_factory=dict)
    clean: dict[int, tuple[str, ...]] = field(default_factory=dict)  # the cleaned texts of the rows that stand


Read = Callable[[Path], tuple[list[str], list[Row | Fault]]]


def clean(
    paths: Sequence[Path], given: Rows, rule: Clean, duplicates: Duplicates, max_bad: float, read: Read = rows.read
) -> list[Table]:
    """The files with a verdict on every dropped row and the cleaned texts of all others.

    Raises DataError for a file without rows or without a text column, and where more than `max_bad` of a file is quarantined.
    """
    tables = [_table(path, given.columns, *read(path)) for path in paths]
    for table in tables:
        _quarantine(table, given)
    refused = [message for table in tables if (message := _too_bad(table, max_bad))]
    if refused:
        raise DataError("\n".join(refused))
    edits, keeps = rules.chosen(rule)
    for table in tables:
        for number, texts in table.clean.items():
            for edit in edits.values():
                texts = tuple(map(edit, texts))
            table.clean[number] = texts
        for number, texts in list(table.clean.items()):
            whole = "\n".join(filter(None, texts))
            broken = next((name for name, keep in keeps.items() if not keep(whole)), None)
            if broken:
                _drop(table, number, "filtered", broken, f"the filter clean.{broken}")
    _deduplicate(tables, duplicates)
    for table in tables:
        found = counts(table)
        assert found["rows"] == sum(found[kind] for kind in ("kept", *KINDS)), f"{table.path}: a row was lost"  # noqa: S101
    return tables


KINDS = ("filtered", "duplicate", "quarantined")


def counts(table: Table) -> dict[str, Any]:
    """rows, kept, and what each kind and each rule dropped."""
    kinds = Counter(kind for kind, _, _, _ in table.verdicts.values())
    named = Counter(f"{kind}.{rule}" for kind, rule, _, _ in table.verdicts.values())
    return {
        "rows": len(table.rows),
        "kept": len(table.clean),
        **{kind: kinds[kind] for kind in KINDS},
        "rules": dict(sorted(named.items())),
    }


def _drop(table: Table, number: int, kind: str, rule: str, reason: str, column: str = "") -> None:
    table.clean.pop(number, None)
    table.verdicts[number] = (kind, rule, reason, column)


def _table(path: Path, columns: Columns, header: list[str], found: list[Row | Fault]) -> Table:
    if not found:
        raise DataError(f"{path}: the file has no rows. Expected one row a line")
    sound = [row.fields for row in found if isinstance(row, Row)]
    names = header or list(dict.fromkeys(name for fields in sound[:1000] for name in fields))

    def one(kind: str, wanted: str | None) -> str | None:
        usual = sources.COLUMNS[kind] if wanted is None else (wanted,)
        return next((name for word in usual for name in names if word in (name, name.lower())), None)

    text, pair, label = one("text", columns.text), one("pair", columns.pair), one("label", columns.label)
    for asked, name, kind in ((True, text, "text"), (columns.pair, pair, "pair"), (columns.label, label, "label")):
        if asked and name is None and sound:
            shown = ", ".join(map(str, names))
            raise DataError(
                f"{path}:1: no column for the {kind}; the file has: {shown}. Name it with columns.{kind}=..."
            )
    return Table(path, header, found, [name for name in (text, pair) if name is not None], label)


def _quarantine(table: Table, given: Rows) -> None:
    """Sort out what can't be read or is not what its column holds; the texts of all other rows go to `table.clean`."""
    ids: set[str] = set()
    for number, row in enumerate(table.rows):
        if isinstance(row, Fault):
            _drop(table, number, "quarantined", row.rule, row.reason, row.column)
            continue
        fault = _fault(row.fields, table, given, ids)
        if fault:
            _drop(table, number, "quarantined", *fault)
        else:
            table.clean[number] = tuple(row.fields[name] for name in table.texts)


def _fault(fields: Mapping[str, Any], table: Table, given: Rows, ids: set[str]) -> tuple[str, str, str] | None:
    """(rule, reason, column) of what is wrong with the fields of a row. `ids` are those of the rows before it."""
    for name in table.texts:
        text = fields.get(name)
        if text is None:
            return "missing", "the field is missing", name
        if not isinstance(text, str):
            return "type", f"a {type(text).__name__}, expected text", name
        if not text.strip():
            return "empty", "the text is empty", name
        if "\0" in text:
            return "nul", "the text holds a NUL", name
        if len(text) > given.longest:
            return "long", f"{len(text):,} characters, at most {given.longest:,} expected", name
    if table.label is not None:
        label = fields.get(table.label)
        if label is None or isinstance(label, (list, dict)) or not str(label).strip():
            return "label", "the label is missing, or not a word or number", table.label
        if given.labels and str(label).strip() not in given.labels:
            return "label", f"the label {str(label)!r:.60} is none of {', '.join(given.labels)}", table.label
    if given.id in fields:
        value = json.dumps(fields[given.id], ensure_ascii=False)
        if value in ids:
            return "id", f"the id {value:.60} stands in an earlier row", given.id
        ids.add(value)
    return None


def _too_bad(table: Table, max_bad: float) -> str:
    """What to say of more than `max_bad` of the rows in quarantine (the only verdicts so far); "" of fewer."""
    bad = list(table.verdicts.items())
    if len(bad) <= max_bad * len(table.rows):
        return ""
    total = Counter(rule for _, (_, rule, _, _) in bad)
    shown = []
    for number, (_, _, reason, column) in bad[:5]:
        row = table.rows[number]
        shown.append(f"{table.path}:{row.line}: byte {row.offset}: {f'column {column!r}: ' if column else ''}{reason}")
    if len(bad) > 5:
        shown.append(f"... and {len(bad) - 5:,} more")
    kinds = ", ".join(f"{rule} {count:,}" for rule, count in total.most_common())
    share = f"{len(bad):,} of {len(table.rows):,} rows can't be used ({kinds}), more than max_bad={max_bad:g}"
    return "\n  ".join([f"{table.path}: {share}. Mend them, or raise max_bad=:", *shown])


def _deduplicate(tables: Sequence[Table], settings: Duplicates) -> None:
    places = [(table, number) for table in tables for number in table.clean]
    standing: dict[str, tuple[Table, int]] = {}
    if settings.exact:
        labels: dict[str, set[str]] = {}
        keys = []
        for table, number in places:
            whole = "\n".join(table.clean[number])
            keys.append(canonical(whole) or whole)
            row = table.rows[number]
            if table.label is not None and isinstance(row, Row):
                labels.setdefault(keys[-1], set()).add(str(row.fields[table.label]))
        for key, (table, number) in zip(keys, places, strict=True):
            if len(labels.get(key, ())) > 1:
                _drop(table, number, "duplicate", "contradicting", "one text under several labels")
            elif key in standing:
                _drop(table, number, "duplicate", "exact", f"the text of {_where(*standing[key])}")
            else:
                standing[key] = (table, number)
    left = [(table, number) for table in tables for number in table.clean]
    texts = [canonical("\n".join(table.clean[number])) for table, number in left]
    among = np.ones(len(left), dtype=bool)
    if settings.near is not None:
        firsts = minhash.clusters(texts, settings.near)
        for place in np.flatnonzero(firsts != np.arange(len(left))):
            among[place] = False
            _drop(*left[place], "duplicate", "near", f"like {_where(*left[firsts[place]])}")
    if settings.fragments:
        for place in np.flatnonzero(among & ~unheld(Grams(texts, most=COMPARED), among)):
            _drop(*left[place], "duplicate", "fragment", "it stands within a larger row")


def _where(table: Table, number: int) -> str:
    return f"{table.path}:{table.rows[number].line}"


# ---- writing


def kept(table: Table) -> str:
    """The rows that are kept, in the format of their file; a row whose text was not changed stands as it stood."""
    lines = [_line(table.header, table.path)] if table.header else []
    for number in sorted(table.clean):
        row, texts = table.rows[number], table.clean[number]
        assert isinstance(row, Row)  # noqa: S101
        old = tuple(row.fields[name] for name in table.texts)
        if old == texts:
            lines.append(row.raw.decode())
            continue
        fields = {**row.fields, **dict(zip(table.texts, texts, strict=True))}
        if rows.kind(table.path) == "jsonl":
            lines.append(json.dumps(fields, ensure_ascii=False))
        else:
            lines.append(_line([str(value) for value in fields.values()], table.path))
    return "".join(line + "\n" for line in lines)


def _line(cells: Sequence[str], path: Path) -> str:
    if rows.kind(path) != "csv":  # where a row is a line
        return "\t".join(" ".join(cell.split()) for cell in cells)
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


def rejects(tables: Sequence[Table]) -> str:
    """A JSON line for each dropped row: file, line, offset (bytes), column, kind, rule, reason, and raw or raw_base64."""
    lines = []
    for table in tables:
        for number, (kind, rule, reason, column) in sorted(table.verdicts.items()):
            row = table.rows[number]
            place = {"file": str(table.path), "line": row.line, "offset": row.offset, "column": column}
            lines.append(
                json.dumps({**place, "kind": kind, "rule": rule, "reason": reason, **_raw(row.raw)}, ensure_ascii=False)
            )
    return "".join(line + "\n" for line in lines)


def _raw(raw: bytes) -> dict[str, str]:
    try:
        return {"raw": raw.decode()}
    except UnicodeDecodeError:
        return {"raw_base64": base64.b64encode(raw).decode()}
