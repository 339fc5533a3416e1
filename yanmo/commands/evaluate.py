"""`yanmo evaluate RUN data.test=FILE`: the scores of a run on labelled rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo import evaluation, hub, machine, runs, settings
from yanmo.engine import load
from yanmo.errors import SettingsError, gather
from yanmo.joining import Several, chosen
from yanmo.machine import Machine
from yanmo.models import bases
from yanmo.progress import bar, say
from yanmo.settings import Block, Words
from yanmo.tasks import OBJECTIVES
from yanmo.text import sources
from yanmo.text.columns import Columns


class Rows(Block):
    test: Path | None = Field(None, description="labelled rows: a file, or a folder or .zip with a test or dev part")
    columns: Columns = Field(default_factory=Columns, description="which column is what")


class Settings(Block):
    run: Path | None = Field(
        None, description="a run folder, any folder of a known family that was fine-tuned, or its name on a hub"
    )
    task: str | None = Field(None, description="which of its tasks is scored, where a run has several")
    model: Several = Field(default_factory=Several)
    data: Rows = Field(default_factory=Rows)
    machine: Machine = Field(default_factory=Machine)


def evaluate(run: str | Path | None = None, settings_file: str | Path | None = None, **keys: Any) -> dict[str, Any]:
    """Score a run; the keys are those of `yanmo evaluate --print-settings`. Returns {"test": scores}."""
    return command(Words(settings.from_arguments(Settings, settings_file, {**keys, "run": run})))


def command(words: Words[Settings]) -> dict[str, Any]:
    asked = words.settings
    folder, file = runs.paths(words.paths)
    run, asked.data.test = chosen(folder or asked.run, asked.model), file or asked.data.test
    absent = [f"{path}: no such file or folder" for path in words.paths if not hub.is_here(path)]
    gather(absent, "can't score:", SettingsError)
    if run is None or asked.data.test is None:
        raise SettingsError("expected a run folder and rows to score: yanmo evaluate RUN data.test=FILE")
    engine, named = load(run, join=asked.model.join, device=machine.prepare(asked.machine)), ", ".join(bases(run))
    if engine.task is None:
        raise SettingsError(f"{named}: made for no task, so there is nothing to score; fine-tune it first")
    engine.choose(asked.task)
    labelled = engine.task.name not in OBJECTIVES  # an objective takes its labels from the text itself
    record, given = engine.checkpoint.record, sources.part(asked.data.test, "test")
    if given != [asked.data.test]:
        say(f"{asked.data.test}: {sources.told({'test': given})}")
    if _learnt_from(record) & {*sources.hashes(given).values()}:
        say(f"warning: {named} was trained on {' '.join(map(str, given))}, so this score says nothing of new rows")
    rows = engine.task.prepare(
        [
            row
            for path in given
            for row in sources.read(
                path,
                asked.data.columns,
                form=engine.task.form,
                labelled=labelled,
                learnt=record.get("columns"),
            )
        ]
    )
    with bar(f"scoring {len(rows):,} rows", len(rows), unit="rows") as advance:
        answers = evaluation.answers(engine.model, engine.task, rows, device=engine.device, advance=advance)
    scores = engine.task.score(answers, rows)
    for name, value in scores.items():
        if isinstance(value, (int, float)):
            say(f"{name:20} {value:.4f}" if isinstance(value, float) else f"{name:20} {value:,}")
    return {"test": scores}


def _learnt_from(record: Mapping[str, Any]) -> set[str]:
    """The sha256 of the files that a run was trained on, as far as it says."""
    inputs = record.get("inputs", {})
    return {inputs[name] for name in record.get("parts", {}).get("train", ()) if name in inputs}
