"""The rows that a run learns from: those of its task, or of each of several (`task.name=multitask`)."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from yanmo.errors import SettingsError, gather
from yanmo.settings import Block
from yanmo.tasks import TASKS
from yanmo.tasks.base import Task
from yanmo.tasks.multitask import speaking_of
from yanmo.text import sources
from yanmo.text.sources import Data, Example

Rows = dict[str, list[Example]]  # train, dev, test
# (data, part -> its files, the task) -> (rows, file -> sha256)
Read = Callable[[Data, Mapping[str, Sequence[Path]], type[Task]], tuple[Rows, dict[str, str]]]


def check(data: Data, task: Block) -> None:
    """Raise one SettingsError for all that is said of rows and does not fit the task, before any is read."""
    parts = _parts(task)
    if not parts and data.tasks:
        raise SettingsError(
            f"data.tasks: for task.name=multitask alone, and this is task.name={_name(task)}; give data.train=..."
        )
    if not parts and not sources.listed(data.train):
        raise SettingsError("data.train: no rows to train on. Give a file: data.train=train.tsv")
    if parts and (data.folds or any(each.folds for each in data.tasks.values())):
        raise SettingsError("data.folds: several tasks are not cross-validated; leave it out, or train one task alone")
    usual = Data().model_dump()
    alone = (
        [name for name, value in data.model_dump(exclude={"tasks"}).items() if value != usual[name]] if parts else []
    )
    faults = [
        f"data.{name}: of which task? Each has its own: data.tasks.{next(iter(parts))}.{name}=..." for name in alone
    ]
    for name, each in data.tasks.items():
        if name not in parts:
            near = difflib.get_close_matches(name, parts, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; there are: {', '.join(parts)}"
            faults.append(f"data.tasks.{name}: no task is called so{hint}")
        elif each.tasks:
            faults.append(f"data.tasks.{name}.tasks: a task of several has none of its own; leave it out")
    faults += [
        f"data.tasks.{name}.train: no rows to train on. Give a file: data.tasks.{name}.train=train.tsv"
        for name in parts
        if name not in data.tasks or not sources.listed(data.tasks[name].train)
    ]
    gather(faults, "these settings of several tasks do not fit:", SettingsError)


def gathered(data: Data, task: Block, read: Read) -> tuple[Rows, dict[str, str], dict[str, Any]]:
    """(the rows of each part, file -> sha256, what a run's record says of them). Rows of several tasks bear its name."""
    if not (parts := _parts(task)):
        kind = TASKS[_name(task)][1]
        files = sources.parts(data, kind.form)
        told = {
            "columns": data.columns.model_dump(),
            "parts": {part: [*map(str, each)] for part, each in files.items()},
        }
        return *read(data, files, kind), told
    rows: Rows = {}
    inputs: dict[str, str] = {}
    tasks: dict[str, Any] = {}
    for name, settings in parts.items():
        with speaking_of(name):
            found, hashes, tasks[name] = gathered(data.tasks[name], settings, read)
        inputs |= hashes
        for part, each in found.items():
            rows.setdefault(part, []).extend(replace(row, task=name) for row in each)
    scored = {row.task for row in rows.get("test", ())}
    if lacking := [name for name in parts if scored and name not in scored]:
        keys = ", ".join(f"data.tasks.{name}.test" for name in lacking)
        raise SettingsError(f"{keys}: no rows, and other tasks have test rows; give all of them some, or none")
    return rows, inputs, {"tasks": tasks}


def _parts(task: Any) -> Mapping[str, Any]:
    kind: type[Task] = TASKS[task.name][1]
    return kind.parts(task)


def _name(task: Any) -> str:
    return str(task.name)
