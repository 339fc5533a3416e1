"""Rows that are held out: a part to choose by, and each part in its turn to be scored (`yanmo finetune ... data.folds=5`).

Every fold is a run of its own in `folds/1`, `folds/2` ... of the run folder: trained on the other folds, from the same beginning, chosen by
rows that it holds out of these, never by those that it is scored on. A run that was stopped goes on within the fold that it was in.
Beside the folds stand `metrics.json`, `report.html` and `predictions.jsonl`: the answer to each row by the model that did not learn it.
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yanmo import checkpoint, evaluation, files, report, runs
from yanmo.errors import DataError, SettingsError, some
from yanmo.page import Cell
from yanmo.progress import bar, say
from yanmo.tasks import TASKS
from yanmo.tasks.base import Answer, Scores, Task
from yanmo.text import minhash, split
from yanmo.text.clean import canonical
from yanmo.text.dedup import NEAR
from yanmo.text.forms import FORMS
from yanmo.text.sources import Example
from yanmo.wording import in_a_sentence, name_of

Parts = dict[str, list[Example]]


def held_out(rows: Sequence[Example], task: type[Task]) -> Parts:
    """Training rows, parted by hash: a tenth to stop and choose by ("dev"), the others to learn from ("train"). Raises DataError for too
    few."""
    parts = split.split(rows, {"dev": 0.1, "train": 0.9}, text=FORMS[task.form].together)
    train, dev = _learnable(parts["train"], parts["dev"], task)
    if not dev or not train:
        raise DataError(
            f"{rows[0].file}: {len(rows)} rows are too few to hold some out; give data.dev=FILE or more rows"
        )
    return {"dev": dev, "train": train}


def _learnable(train: list[Example], held: list[Example], task: type[Task]) -> tuple[list[Example], list[Example]]:
    """The same, but where all rows of a label were held out they go back: they are needed to learn from."""
    if task.labelling not in ("classes", "tags"):
        return train, held
    learnt = {label for row in train for label in row.labels}
    rare = [row for row in held if not set(row.labels) <= learnt]
    return [*train, *rare], [row for row in held if row not in rare]


def divided(rows: Mapping[str, list[Example]], count: int, task: type[Task]) -> list[Parts]:
    """The train, dev and test rows of each fold. The test rows of all folds are the training rows, without those whose label would be
    left with nothing to learn from; folds are of one size, for each label, as nearly as whole groups of near duplicates allow. Dev rows
    that were given are those of every fold. Raises DataError for rows that can't be divided so."""
    every = rows["train"]
    places = _places(every, count, task)
    found = []
    for fold in range(count):
        train, test = _learnable(
            [row for row, place in zip(every, places, strict=True) if place != fold],
            [row for row, place in zip(every, places, strict=True) if place == fold],
            task,
        )
        if not test:
            raise DataError(f"{every[0].file}: {_few(len(every), count)}: fold {fold + 1} has none to be scored")
        parts = {"dev": rows["dev"], "train": train} if "dev" in rows else held_out(train, task)
        found.append({**parts, "test": test})
    if unscored := len(every) - sum(len(parts["test"]) for parts in found):
        say(
            f"{some(unscored, 'row')} with labels that no other fold has: every model learns them, none is scored on them"
        )
    return found


def _places(rows: Sequence[Example], count: int, task: type[Task]) -> list[int]:
    """The number of each row's fold."""
    texts = [canonical(row.texts[FORMS[task.form].together]) for row in rows]
    distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    if len(distinct) < count:
        raise DataError(f"{rows[0].file}: {_few(len(distinct), count, 'different text')}")
    equal = np.array([distinct[text] for text in texts])
    groups = minhash.clusters(list(distinct), NEAR)[equal]
    if (most := np.bincount(groups).max()) * count > len(rows):
        say(
            f"warning: {most:,} of {len(rows):,} rows resemble one another, more than a fold has, so that only equal texts stay in one "
            "fold; the score says little of rows that resemble none"
        )
        groups = equal
    strata = ["+".join(sorted(row.labels)) if task.labelling == "classes" else "" for row in rows]
    shares = {str(fold): 1 / count for fold in range(count)}
    keys = [split.key(text) for text in texts]
    return [int(part) for part in split.divide(keys, groups.tolist(), shares, {}, strata=strata) if part is not None]


def _few(there: int, count: int, what: str = "row") -> str:
    return f"{some(there, what)} are too few for {count} folds; give a smaller data.folds=... or more rows"


Learn = Callable[..., dict[str, Any]]  # `finetune.learn`, of which (settings, rows, run, title=) is left to say


