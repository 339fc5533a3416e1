"""What a report says of a score beside the score: rows that the model knew, slices, calibration, the worst errors, comparisons.

Each function makes sections of what scrutiny.py found, as metrics.json and errors.jsonl keep it; a part that is not there is left out.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from yanmo.errors import DataError
from yanmo.page import Bars, Cell, Confusion, Figures, Lines, Part, Section, Table, Text, number, span
from yanmo.scrutiny import ERRORS, below, warned
from yanmo.wording import name_of

MOST_CLASSES = 20  # a larger confusion matrix is shown as the list of its commonest confusions
MOST_ERRORS = 50
_LONGEST = 300  # characters of a text that are shown
_UNSEEN = {
    "test": "which it never saw in training",
    "dev": "on which it was not trained, but which may have steered it",
}
_KINDS = {"length": "By length", "label": "By label", "language": "By language"}


def unseen(split: str, metrics: Mapping[str, Any]) -> str:
    """How far a split's rows are new to the model."""
    leaks = metrics.get("leaks") or {}
    if leaks.get("unknown"):
        return f"and nobody knows which of it the model saw in training ({leaks['unknown']})"
    told = _known(split, metrics)
    return f"though {told}" if told else _UNSEEN[split]


def _known(split: str, metrics: Mapping[str, Any]) -> str:
    leaks = metrics.get("leaks") or {}
    return warned(leaks, split) if leaks.get("of") else ""


def leak(split: str, scores: Mapping[str, Any], metrics: Mapping[str, Any], key: str) -> str:
    """One or two sentences, to be read before any score; "" where no row is known to have leaked."""
    told = _known(split, metrics)
    if not told:
        return ""
    told = f"A leak: {told}. "
    rest = metrics["leaks"].get("without") or {}
    if key not in rest:
        return told + "Too few others are left for a score of new rows."
    rows = f" ({rest['rows']:,} rows)" if "rows" in rest else ""
    return f"{told}Without these, {name_of(key)} is {number(rest[key])}{rows}; with them {number(scores.get(key))}."


def leak_section(split: str, scores: Mapping[str, Any], metrics: Mapping[str, Any], key: str) -> Section:
    told = leak(split, scores, metrics, key)
    rest = (metrics.get("leaks") or {}).get("without") or {}
    rows: list[list[Cell]] = [
        [name, each[key], span(each.get("interval")), each.get("rows")]
        for name, each in (("Without the rows that it knew", rest), ("All rows", scores))
        if key in each
    ]
    table: list[Part] = [Table(["", name_of(key), "95% interval", "Rows"], rows)] if len(rows) > 1 else []
    return Section("Rows that it knew", [Text(told), *table] if told else [])


def confusions(scores: Mapping[str, Any]) -> list[Part]:
    labels = list(scores.get("confusion_labels") or scores.get("classes") or {})
    matrix = scores.get("confusion") or []
    if not labels or len(labels) != len(matrix):
        return []
    if len(labels) <= MOST_CLASSES:
        return [Confusion(labels, matrix, "Rows of each true class by what the model answered, and their share of it.")]
    cells = [(count, i, j) for i, row in enumerate(matrix) for j, count in enumerate(row)]
    wrong = sorted(((count, i, j) for count, i, j in cells if i != j and count), reverse=True)
    rows = [[labels[i], labels[j], count] for count, i, j in wrong[:MOST_CLASSES]]
    return [Table(["True class", "Answered", "Rows"], rows, f"The commonest confusions among {len(labels)} classes.")]


def calibrations(scores: Mapping[str, Any]) -> list[Part]:
    """How often answers were right that were given with a probability."""
    bins = [each for each in scores.get("calibration") or [] if each["rows"]]
    if not bins:
        return []
    points = [(each["confidence"], each["accuracy"]) for each in bins]
    caption = "On the diagonal probabilities mean what they say; below it the model is surer than it is right."
    rows: list[list[Cell]] = [
        [f"{each['low']:.1f} – {each['high']:.1f}", each["rows"], each["confidence"], each["accuracy"]] for each in bins
    ]
    return [
        Lines(
            {"this model": points, "as it should be": [(0.0, 0.0), (1.0, 1.0)]}, "probability", "share right", caption
        ),
        Table(["Probability", "Rows", "Mean probability", "Share right"], rows),
    ]


