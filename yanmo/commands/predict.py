"""`yanmo predict RUN in.csv out=out.csv`, or lines on standard input and answers on standard output."""

import csv
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo import evaluation, files, machine, runs
from yanmo.engine import Asked, Engine, load
from yanmo.errors import DataError, SettingsError, gather
from yanmo.joining import Join, Names, Several, chosen
from yanmo.machine import Machine
from yanmo.progress import bar, say
from yanmo.settings import Block, Words
from yanmo.tasks import OBJECTIVES
from yanmo.tasks.base import Answer, Task
from yanmo.text import formats, sources
from yanmo.text.forms import FORMS
from yanmo.text.sources import Columns, Example, Given

_FORMATS = (".csv", ".tsv", ".jsonl", ".json")


class Rows(Block):
    columns: Columns = Field(default_factory=Columns, description="which column is what")


class Settings(Asked):
    run: Path | None = Field(
        None, description="a run folder, any folder of a known family that was fine-tuned, or its name on a hub"
    )
    model: Several = Field(default_factory=Several)
    out: Path | None = Field(None, description="where the answers go (.csv, .tsv or .jsonl); null: standard output")
    data: Rows = Field(default_factory=Rows)
    machine: Machine = Field(default_factory=Machine)


def predict(run: Names, texts: Sequence[Given], *, task: str | None = None) -> list[dict[str, Any]]:
    """The answers of a run for texts, or of several that answer as one; task: by which, of a run of several tasks. (For many calls, keep
    the Engine: `yanmo.load(run).predict(texts)`.)"""
    return load(run).predict(list(texts), task=task)


def command(words: Words[Settings]) -> None:
    asked = words.settings
    if asked.out is not None and asked.out.suffix.lower() not in _FORMATS:
        raise SettingsError(f"out: '{asked.out}' ends in none of {', '.join(_FORMATS)}, so its format is not known")
    folders, given = runs.apart(words.paths)
    asked.run = folders[-1] if folders else asked.run
    run = chosen(asked.run, asked.model)
    if run is None:
        gather(
            [f"{path}: no such folder" for path in given if not path.exists()], "expected a run folder:", SettingsError
        )
        raise SettingsError("expected a run folder: yanmo predict RUN in.csv out=out.csv")
    if wrong := [path for path in given if not formats.container(path).exists()]:
        raise DataError(
            f"{formats.absent(wrong[0])}. A text itself comes by standard input: echo TEXT | yanmo predict {asked.run or '...'}"
        )
    engine = opened(run, asked.machine, asked.model.join, asked.task)
    task = engine.task
    assert task is not None  # noqa: S101 (opened)
    how: dict[str, Any] = {"form": task.form, "labelled": False, "learnt": engine.checkpoint.record.get("columns")}
    rows = (
        [row for path in given for row in sources.read(path, asked.data.columns, **how)]
        if given
        else _standard_input(task)
    )
    prepared = task.prepare([replace(row, labels=()) for row in rows])
    with bar(f"predicting {len(rows):,} rows", len(rows), unit="rows") as advance:
        answers = evaluation.answers(engine.model, task, prepared, device=engine.device, advance=advance)
    texts = [" ".join(row.texts) for row in rows]
    text = _format(task, texts, answers, asked.out.suffix.lower() if asked.out else ".jsonl" if words.json else "plain")
    if asked.out:
        files.write_file(asked.out, text)
        say(f"{asked.out}: {len(rows):,} answers")
    else:
        sys.stdout.write(text)


def opened(run: Names, asked: Machine, join: Join = "probabilities", task: str | Block | None = None) -> Engine:
    """The engine of a run that answers, or that of a folder for a task that needs no training. Raises SettingsError for one that was made
    for no task."""
    engine = load(run, join=join, device=machine.prepare(asked), task=task)
    if engine.task is None:
        raise SettingsError(f"{run}: made for no task, so it predicts nothing; fine-tune it first")
    if engine.task.name in OBJECTIVES:
        raise SettingsError(f"{run}: pre-trained, but made for no task yet; fine-tune it first, with model.base={run}")
    if task is None:
        engine.choose(None)  # which of several, it must be said
    return engine


def _standard_input(task: Task) -> list[Example]:
    """A text a line; where a task needs two, a tab between them."""
    two = len(FORMS[task.form].needed) == 2
    found = sources.decode(sys.stdin.buffer, "standard input")
    lines = [(line, text.split("\t", 1) if two else text) for line, text in found if text.strip()]
    return sources.given(lines, task.form, "stdin")


def _format(task: Task, texts: Sequence[str], answers: Sequence[Answer], kind: str) -> str:
    if kind not in ("plain", ".csv", ".tsv"):
        rows = zip(texts, answers, strict=True)
        return "".join(json.dumps({"text": text, **answer}, ensure_ascii=False) + "\n" for text, answer in rows)
    found = [task.cells(answer) for answer in answers]
    if kind == "plain":
        told = (_words(cells, 4) for cells in found)
        return "".join("\t".join([*words, text]) + "\n" for words, text in zip(told, texts, strict=True))
    cells = [["text", *(found[0] if found else ())]]
    cells += [[safe(word) for word in (text, *_words(row, 6))] for text, row in zip(texts, found, strict=True)]
    if kind == ".tsv":  # as `sources` reads it: quotes are text, so tabs and line ends can't be
        return "".join("\t".join(" ".join(cell.split()) for cell in row) + "\n" for row in cells)
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(cells)
    return buffer.getvalue()


def _words(cells: Mapping[str, str | float], digits: int) -> list[str]:
    return [f"{value:.{digits}f}" if isinstance(value, float) else str(value) for value in cells.values()]


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def safe(cell: str) -> str:
    """The cell, with a leading quote where a spreadsheet would take it for a formula (OWASP, CSV injection). Numbers stay."""
    return "'" + cell if cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell) else cell