@dataclass(frozen=True)
class Given:
    """An answer to a row by the model of the fold that did not learn it."""

    fold: int  # from 1
    row: Example
    prepared: Example
    answer: Answer


def validate(
    asked: Any,
    rows: Mapping[str, list[Example]],
    run: runs.Run,
    learn: Learn,
    inputs: Mapping[str, str],
    device: torch.device,
) -> dict[str, Any]:
    """Train and score each fold that is not finished yet; write what all of them say together, and return it. asked: the settings with
    what the rows decide (labels, levels, weights): all rows, so that the models of all folds give the same kind of answers."""
    home = run.folder.parent.parent
    if run.folder.parent.name == runs.FOLDS and (home / runs.SETTINGS).is_file():
        raise SettingsError(f"{run.folder}: a fold of {home}; give run={home} to go on with it")
    if "test" in rows:  # of a folder of parts
        say(f"{rows['test'][0].file}: left alone, since with data.folds the training rows are scored")
    task = TASKS[asked.task.name][1]
    parts = divided(rows, asked.data.folds, task)
    run.begin(inputs)
    place = run.folder / runs.FOLDS
    first = runs.Run(place / "1", run.settings, resuming=True)
    found, given = [], []
    for number, part in enumerate(parts, 1):
        told = [f"{len(part[name]):,} {what}" for name, what in _PARTS.items()]
        say(f"fold {number} of {len(parts)}: {', '.join(told)}")
        with runs.hold(run.settings.model_copy(update={"run": place / str(number)})) as fold:
            if fold.finished:
                metrics = runs.already(fold, asked.train.save.every)
            else:
                # A name on a hub stands for one model in all folds, whatever becomes of it meanwhile.
                pinned = asked.model_copy(update={"model": first.pinned(asked.model)})
                metrics = learn(pinned, part, fold, title=f"fine-tuning without fold {number} of {len(parts)}")
        found.append(metrics)
        task, answers = _answers(place / str(number), part["test"], device)
        given += [Given(number, *each) for each in zip(part["test"], *answers, strict=True)]
    order = {id(row): number for number, row in enumerate(rows["train"])}
    given.sort(key=lambda each: order[id(each.row)])
    prepared = [each.prepared for each in given]
    pooled = task.score([each.answer for each in given], prepared) if task.comparable(prepared) else {}
    metrics = summary(found, pooled)
    _write(run, metrics, given)
    say(verdict(metrics))
    say(_after(run.folder))
    return metrics


_PARTS = {"train": "rows to learn from", "dev": "to choose by", "test": "to be scored"}


def _answers(
    folder: Path, rows: Sequence[Example], device: torch.device
) -> tuple[Task, tuple[Sequence[Example], Sequence[Answer]]]:
    """The task of a finished fold; its rows as it prepared them, and what it answers."""
    opened = checkpoint.load(folder)
    assert opened.task is not None  # noqa: S101 (a finished run of `finetune`)
    prepared = opened.task.prepare(rows)
    with bar("the answers to its rows", len(rows), unit="rows") as advance:
        model = opened.model.to(device)
        return opened.task, (
            prepared,
            evaluation.answers(model, opened.task, prepared, device=device, advance=advance),
        )


# ---- what the folds say together


def summary(found: Sequence[Mapping[str, Any]], pooled: Scores) -> dict[str, Any]:
    """What metrics.json holds. found: the metrics of each fold, whose "test" is the fold; pooled: the scores of all answers together."""
    scores, costs = [fold["test"] for fold in found], [fold["cost"] for fold in found]
    rivals = [name for name in found[0]["baseline"] if all(name in fold["baseline"] for fold in found)]
    total = {name: sum(cost[name] for cost in costs) for name in ("seconds", "steps", "tokens")}
    pace = round(total["tokens"] / max(1e-9, total["seconds"]))
    memory = max(cost["peak_memory_mb"] for cost in costs)
    return {
        "headline": found[0]["headline"],
        "rows": sum(each["rows"] for each in scores),
        **_spread(scores),
        "pooled": pooled,
        "baseline": {name: _spread([fold["baseline"][name] for fold in found]) for name in rivals},
        "folds": [{name: fold[name] for name in ("train", "dev", "test", "baseline")} for fold in found],
        "cost": {**costs[0], **total, "tokens_per_second": pace, "peak_memory_mb": memory},
    }


