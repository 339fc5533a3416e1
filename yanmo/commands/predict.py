"""`yanmo predict RUN in.csv out=out.csv`, or lines on standard input and answers on standard output."""

import csv
import io
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo import evaluation, files, hub, machine
from yanmo.engine import Engine, load
from yanmo.errors import DataError, SettingsError, gather
from yanmo.machine import Machine
from yanmo.progress import bar, say
from yanmo.settings import Block, Words
from yanmo.tasks import OBJECTIVES
from yanmo.text import formats, sources
from yanmo.text.sources import Columns, Example

_FORMATS = (".csv", ".tsv", ".jsonl", ".json")


class Rows(Block):
    columns: Columns = Field(default_factory=Columns, description="which column is what")


class Settings(Block):
    run: Path | None = Field(
        None, description="a run folder, any folder of a known family that was fine-tuned, or its name on a hub"
    )
    out: Path | None = Field(None, description="where the answers go (.csv, .tsv or .jsonl); null: standard output")
    data: Rows = Field(default_factory=Rows)
    machine: Machine = Field(default_factory=Machine)


def predict(run: str | Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """The answers of a run for texts. (For many calls, keep the Engine: `yanmo.load(run).predict(texts)`.)"""
    return load(run).predict(list(texts))


def command(words: Words[Settings]) -> None:
    asked = words.settings
    if asked.out is not None and asked.out.suffix.lower() not in _FORMATS:
        raise SettingsError(f"out: '{asked.out}' ends in none of {', '.join(_FORMATS)}, so its format is not known")
    given = []
    for path in words.paths:
        if hub.is_model(path):
            asked.run = path
        else:
            given.append(path)
    if asked.run is None:
        gather(
            [f"{path}: no such folder" for path in given if not path.exists()], "expected a run folder:", SettingsError
        )
        raise SettingsError("expected a run folder: yanmo predict RUN in.csv out=out.csv")
    if wrong := [path for path in given if not formats.container(path).exists()]:
        raise DataError(
            f"{formats.absent(wrong[0])}. A text itself comes by standard input: echo TEXT | yanmo predict {asked.run}"
        )
    engine = opened(asked.run, asked.machine)
    learnt = engine.checkpoint.record.get("columns")
    rows = (
        [row for path in given for row in sources.read(path, asked.data.columns, labelled=False, learnt=learnt)]
        if given
        else _standard_input()
    )
    assert engine.task is not None  # noqa: S101 (opened)
    prepared = engine.task.prepare([Example(row.texts, (), row.id, row.file, row.line) for row in rows])
    with bar(f"predicting {len(rows):,} rows", len(rows), unit="rows") as advance:
        answers = evaluation.answers(engine.model, engine.task, prepared, device=engine.device, advance=advance)
    flat = [{"text": " ".join(row.texts), **answer} for row, answer in zip(rows, answers, strict=True)]
    text = _format(flat, asked.out.suffix.lower() if asked.out else ".jsonl" if words.json else "plain")
    if asked.out:
        files.write_file(asked.out, text)
        say(f"{asked.out}: {len(flat):,} answers")
    else:
        sys.stdout.write(text)


def opened(run: Path, asked: Machine) -> Engine:
    """The engine of a run that answers. Raises SettingsError for one that was made for no task."""
    engine = load(run, device=machine.prepare(asked))
    if engine.task is None:
        raise SettingsError(f"{run}: made for no task, so it predicts nothing; fine-tune it first")
    if engine.task.name in OBJECTIVES:
        raise SettingsError(f"{run}: pre-trained, but made for no task yet; fine-tune it first, with model.base={run}")
    return engine


def _standard_input() -> list[Example]:
    found = sources.decode(sys.stdin.buffer, "standard input")
    return [Example((text,), (), f"stdin:{line}", "stdin", line) for line, text in found if text.strip()]


def _format(rows: Sequence[dict[str, Any]], kind: str) -> str:
    if kind == "plain":
        return "".join(f"{row['label']}\t{max(row['probabilities'].values()):.4f}\t{row['text']}\n" for row in rows)
    if kind not in (".csv", ".tsv"):
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    cells = [["text", "label", "probability"]]
    cells += [[safe(row["text"]), safe(row["label"]), f"{max(row['probabilities'].values()):.6f}"] for row in rows]
    if kind == ".tsv":  # as `sources` reads it: quotes are text, so tabs and line ends can't be
        return "".join("\t".join(" ".join(cell.split()) for cell in row) + "\n" for row in cells)
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(cells)
    return buffer.getvalue()


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def safe(cell: str) -> str:
    """The cell, with a leading quote where a spreadsheet would take it for a formula (OWASP, CSV injection). Numbers stay."""
    return "'" + cell if cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell) else cell
