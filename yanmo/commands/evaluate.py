"""`yanmo evaluate RUN data.test=FILE`: the scores of a run on labelled rows, and what stands behind them; with several runs also which is
better by more than chance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from yanmo import checkpoint, evaluation, hub, machine, runs, scrutiny, settings
from yanmo.commands import evaluate_report
from yanmo.engine import Asked, Engine, load
from yanmo.errors import DataError, SettingsError, gather
from yanmo.joining import Several, chosen
from yanmo.machine import Machine
from yanmo.models import bases
from yanmo.progress import bar, say
from yanmo.scrutiny import Answered
from yanmo.settings import Block, Words
from yanmo.tasks import OBJECTIVES
from yanmo.text import sources
from yanmo.text.columns import Columns
from yanmo.text.sources import Example


class Rows(Block):
    test: Path | None = Field(None, description="labelled rows: a file, or a folder or .zip with a test or dev part")
    columns: Columns = Field(default_factory=Columns, description="which column is what")


class Settings(Asked):
    run: Path | list[Path] | None = Field(
        None,
        description="a run folder, any folder of a known family that was fine-tuned, or its name on a hub; several are compared",
    )
    model: Several = Field(default_factory=Several)
    data: Rows = Field(default_factory=Rows)
    out: Path | None = Field(
        None,
        description="a folder for metrics.json, report.html and errors.jsonl (all wrong rows); null: nothing is written",
    )
    machine: Machine = Field(default_factory=Machine)


def evaluate(
    run: str | Path | Sequence[str | Path] | None = None,
    settings_file: str | Path | None = None,
    **keys: Any,
) -> dict[str, Any]:
    """Score a run; the keys are those of `yanmo evaluate --print-settings`. Returns {"test": scores, "headline", "slices", "leaks",
    "errors": the worst}; of several runs {"runs": [such a dict of each], "comparisons": [each against the first], "headline"}."""
    return command(Words(settings.from_arguments(Settings, settings_file, {**keys, "run": run})))


def command(words: Words[Settings]) -> dict[str, Any]:
    asked, (names, test) = words.settings, _asked(words)
    if asked.out is not None and any((asked.out / name).exists() for name in (checkpoint.CONFIG, runs.SETTINGS)):
        raise SettingsError(
            f"out: {asked.out} is a model's or a run's folder, whose own report stands there. Give another"
        )
    device = machine.prepare(asked.machine)
    called = [", ".join(bases(name)) for name in names]
    wanted = (
        asked.task if isinstance(asked.task, str) else None
    )  # of several tasks; else none, or one that needs no training
    untrained = None if wanted else asked.task
    engines = [load(name, join=asked.model.join, device=device, task=untrained) for name in names]
    alone = [engine.task is None or not engine.task.parts(engine.task.settings) for engine in engines]
    for name, engine, one in zip(called, engines, alone, strict=True):
        if engine.task is None:
            raise SettingsError(f"{name}: made for no task, so there is nothing to score; fine-tune it first")
        engine.choose(
            None if one and not all(alone) else wanted
        )  # a run of one task beside those of several is that task's
    scrutiny.comparable(called, [engine.task for engine in engines if engine.task])
    given = sources.part(test, "test")
    if given != [test]:
        say(f"{test}: {sources.told({'test': given})}")
    read = [_read(engine, given, asked.data.columns) for engine in engines]
    _same(called, read)
    known = [_known(name, engine, given, rows) for name, engine, rows in zip(called, engines, read, strict=True)]
    answered = [_answered(engine, rows) for engine, rows in zip(engines, read, strict=True)]
    found = [_scored(each, leaks) for each, leaks in zip(answered, known, strict=True)]
    errors = [scrutiny.errors(each) for each in answered]
    for each, wrong in zip(found, errors, strict=True):
        each["errors"] = wrong[: evaluate_report.SHOWN]
    if len(names) == 1:
        result, every = found[0], errors[0]
        evaluate_report.tell(result, every)
    else:
        for name, each in zip(called, found, strict=True):
            evaluate_report.tell_score(each, f"{name}: ")
        result = {
            "runs": [{"run": name, **each} for name, each in zip(called, found, strict=True)],
            "comparisons": _compared(called, answered, known),
            "headline": found[0]["headline"],
        }
        both = [{"run": name, **error} for name, each in zip(called, errors, strict=True) for error in each]
        every = sorted(both, key=lambda error: -float(error["wrongness"]))
    if asked.out is not None:
        evaluate_report.write(asked.out, f"{' and '.join(called)} on {' '.join(map(str, given))}", result, every)
    return result


def _asked(words: Words[Settings]) -> tuple[list[str | list[str]], Path]:
    """(the runs, of which one may be several that answer as one; the rows)"""
    asked = words.settings
    folders = [path for path in words.paths if hub.is_model(path)]
    _, file = runs.paths([path for path in words.paths if path not in folders])
    named = asked.run if isinstance(asked.run, list) else [asked.run] if asked.run is not None else []
    given = [*folders, *(path for path in named if path not in folders)]
    one, test = chosen(given[0] if given else None, asked.model), file or asked.data.test
    gather(
        [f"{path}: no such file or folder" for path in words.paths if not hub.is_here(path)],
        "can't score:",
        SettingsError,
    )
    if one is None or test is None:
        raise SettingsError("expected a run folder and rows to score: yanmo evaluate RUN data.test=FILE")
    return [one, *map(str, given[1:])], test


def _read(engine: Engine, given: Sequence[Path], columns: Columns) -> list[Example]:
    task, record = engine.task, engine.checkpoint.record
    assert task is not None  # noqa: S101 (`command`)
    labelled = task.name not in OBJECTIVES  # an objective takes its labels from the text itself
    return [
        row
        for path in given
        for row in sources.read(path, columns, form=task.form, labelled=labelled, learnt=record.get("columns"))
    ]


def _same(names: Sequence[str], read: Sequence[Sequence[Example]]) -> None:
    """Raise DataError for runs that take other columns of the same file for their rows."""
    for name, rows in zip(names, read, strict=True):
        if [(row.texts, row.labels) for row in rows] != [(row.texts, row.labels) for row in read[0]]:
            raise DataError(
                f"{names[0]} and {name} were trained on other columns and read other rows here; name the columns: data.columns.text=... "
                "data.columns.label=..."
            )


Known = tuple[dict[str, np.ndarray], str]  # what `scrutiny.leaks` finds; where nobody knows, why


def _known(name: str, engine: Engine, given: Sequence[Path], rows: Sequence[Example]) -> Known:
    """What of the rows the model knows, said before there is a score."""
    task, record = engine.task, engine.checkpoint.record
    if task is None or task.name in OBJECTIVES:
        return {}, ""
    whole = _learnt_from(record) & {*sources.hashes(given).values()}
    if whole:
        say(f"warning: {name} was trained on {' '.join(map(str, given))}, so this score says nothing of new rows")
    with bar("looking for rows that it was trained on"):
        learnt, why = scrutiny.learnt_from(record, task.form)
    found = scrutiny.leaks(rows, learnt, task.form)
    if why and not whole:
        say(f"leaks could not be looked for: {why}")
    elif (told := scrutiny.warned(scrutiny.counted(found))) and not whole:
        say(f"warning: {told}; {name} knows these, so look at its score without them")
    return found, why


def _answered(engine: Engine, read: Sequence[Example]) -> Answered:
    assert engine.task is not None  # noqa: S101 (`command`)
    rows = engine.task.prepare(read)
    with bar(f"scoring {len(rows):,} rows", len(rows), unit="rows") as advance:
        answers = evaluation.answers(engine.model, engine.task, rows, device=engine.device, advance=advance)
    return Answered(engine.task, answers, rows)


def _scored(given: Answered, known: Known) -> dict[str, Any]:
    found, why = known
    leaks = {"unknown": why} if why else scrutiny.leaked(given, found) if found else {}
    return {"test": given.scores(), "headline": given.headline, "slices": scrutiny.slices(given), "leaks": leaks}


def _compared(names: Sequence[str], answered: Sequence[Answered], known: Sequence[Known]) -> list[dict[str, Any]]:
    """Each of the later runs against the first; where one of the two knows rows, also without these."""
    pairs = []
    for name, each, (leaks, _) in list(zip(names, answered, known, strict=True))[1:]:
        pair = scrutiny.compare(each, answered[0], name, names[0])
        seen = {
            f"{number} {part}": rows for number, run in enumerate((known[0][0], leaks)) for part, rows in run.items()
        }
        kept = scrutiny.clean(seen, len(each.rows))
        if pair and scrutiny.FEWEST <= len(kept) < len(each.rows):
            pair["without"] = scrutiny.compare(each.only(kept), answered[0].only(kept), name, names[0])
        if not pair:
            say(f"{name} and {names[0]}: their score is no sum over rows, so no test tells a difference from chance")
            continue
        evaluate_report.tell_pair(pair)
        pairs.append(pair)
    return pairs


def _learnt_from(record: Mapping[str, Any]) -> set[str]:
    """The sha256 of the files that a run was trained on, as far as it says."""
    inputs = record.get("inputs", {})
    return {inputs[name] for name in record.get("parts", {}).get("train", ()) if name in inputs}