def _spread(scores: Sequence[Scores]) -> dict[str, dict[str, float]]:
    """The mean over the folds of each score that is a number, and its (sample) standard deviation."""
    names = [
        name
        for name in scores[0]
        if name != "rows" and all(isinstance(each.get(name), (int, float)) for each in scores)
    ]
    return {
        kind: {name: float(over([each[name] for each in scores])) for name in names}
        for kind, over in (("mean", statistics.mean), ("deviation", statistics.stdev))
    }


def verdict(metrics: Mapping[str, Any]) -> str:
    """The mean of the folds, what all answers together score, and who won in how many folds."""
    key, count = metrics["headline"], len(metrics["folds"])
    told = [
        f"{in_a_sentence(name)} {metrics['mean'][name]:.4f} ± {metrics['deviation'][name]:.4f}"
        for name in dict.fromkeys(("accuracy", key))
        if name in metrics["mean"]
    ]
    line = f"{count} folds: {metrics['rows']:,} rows, {', '.join(told)}"
    if pooled := metrics["pooled"]:
        line += f" (all answers together {pooled[key]:.4f}"
        line += " [95% {:.4f} to {:.4f}])".format(*pooled["interval"]) if "interval" in pooled else ")"
    rivals = _rivals(metrics)
    if said := report.verdict(metrics["mean"], rivals, key):
        best = report.best(key, rivals)
        ahead = sum(fold["test"][key] > fold["baseline"][best][key] for fold in metrics["folds"])
        line += f". {said} It was ahead in {ahead} of {count} folds."
    return line


def _rivals(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    return {name: each["mean"] for name, each in metrics["baseline"].items()}


def _after(folder: Path) -> str:
    return (
        f"The models of the folds stand in {folder / runs.FOLDS}, the answers to all rows in {folder / runs.PREDICTIONS}. For one model "
        "that learns from all rows give the same command without data.folds, and another run=..."
    )


def _write(run: runs.Run, metrics: Mapping[str, Any], given: Sequence[Given]) -> None:
    lines = (
        {
            "where": each.row.where,
            "fold": each.fold,
            "text": " ".join(each.row.texts),
            "truth": each.row.labels,
            **each.answer,
        }
        for each in given
    )
    files.write_file(
        run.folder / runs.PREDICTIONS, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    )
    files.write_json(run.folder / runs.METRICS, metrics)
    title = f"{run.folder.name}: {len(metrics['folds'])} folds"
    report.write_run(run.folder, title=title, summary=verdict(metrics), sections=_sections(run.folder, metrics))
    files.seal(run.folder, [runs.SETTINGS, runs.PREDICTIONS])


def _sections(folder: Path, metrics: Mapping[str, Any]) -> list[report.Section]:
    key, mean, deviation = metrics["headline"], metrics["mean"], metrics["deviation"]
    told: dict[str, Cell] = {
        f"{name_of(key)}, mean": mean[key],
        "Standard deviation": deviation[key],
        "95% interval": report.span(metrics["pooled"].get("interval")),
        "Folds": len(metrics["folds"]),
        "Rows": metrics["rows"],
    }
    systems = {"The model": {"mean": mean, "deviation": deviation}}
    systems |= {name_of(name): each for name, each in metrics["baseline"].items()}
    bars = {name: each["mean"][key] for name, each in systems.items() if key in each["mean"]}
    # Averages of precision and recall stand with the classes.
    names = [name for name in mean if not name.endswith(("_precision", "_recall"))]
    rows: list[list[Cell]] = [
        [name, *(f"{each['mean'][n]:.4f} ± {each['deviation'][n]:.4f}" if n in each["mean"] else None for n in names)]
        for name, each in systems.items()
    ]
    each_fold: list[list[Cell]] = [
        [str(number), fold["test"]["rows"], *(fold["test"][name] for name in names)]
        for number, fold in enumerate(metrics["folds"], 1)
    ]
    if pooled := metrics["pooled"]:
        each_fold.append(["All answers together", pooled["rows"], *(pooled.get(name) for name in names)])
    result: list[report.Part] = [
        report.Figures({name: value for name, value in told.items() if value is not None}),
        report.Bars(bars, {}, f"{name_of(key)}, mean of the folds.", "The model"),
        report.Table(["", *map(name_of, names)], rows, "Mean of the folds ± standard deviation.", {0}),
        report.Table(
            ["Fold", "Rows", *map(name_of, names)],
            each_fold,
            "Each fold is scored by a model that was trained on the others. The interval above is of all answers together.",
            {len(metrics["folds"])},
        ),
        report.Text(_after(folder)),
    ]
    return [report.Section("Result", result), *report.details(pooled)]
