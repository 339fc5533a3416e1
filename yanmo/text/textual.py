"""Which columns of a table are its texts; their texts taken out of a row, and put back.

Knows the names that columns have and what their values may look like. Knows no file and no task.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yanmo.text.columns import COLUMNS, Columns
from yanmo.text.formats.names import TEXTS, USUAL, renamed

_NEEDED = frozenset({"text", "pair", "context", "question", "instruction", "messages", "tokens"})
_FIXED = frozenset({"context", "tokens"})  # answers and tags point into these by their places
_LISTS = frozenset({"messages", "tokens"})
_SEVERAL = _LISTS | {"answers", "target"}
_SHARED = frozenset({"context", "pair"})


@dataclass(frozen=True, slots=True)
class Column:
    """One that holds text."""

    name: str
    standard: str  # what it would usually be called
    nested: bool  # a list of texts, or of turns that hold one each
    fixed: bool  # read, but never changed

    @property
    def needed(self) -> bool:
        """Does a row without it say nothing?"""
        return self.standard in _NEEDED


def texts(given: Columns, rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns that are named, else all that such rows say by the usual names (names.TEXTS); [] where there are none."""
    names = column_names(rows)
    usual = {standard: name for name, standard in renamed(tuple(names)).items()}
    if given.text is None and given.pair is None:
        line = next((line for line in TEXTS if line[0] in usual), ())
        found = [_column(usual[standard], standard, rows) for standard in line if standard in usual]
        return [column for column in found if column.nested or column.standard not in _LISTS]
    wanted = {"text": usual.get("text") if given.text is None else given.text, "pair": given.pair}
    return [_column(name, standard, rows) for standard, name in wanted.items() if name is not None and name in names]


def label(given: Columns, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The column of the label, by its name."""
    names = column_names(rows)
    usual = COLUMNS["label"] if given.label is None else (given.label,)
    return next((name for word in usual for name in names if word in (name, name.lower())), None)


def column_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """All names that the rows have, in the order of their first row."""
    return list(dict.fromkeys(name for fields in rows for name in fields))


def resemble(columns: Sequence[Column]) -> bool:
    """May rows be duplicates because they are alike? Not where many share a context, or one text of a pair, and differ in the other."""
    return _SHARED.isdisjoint(column.standard for column in columns)


def _column(name: str, standard: str, rows: Sequence[Mapping[str, Any]]) -> Column:
    values = [fields[name] for fields in rows if name in fields]
    # What is called `text` is one, however many rows say otherwise; `paragraphs` or `source` may be several.
    may = standard in _SEVERAL or name.lower() not in USUAL.get(standard, ())
    nested = may and 2 * sum(isinstance(value, list) for value in values) > len(values)
    return Column(name, standard, nested, standard in _FIXED)


def taken(value: Any) -> Iterator[str]:
    """The texts in a value: it, its elements, the contents of its turns."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from taken(next((value[name] for name in _CONTENT if name in value), ""))
    elif isinstance(value, list):
        for element in value:
            yield from taken(element)


def put(value: Any, new: Iterator[str]) -> Any:
    """The same value with `new` texts in the places of those that `taken` gives."""
    if isinstance(value, str):
        return next(new)
    if isinstance(value, dict):
        name = next((name for name in _CONTENT if name in value), None)
        return {**value, name: put(value[name], new)} if name is not None else value
    return [put(element, new) for element in value] if isinstance(value, list) else value


_CONTENT = ("content", "value", "text")  # of a turn, or of an answer
