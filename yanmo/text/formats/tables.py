""".csv, .tsv and text lines with tabs, with a header or without one; names for the columns of a table without a header.

In a .csv quotes may hold separators and line ends; in lines with tabs a quote is text. A row is read as soon as it is there; only
the first rows are held, to name the columns by.
"""

import csv
import itertools
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from yanmo.errors import DataError, some
from yanmo.text.formats.base import Fault, Header, Line, Row, Source, Stream
from yanmo.text.formats.names import KNOWN

MOST_LABELS = 200  # a column with more distinct values than this is not taken for a label
_ROWS, _BYTES = 20_000, 1 << 23  # of the rows that columns are named by
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_SCORE = re.compile(r"-?\d+\.\d+")
_NUMBERS = re.compile(r"\d+(,\d+)*")
_CHINESE = re.compile("[\u3400-\u9fff]")
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class Cells:
    line: Line  # where the row begins, and its bytes
    cells: list[str]


def tabbed(source: Source) -> Stream:
    return _table(
        source, (cells if isinstance(cells, Fault) else Cells(cells, cells.text.split("\t")) for cells in source.full())
    )


def comma(source: Source) -> Stream:
    return _table(source, _quoted(source))


def is_tabbed(lines: Sequence[str]) -> bool:
    """Are the lines of a file that does not say so a table: as many tabs, and at least one, in each?"""
    return len({line.count("\t") for line in lines}) == 1 and "\t" in lines[0]


def _table(source: Source, found: Iterator[Cells | Fault]) -> Stream:
    """The first rows are held back until the columns have names."""
    held: list[Cells | Fault] = []
    size = 0
    for cells in found:
        held.append(cells)
        size += len(cells.raw if isinstance(cells, Fault) else cells.line.raw)
        if len(held) >= _ROWS or size >= _BYTES:
            break
    rows = [row for row in held if isinstance(row, Cells)]
    if not rows:
        yield from (fault for fault in held if isinstance(fault, Fault))
        return
    names = header(rows[0].cells, [row.cells for row in rows[1:101]], source.columns)
    convert: dict[int, Callable[[str], object]] = {}
    if names:
        held.remove(rows[0])
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"{source.name}:1: two columns are called {', '.join(map(repr, twice))}; rename one")
        yield Header(rows[0].line.raw)
    else:
        names, convert = guess([row.cells for row in rows])
    for row in itertools.chain(held, found):
        if isinstance(row, Fault):
            yield row
        elif len(row.cells) != len(names):
            yield source.fault(
                row.line, f"{some(len(row.cells), 'column')}, expected {len(names)} ({', '.join(names)})", "ragged"
            )
        else:
            fields: dict[str, object] = dict(zip(names, row.cells, strict=True))
            try:
                fields |= {names[i]: change(row.cells[i]) for i, change in convert.items()}
            except ValueError:
                yield source.fault(row.line, f"not such values as in the other rows: {row.cells!r:.60}", "value")
            else:
                yield Row(fields, row.line.number, row.line.offset, row.line.raw)


def header(first: Sequence[str], others: Sequence[Sequence[str]], known: frozenset[str]) -> list[str]:
    """The names in a first line, if it has names: one is known, or words stand above columns of numbers. Else []."""
    cells = [cell.strip().strip('"') for cell in first]
    names = [cell or f"column{i}" for i, cell in enumerate(cells, 1)]
    if KNOWN & {cell.lower() for cell in cells} or known & {*cells}:
        return names
    words = all(len(name) < 40 and _LETTER.search(name) for name in names) and len({*names}) == len(names)
    same = [row for row in others if len(row) == len(names)]
    numbers = any(all(_NUMBER.fullmatch(row[i]) for row in same) for i in range(len(names)))
    return names if words and same and numbers else []


def _quoted(source: Source) -> Iterator[Cells | Fault]:
    """The rows of a .csv. A quote that is left open, or closed within a cell, spoils its own line only: reading goes on at the next."""
    lines = source.lines()
    again: deque[Line | Fault] = deque()  # what a row with an open quote had taken
    width = 0
    while (line := again.popleft() if again else next(lines, None)) is not None:
        if isinstance(line, Fault):
            yield line
            continue
        if '"' not in line.text:
            if line.text.strip():
                cells = line.text.split(",")
                width = width or len(cells)
                yield Cells(line, cells)
            continue
        taken: list[Line | Fault] = [line]
        try:
            cells = next(csv.reader(_taking(taken, again, lines), strict=True))
        except csv.Error as error:
            again.extendleft(reversed(taken[1:]))
            yield _unread(source, line, str(error), len(taken))
            continue
        whole = [part for part in taken if isinstance(part, Line)]
        # An open quote runs on to the next one of the file; where that closes it by chance, the columns are too many or too few.
        if len(taken) > 1 and (len(whole) < len(taken) or len(cells) != (width or len(cells))):
            again.extendleft(reversed(taken[1:]))
            yield _unread(source, line, "", len(taken))
            continue
        width = width or len(cells)
        yield Cells(line._replace(raw=b"".join(part.raw for part in whole)), cells)


