"""Rows that are held out: a part to choose by, and each part in its turn to be scored (`yanmo finetune ... data.folds=5`).

Every fold is a run of its own in `folds/1`, `folds/2` ... of the run folder: trained on the other folds, from the same beginning, chosen by
rows that it holds out of these, never by those that it is scored on. A run that was stopped goes on within the fold that it was in.
Beside the folds stand `metrics.json`, `report.html`, `errors.jsonl`, and in `predictions.jsonl` the answer to each row by the model that
did not learn it.
"""

import json
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yanmo import checkpoint, evaluation, files, overview, report, runs, scrutiny
from yanmo.errors import DataError, SettingsError, some
from yanmo.page import Cell
from yanmo.progress import bar, say
from yanmo.scrutiny import Answered
from yanmo.tasks import TASKS
from yanmo.tasks.base import Answer, Scores, Task
from yanmo.text import doubts, minhash, split
from yanmo.text.clean import canonical
from yanmo.text.dedup import NEAR
from yanmo.text.forms import FORMS
from yanmo.text.sources import Example
from yanmo.wording import in_a_sentence, name_of

Parts = dict[str, list[Example]]


def learnable(train: list[Example], held: list[Example], task: type[Task]) -> tuple[list[Example], list[Example]]:
    """Rows to learn from, and rows held out; but where all rows of a label were held out, they go back: they are needed to learn from."""
    if task.labelling not in ("classes", "tags"):
        return train, held
    learnt = {label for row in train for label in row.labels}
    rare = [row for row in held if not set(row.labels) <= learnt]
    return [*train, *rare], [row for row in held if row not in rare]


def divided(rows: Mapping[str, list[Example]], count: int, task: type[Task]) -> list[Parts]:
    """The train, dev and test rows of each fold. The test rows of all folds are the training rows, without those whose label would be
    left with nothing to learn from; folds are of one size, for each label, as nearly as whole groups of near duplicates allow. Dev rows
    that were given are those of every fold; else a tenth of what a fold learns from. Raises DataError for too few rows."""
    every, where = rows["train"], rows["train"][0].file
    texts = [canonical(row.texts[FORMS[task.form].together]) for row in every]
    groups = _groups(texts, count, where)
    known = {id(row): (split.key(text), group) for row, text, group in zip(every, texts, groups, strict=True)}

    def held_out(part: Sequence[Example]) -> Parts:
        """A tenth to choose by; of few groups the smallest."""
        parts = cut(part, {"train": 0.9, "dev": 0.1}, [""] * len(part))
        if not parts["dev"]:
            counts = Counter(known[id(row)][1] for row in part)
            smallest = min(counts, key=lambda group: counts[group])
            parts = {"train": [], "dev": []}
            for row in part:
                parts["dev" if known[id(row)][1] == smallest else "train"].append(row)
        return parts

    def cut(part: Sequence[Example], shares: Mapping[str, float], strata: Sequence[str]) -> Parts:
        keys, own = zip(*(known[id(row)] for row in part), strict=True)
        places = split.divide(keys, own, shares, {}, strata=strata)
        return {name: [row for row, place in zip(part, places, strict=True) if place == name] for name in shares}

    strata = ["+".join(sorted(row.labels)) if task.labelling == "classes" else "" for row in every]
    folds = cut(every, {str(fold): 1 / count for fold in range(count)}, strata)
    found = []
    for name, fold in folds.items():
        train, test = learnable([row for other, part in folds.items() if other != name for row in part], fold, task)
        parts = {"train": train, "dev": _others(rows["dev"], test, task)} if "dev" in rows else held_out(train)
        train, dev = learnable(parts["train"], parts["dev"], task)
        if not train or not dev or not test:
            raise DataError(f"{where}: {_few(len(every), count)}")
        found.append({"train": train, "dev": dev, "test": test})
    if unscored := len(every) - sum(len(parts["test"]) for parts in found):
        say(
            f"{some(unscored, 'row')} with labels that only one fold has: every model learns them, none is scored on them"
        )
    return found


