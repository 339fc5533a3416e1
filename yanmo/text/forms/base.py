"""What a form gives and takes: the fields of one row -> the texts, labels and marks of an Example.

Knows one row at a time, under the names that its file has for the columns, and the labels of all rows. Knows no file and no task.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Fields = Mapping[str, Any]
Picked = Mapping[str, str]  # of "text", "pair" and "label": the column that it is in a file, where it has one
Mark = tuple[int, int]  # characters (from, to) of the last text
Labels = tuple[str, ...]
NOWHERE: Mark = (-1, -1)


class Parsed(NamedTuple):
    texts: tuple[str, ...]
    labels: Labels = ()
    marks: tuple[Mark, ...] = ()
    mended: str = ""  # the rule by which something in the row was put right


class Unfit(Exception):
    """A row that can't be used: why, and what to do. With a rule, it is left out by that; else nothing of its file is used."""

    def __init__(self, why: str, rule: str = "") -> None:
        super().__init__(why)
        self.rule = rule


Slip = tuple[int, int, str]  # (row, which of its labels, what is wrong with it)


class Settled(NamedTuple):
    """What the labels of a file's rows are, seen together."""

    labels: Sequence[Labels]
    mended: Sequence[Slip]
    rule: str  # by which these were put right
    faults: Sequence[Slip]  # that can't be


@dataclass(frozen=True)
class Form:
    read: Callable[[Fields, Picked, bool], Parsed]  # the bool: must it have labels? Raises Unfit
    columns: Mapping[
        str, tuple[str, ...]
    ]  # "text", "pair", "label" -> the names looked for where the settings name none
    needed: tuple[str, ...] = ("text",)  # those without which no row says anything
    bears: bool = True  # labels: False where rows are learnt from without
    lines: str = "text"  # the format (a key of FORMATS) of plain lines with labels
    settle: Callable[[Sequence[Labels]], Settled] | None = None  # for labels that one row alone does not explain
    id: str = ""  # the field by which a row is called, where many stand in one line
    together: int = 0  # the text whose rows stay in one part when rows are divided
    asked: Callable[[Any], Hashable] = lambda example: (
        example.texts
    )  # what a row asks: equal for rows with one right answer


def word(value: Any) -> str:
    """A cell as text; "" of what is not there. NaN is what pandas makes of it."""
    return "" if value is None or value != value else str(value).strip()
