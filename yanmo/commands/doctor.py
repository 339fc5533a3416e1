"""`yanmo doctor [RUN] [--fix]`: what this machine can do, and what is wrong with a run, a model or an index."""

import importlib.util
import os
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo import checkpoint, files, index, machine, runs
from yanmo.errors import YanmoError
from yanmo.progress import console
from yanmo.settings import Block, Words
from yanmo.train import resume

PACKAGES = ("yanmo", "torch", "numpy", "safetensors", "tokenizers", "scikit-learn")
EXTRAS = {"samples": "snownlp", "track": "tensorboard", "search": "bm25s"}


class Settings(Block):
    fix: bool = Field(False, description="true: remove leftovers of writes that were cut short")


def doctor(run: str | Path | None = None, *, fix: bool = False) -> dict[str, Any]:
    """What `yanmo doctor` prints, as a dictionary."""
    return command(Words(Settings(fix=fix), [Path(run)] if run else []))


def command(words: Words[Settings]) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": _machine()}
    for path in words.paths:
        found[str(path)] = _run(path, words.settings.fix)
    if not words.json:
        for heading, rows in found.items():
            console().print(heading, style="bold", markup=False)
            for name, value in rows.items():
                console().print(f"  {name:14} {_shown(value)}", markup=False)
    return found


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        value = [f"{name} {part}" for name, part in value.items()]
    return f"\n{'':17}".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _machine() -> dict[str, Any]:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        **machine.fingerprint(),
        "cores": machine.cores(),
        "memory_gib": round(pages * size / 2**30, 1),
        "disk_free_gib": round(shutil.disk_usage(".").free / 2**30, 1),
        **{name: version(name) for name in PACKAGES},
        "extras": [
            f"{extra}: {'yes' if importlib.util.find_spec(module) else 'no'}" for extra, module in EXTRAS.items()
        ],
    }


def _run(folder: Path, fix: bool) -> dict[str, Any]:
    """The state of a run or model folder: what is there, what is damaged, what was mended."""
    if not folder.is_dir():
        raise YanmoError(f"{folder}: no such folder")
    if index.is_index(folder):
        return _index(folder)
    begun, holder, removed = (folder / runs.SETTINGS).is_file(), files.holder(folder), []
    if fix:
        with files.lock(folder):  # which takes a stale lock over, and away
            removed = files.mend(folder)
    state = "finished" if runs.is_finished(folder) else "unfinished" if begun else "model"
    checkpoints, faults = _checkpoints(folder)
    if state == "finished":
        faults += files.changed(folder)
    # A cross-validation is finished and no model; of a run that is one the manifest knows what is missing.
    if state == "model" or (state == "finished" and (folder / checkpoint.CONFIG).is_file()):
        try:
            checkpoint.load(folder)
        except YanmoError as error:
            faults.append(str(error))
    return {
        "state": state,
        "held_by": holder or "nobody",
        "checkpoints": checkpoints,
        "faults": faults,
        "leftovers": [str(path) for path in files.partials(folder)],
        "removed": [str(path) for path in removed],
    }


def _index(folder: Path) -> dict[str, Any]:
    """The state of an index. What a killed change left goes with the next one."""
    faults, known = files.changed(folder), {}
    if not faults:
        opened = index.load(folder)
        known = {"documents": len(opened.documents), **asdict(opened.about)}
    return {"state": "index", "held_by": files.holder(folder) or "nobody", **known, "faults": faults}


def _checkpoints(folder: Path) -> tuple[list[str], list[str]]:
    """A line for each training checkpoint, the newest first, and what is wrong with them."""
    lines: list[str] = []
    faults: list[str] = []
    run, latest, best = runs.Run(folder, runs.Common(), resuming=True), None, None
    for path in run.checkpoints():
        damage = run.faults(path)
        faults += damage
        if not damage and latest is None:
            latest, best = path, resume.best(path)
        size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
        marks = [
            "damaged" if damage else "whole",
            f"{size:.1f} MB",
            *(["the run goes on from here"] if path == latest else []),
            *(["the best so far"] if run.step_of(path) == best else []),
        ]
        lines.append(f"step {run.step_of(path)}: {', '.join(marks)}")
    return lines, list(dict.fromkeys(faults))