def _others(rows: Sequence[Example], test: Sequence[Example], task: type[Task]) -> list[Example]:
    """The rows to choose by that a fold is not scored on."""
    known = doubts.known(test, rows, FORMS[task.form].asked)
    return [row for row, scored in zip(rows, known, strict=True) if not scored]


def _groups(texts: Sequence[str], count: int, where: str) -> list[int]:
    """A number for each canonical text, equal for those that stay in one fold."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    if len(numbers) < count:
        raise DataError(f"{where}: {_few(len(numbers), count, 'different text')}")
    equal = np.array([numbers[text] for text in texts])
    groups = minhash.clusters(list(numbers), NEAR)[equal]
    if (most := np.bincount(groups).max()) * count > len(texts):
        say(
            f"warning: {most:,} of {len(texts):,} rows resemble one another, more than a fold has, so that only equal texts stay in one "
            "fold; the score says little of rows that resemble none"
        )
        groups = equal
    found: list[int] = groups.tolist()
    return found


def _few(there: int, count: int, what: str = "row") -> str:
    return f"{some(there, what)} can't make {count} folds; give a smaller data.folds=... or more rows"


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
    every = Answered(task, [each.answer for each in given], [each.prepared for each in given])
    metrics = summary(found, every if task.comparable(every.rows) else None)
    _write(run, metrics, given, scrutiny.errors(every) if metrics["pooled"] else [])
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


def summary(found: Sequence[Mapping[str, Any]], every: Answered | None) -> dict[str, Any]:
    """What metrics.json holds. found: the metrics of each fold, whose "test" is the fold; every: all answers, where they can be scored
    together."""
    scores, costs = [fold["test"] for fold in found], [fold["cost"] for fold in found]
    rivals = [name for name in found[0]["baseline"] if all(name in fold["baseline"] for fold in found)]
    total = {name: sum(cost[name] for cost in costs) for name in ("seconds", "steps", "tokens")}
    pace = round(total["tokens"] / max(1e-9, total["seconds"]))
    memory = max(cost["peak_memory_mb"] for cost in costs)
    return {
        "headline": found[0]["headline"],
        "rows": sum(each["rows"] for each in scores),
        **_spread(scores),
        "pooled": every.scores() if every else {},
        "slices": scrutiny.slices(every) if every else {},
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
        best = overview.best(key, rivals)
        ahead = sum(fold["test"][key] > fold["baseline"][best][key] for fold in metrics["folds"])
        line += f". {said} The model was ahead in {ahead} of {count} folds."
    return line


def _rivals(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    return {name: each["mean"] for name, each in metrics["baseline"].items()}


def _after(folder: Path) -> str:
    return (
        f"The models of the folds stand in {folder / runs.FOLDS}, the answers to all rows in {folder / runs.PREDICTIONS}. For one model "
        "that learns from all rows give the same command without data.folds, and another run=..."
    )


def _write(
    run: runs.Run, metrics: Mapping[str, Any], given: Sequence[Given], errors: Sequence[Mapping[str, Any]]
) -> None:
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
    files.write_file(run.folder / scrutiny.ERRORS, scrutiny.lines(errors))
    files.write_json(run.folder / runs.METRICS, metrics)
    title = f"{run.folder.name}: {len(metrics['folds'])} folds"
    report.write_run(run.folder, title=title, summary=verdict(metrics), sections=_sections(run.folder, metrics))
    files.seal(run.folder, [runs.SETTINGS, runs.PREDICTIONS])


def _sections(folder: Path, metrics: Mapping[str, Any]) -> list[report.Section]:
    key, mean, deviation = metrics["headline"], metrics["mean"], metrics["deviation"]
    told: dict[str, Cell] = {
        f"{name_of(key)}, mean": mean[key],
        "Standard deviation": deviation[key],
        "95% interval, all answers": report.span(metrics["pooled"].get("interval")),
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