def slices(found: Mapping[str, Any]) -> list[Part]:
    if not found.get("by"):
        return []
    low = [f"{_told(kind, each)}: {number(each['score'])}" for kind, each in below(found)]
    name = name_of(found["measure"])
    told = f"{name} of all {found['rows']:,} rows is {number(found['score'])} ({span(found['interval'])})."
    told += f" Clearly below it: {'; '.join(low)}." if low else " No slice is clearly below it."
    parts: list[Part] = [Text(told)]
    for kind, group in found["by"].items():
        lows = {index for index, each in enumerate(group) if each["interval"][1] < found["score"]}
        rows: list[list[Cell]] = [[each["name"], each["rows"], each["score"], span(each["interval"])] for each in group]
        parts.append(Table([_KINDS[kind], "Rows", name, "95% interval"], rows, highlight=lows))
    return parts


def _told(kind: str, each: Mapping[str, Any]) -> str:
    return f"{kind} {each['name']}"


def errors(worst: Sequence[Mapping[str, Any]], measured: str = "") -> list[Part]:
    rows: list[list[Cell]] = [
        [*([each["run"]] if "run" in each else []), *_row(each), each["wrongness"]] for each in worst[:MOST_ERRORS]
    ]
    if not rows:
        return []
    columns = [*(["Run"] if "run" in worst[0] else []), "Place", "Text", "Truth", "Answer", "How wrong"]
    return [Table(columns, rows, measured or f"The worst first; all wrong rows stand in {ERRORS}.")]


def _row(error: Mapping[str, Any]) -> list[Cell]:
    text = error["text"] if isinstance(error["text"], str) else " | ".join(error["text"])
    answer = ", ".join(number(value) for value in error["answer"].values())
    return [f"{error['file']}:{error['line']}", *(_short(each) for each in (text, error["truth"], answer))]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def read_errors(folder: Path) -> list[dict[str, Any]]:
    """The worst errors of a folder, which may have none."""
    path = folder / ERRORS
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = [*islice(file, MOST_ERRORS)]
    try:
        return [dict(json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path}: expected a JSON object a line ({error}); remove it, and the report is made without it"
        ) from None


def behind(scores: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[Section]:
    """What stands behind the scores of a run, beside its worst errors."""
    return [
        Section("Slices", slices(metrics.get("slices") or {})),
        Section("Confusions", confusions(scores)),
        Section("Calibration", calibrations(scores)),
    ]


def comparison(metrics: Mapping[str, Any], key: str) -> list[Section]:
    """Of several runs: who is better, and the slices, calibration and confusions of each."""
    runs = metrics["runs"]
    scores = {run["run"]: run["test"] for run in runs}
    intervals = {name: each["interval"] for name, each in scores.items() if each.get("interval")}
    rows: list[list[Cell]] = [
        [name, each.get(key), span(each.get("interval")), each.get("rows")] for name, each in scores.items()
    ]
    parts: list[Part] = [
        Figures({name: each[key] for name, each in scores.items()}),
        *(Text(each["sentence"]) for each in metrics["comparisons"]),
        Bars(
            {name: each[key] for name, each in scores.items()}, intervals, f"{name_of(key)}; whiskers: 95% intervals."
        ),
        Table(["Run", name_of(key), "95% interval", "Rows"], rows),
    ]
    known = [Text(f"{run['run']}: {told}") for run in runs if (told := leak("test", run["test"], run, key))]
    sections = [Section("Rows that they knew", known), Section("Comparison", parts)]
    sections += [
        Section(f"{section.title}: {run['run']}", section.parts, folded=True)
        for run in runs
        for section in behind(run["test"], run)
    ]
    return sections
