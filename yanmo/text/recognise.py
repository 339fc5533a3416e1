"""A data file -> what its rows are for, and which of its columns is what; by the names of the columns, else by what they hold.

Reads the first rows only. Knows no task's code and no model.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yanmo.errors import DataError, gather
from yanmo.text import formats
from yanmo.text.columns import Columns
from yanmo.text.formats import names, tables

_ROWS = 5000  # that are looked at


@dataclass(frozen=True)
class Recognised:
    format: str
    encoding: str
    kind: str  # as names.task: classify, match, tag, answer, texts ...
    columns: Columns  # the file's own names; none of plain lines, which have no columns
    present: tuple[str, ...]  # all columns of the file


def recognise(path: Path, named: Columns) -> Recognised:
    """What a file is. named: columns that are known to be this or that, which are not to be found out.

    Raises DataError for a file that can't be read, that has no text, or not the named columns."""
    found = formats.recognise(path)
    faults: list[formats.Fault] = []
    rows = [row.fields for row in itertools.islice(formats.raw(path, faults), _ROWS)]
    if not rows:
        raise DataError(f"{path}: no rows in it" + (f" that can be read, such as {faults[0]}" if faults else ""))
    present = tuple(rows[0])
    standard = names.standard(rows[0])
    own = {standard: name for name, standard in names.renamed(present).items()}
    kind = names.task(standard)
    if kind in ("table", "texts") and len(present) > 1:
        guessed = _by_content(present, rows)
        own = guessed if "label" in guessed or kind == "table" else own
        kind = names.task(dict.fromkeys(own, ""))
    given = {standard: name for standard, name in named.named().items() if name is not None}
    absent = [
        f"data.columns.{standard}: no column '{name}'; the file has: {', '.join(present)}"
        for standard, name in given.items()
        if name not in present
    ]
    gather(absent, f"{path}:1:", DataError)
    if given:
        own = {standard: name for standard, name in own.items() if name not in given.values()} | given
        kind = names.task(dict.fromkeys(own, ""))
    if kind == "table":
        raise DataError(f"{path}: no column of text among {', '.join(present)}. Name it: data.columns.text=...")
    if kind in ("classify", "texts") and "text" in own and all(_marked(row.get(own["text"])) for row in rows):
        relation = next((name for name in present if name.lower() == "relation"), None)
        own |= {"label": relation} if relation and "label" not in own else {}
        kind = "relate" if "label" in own else kind
    if kind in ("classify", "match") and _real(row.get(own.get("label", "label")) for row in rows):
        kind = "rate"
    if kind == "match" and "label" not in own:
        kind = "rate" if "score" in own else "pairs"
    lines = found.format in ("text", "label text")
    columns = Columns() if lines else Columns(**{name: own.get(name) for name in named.named()})
    columns.separator = named.separator
    return Recognised(found.format, found.encoding, kind, columns, present)


def _by_content(present: Sequence[str], rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """standard name -> column, for columns that are called as nobody expects: few values are labels, the longest are texts."""
    plain = [name for name in present if not isinstance(rows[0].get(name), (list, dict))]
    cells = [["" if row.get(name) is None else str(row.get(name)) for name in plain] for row in rows]
    guessed, _ = tables.guess(cells)
    return {standard: name for standard, name in zip(guessed, plain, strict=True) if standard in ("text", "label")}


def _marked(text: Any) -> bool:
    """Are two entities marked in a text, as in SemEval-2010 task 8?"""
    return isinstance(text, str) and all(sign in text for sign in ("<e1>", "</e1>", "<e2>", "</e2>"))


def _real(values: Any) -> bool:
    """Are these labels numbers on a scale: many, and not all whole?"""
    words = {str(value).strip() for value in values if value not in (None, "")}
    try:
        numbers = {float(word) for word in words}
    except ValueError:
        return False
    return len(numbers) > 2 and any(not number.is_integer() for number in numbers)
