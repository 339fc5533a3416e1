"""What `yanmo data inspect` shows: a few tables on the terminal, the same and more as a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table as Terminal

from yanmo import page
from yanmo.page import Bars, Figures, Section, Table, Text
from yanmo.progress import console

_KINDS = ("exact", "near", "fragments", "contradicting", "empty")


def show(facts: Mapping[str, Any], report: Path | None) -> None:
    """Print the facts for people."""
    table = Terminal(box=None, header_style="bold")
    for heading in (
        "part",
        "rows",
        "labels",
        "languages",
        "median",
        "longest",
        "duplicates",
        "near",
        "fragments",
        "odd",
    ):
        table.add_column(heading, justify="left" if heading in ("part", "labels", "languages") else "right")
    for name, part in facts["parts"].items():
        table.add_row(
            name,
            f"{part['rows']:,}",
            _few(part["labels"]),
            _few(part["languages"]),
            str(part["lengths"].get("median", "")),
            str(part["lengths"].get("longest", "")),
            *(f"{part['duplicates'][kind]:,}" for kind in ("exact", "near", "fragments")),
            f"{part['odd']['count']:,}",
        )
    out = console()
    out.print(table)
    for pair in facts["leakage"]["exact"]:
        one, other = pair.split("/")
        counts = [f"{facts['leakage'][kind][pair]:,} {kind}" for kind in ("exact", "near", "fragments")]
        if any(facts["leakage"][kind][pair] for kind in ("exact", "near", "fragments")):
            out.print(f"leakage: rows of {other} that stand in {one}: {', '.join(counts)}", markup=False)
    if count := facts["doubtful_labels"]["count"]:
        out.print(f"doubtful labels: {count:,}; the first:", markup=False)
        for row in facts["doubtful_labels"]["rows"][:5]:
            out.print(f"  {row['row']}: {row['label']}, rather {row['rather']}: {row['text'][:60]}", markup=False)
    if report:
        out.print(f"report: {report}", markup=False)


def _few(counts: Mapping[str, int], most: int = 4) -> str:
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:most]]
    return ", ".join(shown) + (f", {len(counts) - most} more" if len(counts) > most else "")


def write(path: Path, facts: Mapping[str, Any]) -> None:
    """The page."""
    rows = sum(part["rows"] for part in facts["parts"].values())
    leaked = sum(facts["leakage"]["exact"].values()) + sum(facts["leakage"]["near"].values())
    summary = f"{rows:,} rows in {len(facts['parts'])} parts" + (f"; {leaked:,} leaks between parts" if leaked else "")
    sections = [
        Section("Overview", [_overview(facts), *_files(facts["files"])]),
        Section("Between the parts", _leaks(facts)),
        *(Section(f"Part {name}", _part(part)) for name, part in facts["parts"].items()),
        Section("Doubtful labels", _doubtful(facts["doubtful_labels"])),
    ]
    page.write(path, "Data inspection", summary, sections)


def _files(files: Mapping[str, Mapping[str, str]]) -> list[page.Part]:
    if not files:
        return []
    columns = ("format", "encoding", "compression", "task")
    return [Table(("file", *columns), [(name, *(seen[column] for column in columns)) for name, seen in files.items()])]


def _overview(facts: Mapping[str, Any]) -> Table:
    columns = ("part", "rows", "distinct", "labels", *_KINDS, "odd rows")
    return Table(
        columns,
        [
            (
                name,
                part["rows"],
                part["distinct"],
                len(part["labels"]),
                *(part["duplicates"][kind] for kind in _KINDS),
                part["odd"]["count"],
            )
            for name, part in facts["parts"].items()
        ],
        "Duplicates are counted past the first row of a text; case, width, spaces and punctuation make no difference.",
    )


def _leaks(facts: Mapping[str, Any]) -> list[page.Part]:
    if not facts["leakage"]["exact"]:
        return [Text("One part only; give the files of several, and what they share is counted.")]
    rows = [
        (pair.replace("/", " and "), *(facts["leakage"][kind][pair] for kind in ("exact", "near", "fragments")))
        for pair in facts["leakage"]["exact"]
    ]
    return [
        Table(
            ("parts", "exact", "near", "fragments"),
            rows,
            "Rows of the second part that stand in the first: a score on them is no skill.",
            {index for index, row in enumerate(rows) if any(row[1:])},
        )
    ]


def _part(part: Mapping[str, Any]) -> list[page.Part]:
    sizes = part["lengths"]
    parts: list[page.Part] = [
        Figures({name: sizes[name] for name in ("shortest", "median", "mean", "95%", "longest") if name in sizes}),
        Bars(
            {f"{low:,}-{high - 1:,}": count for low, high, count in sizes["histogram"]},
            caption="Rows by length in characters.",
        ),
    ]
    if part["labels"]:
        parts.append(Bars(dict(list(part["labels"].items())[:40]), caption="Rows by label."))
    parts.append(Bars(part["languages"], caption="Rows by language."))
    parts.append(Bars(part["scripts"], caption="Characters by script."))
    if part["odd"]["rows"]:
        rows = [(row["row"], row["why"], row["text"]) for row in part["odd"]["rows"]]
        parts.append(Table(("row", "why", "text"), rows, f"The first of {part['odd']['count']:,} odd rows."))
    return parts


def _doubtful(found: Mapping[str, Any]) -> list[page.Part]:
    if not found["rows"]:
        return [Text("None found, or too few rows with labels to tell.")]
    rows = [(row["row"], row["label"], row["rather"], row["confidence"], row["text"]) for row in found["rows"]]
    return [
        Text(
            "A simple model that never saw the row is surer of another label than it usually is. Some of these labels "
            "are wrong; others are right and hard."
        ),
        Table(("row", "label", "rather", "confidence", "text"), rows, f"The first of {found['count']:,}."),
    ]
