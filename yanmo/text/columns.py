"""Which columns of a table are the texts and the label of a row: those that the settings name, or the usual names.

Knows the first row of a file, and what to say where it has no such columns.
"""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo.errors import DataError, gather
from yanmo.settings import Block
from yanmo.text.formats.names import LESS_USUAL, USUAL


class Columns(Block):
    text: str | None = Field(None, description="the column of the text; null: recognised by its name")
    pair: str | None = Field(None, description="the column of a second text, if the task takes two")
    label: str | None = Field(None, description="the column of the label; null: recognised by its name")
    separator: str | None = Field(
        None, min_length=1, description="what parts several labels of a cell; null: a cell is one label"
    )

    def named(self) -> dict[str, str | None]:
        """ "text", "pair", "label" -> the column that the settings name."""
        return {"text": self.text, "pair": self.pair, "label": self.label}


# Names that people give their columns, tried in this order. A second text is read only where it is asked for.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "text": (*USUAL["text"], *LESS_USUAL, *USUAL["question"]),
    "pair": (),
    "label": USUAL["label"],
}
_NOTE = re.compile(r"sep=.?", re.IGNORECASE)
_UNNAMED = re.compile(r"column\d+")  # how `formats` calls what has no name


def choose(
    row: Mapping[str, Any],
    columns: Columns,
    path: Path,
    usual: Mapping[str, Sequence[str]],
    needed: Collection[str],
    learnt: Mapping[str, str | None],
) -> dict[str, str]:
    """ "text", "pair", "label" -> the column that it is in a file with this first row, where there is one.

    usual: the names of each that are looked for where the settings name none. needed: those that must be there. learnt: the columns that
    a model was trained on. Raises DataError for what is missing."""
    if note := next((cell for cell in (*row, *row.values()) if _NOTE.fullmatch(str(cell))), None):
        raise DataError(f"{path}:1: '{note}' is a note for Excel, no header and no row. Remove this line")
    faults, chosen = [], {}
    for kind, wanted in columns.named().items():
        names = (*filter(None, [learnt.get(kind)]), *usual[kind]) if wanted is None else (wanted,)
        there = (
            present
            for name in names
            for present in row
            if present == name or (wanted is None and present.lower() == name)
        )
        if (found := next(there, None)) is not None:
            chosen[kind] = found
        elif wanted is not None or kind in needed or (kind == "pair" and learnt.get(kind) is not None):
            faults.append(_missing(kind, (usual[kind] or (kind,))[0], wanted, [*row]))
    if faults and (other := _other_table(row, path, usual)):
        raise DataError(f"{path}:1: {other}")
    if (
        faults
        and columns == Columns()
        and usual is COLUMNS
        and "text" in row
        and any(_UNNAMED.fullmatch(name) for name in row)
    ):
        raise DataError(
            f"{path}:1: no header with a known name, and no column that looks like labels. Name the columns in line 1: text, label"
        )
    if len(faults) == 1:
        raise DataError(f"{path}:1: {faults[0]}")
    gather(faults, f"{path}:1:", DataError)
    return chosen


def _missing(kind: str, called: str, wanted: str | None, there: list[str]) -> str:
    """kind: a key of the settings; called: what such a column is usually called."""
    has = f"the file has: {', '.join(there)}"
    near = difflib.get_close_matches(wanted or called, there, n=1)
    if wanted:
        hint = f"Did you mean data.columns.{kind}={near[0]}?" if near else f"Name another with data.columns.{kind}=..."
        return f"no column '{wanted}'; {has}. {hint}"
    if kind == "label" and len(there) == 1:
        return f"no column for the {called}; {has}. Rows without labels are answered by `yanmo predict`, not trained on or scored"
    return f"no column for the {called}; {has}. Call it '{called}', or name it: data.columns.{kind}={near[0] if near else '...'}"


_SEPARATORS = {
    ";": "semicolons part the columns, and a .csv is read with commas. Save it with commas, or as .tsv with tabs",
    "\t": "tabs part the columns, as in a .tsv. Rename the file so that it ends in .tsv",
    ",": "commas part the columns, as in a .csv. Rename the file so that it ends in .csv",
    "|": "bars part the columns, and a .csv is read with commas. Save it with commas, or as .tsv with tabs",
}


def _other_table(row: Mapping[str, Any], path: Path, usual: Mapping[str, Sequence[str]]) -> str:
    """Why a table has not the columns that it seems to have; "" where that is not seen."""
    if len(row) == 1 and path.suffix.lower() in (".csv", ".tsv"):
        line = "\n".join(map(str, *row.items()))
        return next((said for sign, said in _SEPARATORS.items() if sign in line), "")
    if usual is COLUMNS and "tokens" in row and "tags" in row:
        return "these rows are words with tags; expected a text and a label. To learn tags: task.name=tag"
    return ""
