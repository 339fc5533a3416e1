"""What cleaning leaves, as the lines of files: the rows that are kept, and every other one with its reason. UTF-8 and line feeds.

Rows of JSON lines, tables and plain text stand as they stood, but for the texts that were changed. All other formats (parquet,
CoNLL, SQuAD, fastText ...) become JSON lines, under the names of the columns as they were read.
"""

import base64
import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from yanmo.text.cleaning import KEPT, Table
from yanmo.text.formats.folders import stem
from yanmo.text.textual import put


def file_name(table: Table) -> str:
    """What the kept rows are called: as their file was, without what it was packed in."""
    own = table.source.member.file_name
    return own if table.format in KEPT else f"{stem(own)}.jsonl"


def kept(table: Table) -> Iterator[bytes]:
    """The lines of the rows that are kept. A row whose texts were not changed stands as it stood."""
    if table.header is not None:
        yield _ended(_text(table, table.header.raw, first=True))
    as_it_stood = table.source.unmarked == "utf-8"
    fields, changed, lines, raws = table.fields, table.changed, table.lines, table.raws
    for number in table.keys:
        if number in fields:
            yield _json(_changed(table, number, fields[number])).encode()
        elif as_it_stood and number not in changed and lines[number] > 1:
            yield raws[number].rstrip(b"\r\n") + b"\n"
        else:
            text = _text(table, raws[number], first=lines[number] == 1)
            yield _ended(_rewritten(table, number, text) if number in changed else text)


def _ended(text: str) -> bytes:
    return f"{text}\n".encode()


def _text(table: Table, raw: bytes, first: bool) -> str:
    """The text of a row's bytes, without its line end; of the first without a byte order mark."""
    text = raw.decode(table.source.unmarked)
    return (text.removeprefix("\ufeff") if first else text).rstrip("\r\n")


def _json(fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False, default=str) + "\n"


def _changed(table: Table, number: int, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a row with its cleaned texts."""
    if number not in table.changed:
        return fields
    new = iter(table.changed[number])
    free = [column.name for column in table.texts if not column.fixed and fields.get(column.name) is not None]
    return {**fields, **{name: put(fields[name], new) for name in free}}


def _rewritten(table: Table, number: int, text: str) -> str:
    """The line of a row whose texts were changed: all else in it stays."""
    if table.format == "text":  # nothing else is in it; a row is a line, so the text may not be two
        return " ".join(table.changed[number][0].split())
    if table.format == "jsonl":
        return json.dumps(_changed(table, number, json.loads(text)), ensure_ascii=False)
    between = " " if table.format == "label text" else "\t"
    cells = text.split(between, len(table.names) - 1)
    if table.format == "csv":
        cells = next(csv.reader(io.StringIO(text, newline="")))
    changed = _changed(table, number, dict(zip(table.names, cells, strict=True)))
    if table.format == "csv":
        buffer = io.StringIO()
        # With another line end, a line break within a cell would not be quoted.
        csv.writer(buffer, lineterminator="\r\n").writerow(changed.values())
        return buffer.getvalue().removesuffix("\r\n")
    for column in table.texts:  # a row is a line, so no text may be two
        changed[column.name] = " ".join(changed[column.name].split())
    return between.join(changed.values())


def rejects(tables: Sequence[Table]) -> Iterator[bytes]:
    """A JSON line for each dropped row: file, line, offset (bytes, unpacked), column, kind, rule, reason, and raw: its text without
    the line end; raw_base64 where its bytes are no text; fields where it has no bytes of its own."""
    for table in tables:
        for number, verdict in sorted(table.verdicts.items()):
            place = {"file": table.source.name, "line": table.lines[number], "offset": table.offsets[number]}
            why = {"column": verdict.column, "kind": verdict.kind, "rule": verdict.rule, "reason": verdict.reason}
            yield _json({**place, **why, **_raw(table, number)}).encode()


def _raw(table: Table, number: int) -> dict[str, Any]:
    raw = table.raws[number]
    if not raw and number in table.fields:
        return {"fields": table.fields[number]}
    for end in "\n\r":
        raw = raw.removesuffix(end.encode(table.source.unmarked))
    try:
        return {"raw": raw.decode(table.source.unmarked)}
    except UnicodeDecodeError:
        return {"raw_base64": base64.b64encode(raw).decode()}