def _unread(source: Source, line: Line, error: str, taken: int) -> Fault:
    if "limit" not in error:
        return source.fault(line, "a quote is left open, or closed within a cell", "quote")
    hint = f"Is a quote left open there? Longer texts than {csv.field_size_limit():,} characters: a .jsonl"
    return source.fault(line, f"not readable as .csv ({error}). {hint}", "quote" if taken > 1 else "long")


def _taking(taken: list[Line | Fault], again: deque[Line | Fault], lines: Iterator[Line | Fault]) -> Iterator[str]:
    """The texts of a row's lines; every line but the first, which is there, is taken when the row needs it."""
    first = taken[0]
    yield "" if isinstance(first, Fault) else first.text + "\n"
    while (line := again.popleft() if again else next(lines, None)) is not None:
        taken.append(line)
        yield "" if isinstance(line, Fault) else line.text + "\n"


# ---- tables without a header

Columns = list[list[str]]


def guess(rows: Sequence[Sequence[str]]) -> tuple[list[str], dict[int, Callable[[str], object]]]:
    """Names for the columns, and what is to be done with the cells of some of them."""
    width = len(rows[0])
    columns = [[row[i] for row in rows if len(row) == width] for i in range(width)]
    for shape, fits in _SHAPES:
        if len(shape) == width and fits(columns):
            return list(shape), {i: _CONVERT[name] for i, name in enumerate(shape) if name in _CONVERT}
    names = [f"column{i}" for i in range(1, width + 1)]
    convert: dict[int, Callable[[str], object]] = {}
    size = [sum(map(len, column)) for column in columns]
    rest = list(range(width))
    if width > 1:
        # The label has the fewest distinct values; of two such columns it is the shorter one. A constant is not a label.
        distinct = [len(_labels(column)) for column in columns]
        label = min(rest, key=lambda i: (distinct[i] == 1, distinct[i], size[i]))
        if distinct[label] <= min(MOST_LABELS, max(10, len(rows) // 2)):
            rest.remove(label)
            names[label] = "label"
            if _several(columns[label]):
                convert[label] = lambda cell: cell.split(",")
    text = max(rest, key=size.__getitem__)
    if any(_LETTER.search(cell) for cell in columns[text][:1000]):
        names[text] = "text"
    return names, convert


def _several(column: Sequence[str]) -> bool:
    return all(map(_NUMBERS.fullmatch, column)) and any("," in cell for cell in column)


def _labels(column: Sequence[str]) -> set[str]:
    """The distinct values; of lists of numbers (4,27), the distinct numbers."""
    distinct = {*column}
    return {word for cell in distinct for word in cell.split(",")} if _several(column) else distinct


def _most(fits: Iterator[bool]) -> bool:
    answers = list(fits)
    return sum(answers) >= 0.9 * len(answers)


def _relations(columns: Columns) -> bool:
    return _most(head in text and tail in text for head, tail, _, text in zip(*columns, strict=True))


def _paths(columns: Columns) -> bool:
    return _most(path.count("#") > 1 and answer.endswith(")") for _, answer, path in zip(*columns, strict=True))


def _triples(columns: Columns) -> bool:
    """A knowledge base: few relations between many names, none of them a sentence."""
    heads, relations, tails = columns
    few = len({*relations}) <= min(MOST_LABELS, max(2, len(relations) // 4)) and not any(
        map(_NUMBER.fullmatch, relations)
    )
    return (
        few and len({*heads}) > 1 < len({*tails}) and _most(" " not in name for row in (heads, tails) for name in row)
    )


def _translations(columns: Columns) -> bool:
    """One of the two is Chinese, and neither is a label or a number."""
    both = columns[0], columns[1]
    if len(both[0]) < 10 or any(len({*column}) < len(column) / 3 for column in both):
        return False
    if not all(_most(bool(_LETTER.search(cell)) for cell in column) for column in both):
        return False
    return _most(bool(_CHINESE.search(one)) != bool(_CHINESE.search(other)) for one, other in zip(*both, strict=True))


def _scores(columns: Columns) -> bool:
    return all(_NUMBER.fullmatch(cell) for cell in columns[2]) and any(_SCORE.fullmatch(cell) for cell in columns[2])


_SHAPES: tuple[tuple[tuple[str, ...], Callable[[Columns], bool]], ...] = (
    (("head", "tail", "relation", "text"), _relations),
    (("question", "answers", "path"), _paths),
    (("text", "target", "attribution"), _translations),
    (("text", "target"), _translations),
    (("text", "pair", "score"), _scores),
    (("head", "relation", "tail"), _triples),
)


def _answer_set(cell: str) -> list[str]:
    """`first(first/second/)`, as PathQuestion writes a set of answers."""
    inside = cell.partition("(")[2].removesuffix(")")
    return [answer for answer in inside.split("/") if answer]


_CONVERT: dict[str, Callable[[str], object]] = {"answers": _answer_set, "score": float}
