"""A page of small parts: one HTML file that loads nothing and runs nothing.

A page is a list of Sections of Text, Figures, Table, Lines, Bars, Confusion and Code; `render` is a pure function to
HTML. Style and charts stand in the file, and its policy forbids the rest. Whatever comes from outside (labels, texts,
paths) is escaped. The parts know how things look and nothing about models; report.py says what stands in them.
report.html.j2 has one macro for each kind of part.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from yanmo import files

Points = Sequence[tuple[float, float]]
Cell = str | int | float | None

# ---- numbers


def number(value: Cell) -> str:
    """A cell as people read it: 1,234,567 or 0.8612 or 3e-05 or text as it is."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    size = 0.0 if abs(value) < 1e-12 else abs(value)  # rounding, where 0 is meant
    form = ",.0f" if size >= 1000 else ".2f" if size >= 10 else ".4f" if size >= 1e-3 or size == 0 else ".2g"
    return format(value if size else 0.0, form) if math.isfinite(value) else str(value)


@dataclass(frozen=True)
class _Axis:
    """A range of values laid out from 0 to 100 percent, with round numbers on it."""

    low: float
    high: float
    step: float

    @classmethod
    def of(cls, values: Sequence[float], *, enclose: bool, count: int = 5) -> "_Axis":
        """`enclose` widens the range to the round numbers round it."""
        low, high = min(values), max(values)
        if low == high:
            low, high = low - (abs(low) * 0.1 or 1), high + (abs(high) * 0.1 or 1)
        rough = (high - low) / count
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
        if enclose:
            low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        return cls(low, high, step)

    def at(self, value: float) -> float:
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def ticks(self) -> list[tuple[float, str]]:
        """(percent, label) of the round numbers."""
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return [(self.at(index * self.step), self.label(index * self.step)) for index in range(first, last + 1)]

    def label(self, value: float) -> str:
        """With as many decimals as the step has; from ten thousand on in k, M or G."""
        for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= 10 * scale:
                return f"{value / scale:.6g}{letter}"
        return f"{value:.{max(0, -math.floor(math.log10(self.step) + 1e-9))}f}"


# ---- the parts of a page


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Code:
    """Commands or settings, as they are typed."""

    text: str


@dataclass(frozen=True)
class Figures:
    """The few numbers that a reader should take away."""

    values: Mapping[str, Cell]


_AMOUNT = r"[-+−±<>≈]*\d[\d,.]*( ?(%|×|[a-zA-Z/]{1,4}))?"
_NUMERIC = re.compile(f"{_AMOUNT}( – {_AMOUNT})?")


@dataclass(frozen=True)
class Table:
    """`highlight` holds the indices of the rows that stand out. Columns of numbers are set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    highlight: frozenset[int] | set[int] = frozenset()

    def numeric(self) -> list[bool]:
        columns = [[row[index] for row in self.rows] for index in range(len(self.columns))]
        return [
            bool(column) and all(cell in (None, "") or _NUMERIC.fullmatch(number(cell)) for cell in column)
            for column in columns
        ]


@dataclass(frozen=True)
class Lines:
    """Curves over one pair of axes. Points that are not finite are left out."""

    series: Mapping[str, Points]
    x_label: str
    y_label: str
    caption: str = ""

    def plot(self) -> dict[str, Any]:
        finite = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in self.series.items()}
        every = [point for points in finite.values() for point in points]
        if not every:
            return {"curves": []}
        across, up = _Axis.of([x for x, _ in every], enclose=False), _Axis.of([y for _, y in every], enclose=True)
        curves = [
            self._curve(index, name, points, across, up)
            for index, (name, points) in enumerate(finite.items())
            if points
        ]
        return {"curves": curves, "x": across.ticks(), "y": [(round(100 - at, 2), label) for at, label in up.ticks()]}

    def _curve(self, index: int, name: str, points: Points, across: _Axis, up: _Axis) -> dict[str, Any]:
        at = [(across.at(x), round(100 - up.at(y), 2)) for x, y in points]
        titles = [f"{name}: {number(y)} at {self.x_label} {x:,.10g}" for x, y in points]
        path = "M" + "L".join(f"{x} {y}" for x, y in at)
        return {
            "index": index,
            "name": name,
            "path": path,
            "points": [(*xy, title) for xy, title in zip(at, titles, strict=True)],
        }


@dataclass(frozen=True)
class Bars:
    """Horizontal bars; `intervals` adds whiskers, `highlight` names the bar that the report is about."""

    values: Mapping[str, float]
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    caption: str = ""
    highlight: str = ""

    def plot(self) -> dict[str, Any]:
        ends = [*self.values.values(), *(end for interval in self.intervals.values() for end in interval)] or [0.0]
        # Bars that are close to one another could not be told apart on an axis from 0; counts are shown as they are.
        cut = min(ends) > 0.5 * max(ends) > 0 and not all(isinstance(end, int) for end in ends)
        axis = _Axis.of([*ends, min(ends) - 0.35 * (max(ends) - min(ends)) if cut else 0.0], enclose=True)
        note = f"The axis begins at {axis.label(axis.low)}, not at 0." if axis.low > 0 else ""
        return {"bars": [self._bar(name, axis) for name in self.values], "ticks": axis.ticks(), "note": note}

    def _bar(self, name: str, axis: _Axis) -> dict[str, Any]:
        value, interval = self.values[name], self.intervals.get(name)
        left, right = sorted((axis.at(max(0.0, axis.low)), axis.at(value)))
        bar = {
            "name": name,
            "value": value,
            "left": left,
            "width": round(right - left, 2),
            "hot": name == self.highlight,
        }
        bar["title"] = f"{name}: {number(value)}" + (f", 95% interval {span(interval)}" if interval else "")
        bar["whisker"] = interval and (axis.at(interval[0]), round(axis.at(interval[1]) - axis.at(interval[0]), 2))
        return bar


def span(interval: Sequence[float] | None) -> str | None:
    return f"{number(interval[0])} – {number(interval[1])}" if interval else None


@dataclass(frozen=True)
class Confusion:
    """Counts: true classes down, predicted across."""

    labels: Sequence[str]
    matrix: Sequence[Sequence[int]]
    caption: str = ""


Part = Text | Figures | Table | Lines | Bars | Confusion | Code


@dataclass(frozen=True)
class Section:
    """`folded` sections open on a click."""

    title: str
    parts: Sequence[Part]
    folded: bool = False


# ---- the page


@cache
def _macros() -> Any:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(number=number, html=html)
    return environment.get_template("report.html.j2").module


def html(part: Part) -> Markup:
    """One part as HTML."""
    return Markup(getattr(_macros(), type(part).__name__.lower())(part))  # noqa: S704 (escaped by the template)


def render(title: str, summary: str, sections: Sequence[Section]) -> str:
    return str(_macros().page(title, summary, sections))


def write(path: Path, title: str, summary: str, sections: Sequence[Section]) -> None:
    files.write_file(path, render(title, summary, sections))
