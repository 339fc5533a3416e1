"""A file -> its rows, each with its place and its bytes; what can't be read becomes a `Fault` in its place and the next row is read.

JSON lines, `.csv` and `.tsv`, and plain text (one row a line), in UTF-8. Empty lines are no rows. Knows nothing of what columns mean.
"""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yanmo.errors import DataError

TEXT = "text"  # the one column of plain text


@dataclass(frozen=True, slots=True)
class Row:
    fields: dict[str, Any]
    line: int  # from 1
    offset: int  # of its first byte
    raw: bytes  # without its line end


@dataclass(frozen=True, slots=True)
class Fault:
    line: int
    offset: int
    column: str  # "" where it is not one column's fault
    rule: str
    reason: str
    raw: bytes


def kind(path: Path) -> str:
    """jsonl, csv, tsv or txt, by the name of a file."""
    return {".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv"}.get(path.suffix.lower(), "txt")


def read(path: Path) -> tuple[list[str], list[Row | Fault]]:
    """(the columns of a header, none where the format has none; the rows and faults in their order)."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from None
    start = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    if kind(path) == "jsonl":
        return [], [_json(line, offset, raw) for line, offset, raw in _lines(content, start)]
    if kind(path) == "txt":
        return [], [_plain(line, offset, raw) for line, offset, raw in _lines(content, start)]
    found = _records(content, start) if kind(path) == "csv" else _lines(content, start)
    first = next(found, None)
    if first is None:
        return [], []
    head = _decoded(*first)
    if isinstance(head, Fault):
        raise DataError(f"{path}:1: the header can't be read ({head.reason}). Expected the names of the columns")
    header = [name.strip() for name in _cells(head, path)]
    if len({*header}) < len(header):
        raise DataError(f"{path}:1: two columns have one name ({', '.join(header)})")
    return header, [_separated(line, offset, raw, header, path) for line, offset, raw in found]


Piece = tuple[int, int, bytes]  # line, offset, bytes without the line end

# Inside a quoted cell only a doubled quote is a quote; a quote elsewhere is text.
_CELL = rb'(?:"(?:[^"]++|"")*+"|(?!")[^,\n]*+)'
_RECORD = re.compile(_CELL + rb"(?:," + _CELL + rb")*+(?=\r?\n|\r?\Z)")
_LONGEST = 1 << 22  # bytes of a record; a quote that is still open after them was left open


def _lines(content: bytes, start: int) -> Iterator[Piece]:
    line = 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        line += 1
        raw = content[start:end].removesuffix(b"\r")
        if raw.strip():
            yield line, start, raw
        start = end + 1


def _records(content: bytes, start: int) -> Iterator[Piece]:
    """The records of a .csv. Where a quote is left open, or closed in the midst of a cell, the line stands for itself: `_separated`
    finds it wanting, and the next line is read as if it were not there."""
    line, columns = 1, None
    while start < len(content):
        match = _RECORD.match(content, start, min(len(content), start + _LONGEST))
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        if match and match.end() > end:
            cells = next(csv.reader([match.group().decode("utf-8", "replace")], strict=True), [])
            end = match.end() if columns is None or len(cells) == columns else end
        end += content[end : end + 1] == b"\r"
        raw = content[start:end].removesuffix(b"\r")
        if raw.strip():
            if columns is None:
                columns = len(next(csv.reader([raw.decode("utf-8", "replace")]), []))
            yield line, start, raw
        line += raw.count(b"\n") + 1
        start = end + 1


def _decoded(line: int, offset: int, raw: bytes) -> str | Fault:
    if b"\0" in raw:
        return Fault(line, offset, "", "nul", f"a NUL at byte {raw.index(0) + 1}: binary, or UTF-16", raw)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        place = f"byte {error.start + 1} of the row (0x{raw[error.start]:02x}) is not UTF-8"
        return Fault(line, offset, "", "utf8", f"{place}; iconv -f GB18030 -t UTF-8 may help", raw)


def _plain(line: int, offset: int, raw: bytes) -> Row | Fault:
    text = _decoded(line, offset, raw)
    return text if isinstance(text, Fault) else Row({TEXT: text}, line, offset, raw)


def _json(line: int, offset: int, raw: bytes) -> Row | Fault:
    text = _decoded(line, offset, raw)
    if isinstance(text, Fault):
        return text
    try:
        fields = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return Fault(line, offset, "", "surrogate", "half of a surrogate pair (\\ud...) stands alone", raw)
    except (ValueError, RecursionError) as error:
        return Fault(line, offset, "", "json", f"not JSON ({error})", raw)
    if not isinstance(fields, dict):
        return Fault(line, offset, "", "object", f"a {type(fields).__name__}, expected an object", raw)
    return Row(fields, line, offset, raw)


def _cells(text: str, path: Path) -> list[str]:
    return text.split("\t") if kind(path) == "tsv" else next(csv.reader([text], strict=True), [])


def _separated(line: int, offset: int, raw: bytes, header: list[str], path: Path) -> Row | Fault:
    text = _decoded(line, offset, raw)
    if isinstance(text, Fault):
        return text
    if kind(path) == "csv" and not _RECORD.fullmatch(raw):
        return Fault(line, offset, "", "quote", "a quote is left open, or closed within a cell", raw)
    try:
        cells = _cells(text, path)
    except csv.Error as error:
        return Fault(line, offset, "", "long", f"not readable as .csv ({error})", raw)
    if len(cells) != len(header):
        return Fault(line, offset, "", "ragged", f"{len(cells)} columns, expected {len(header)}", raw)
    return Row(dict(zip(header, cells, strict=True)), line, offset, raw)
