"""What metrics.json says: the scores that a run is judged by, and its best baseline; of several tasks that were learnt together
(`tasks/multitask.py`) each as of a run of its own, and all in a table.

Such a task's scores name the one that it is judged by ("headline"), and its baselines stand under its name.
"""

from collections.abc import Mapping
from typing import Any

from yanmo.page import Cell, Table, span
from yanmo.wording import name_of

Metrics = Mapping[str, Any]


def final(metrics: Metrics) -> tuple[str, dict[str, Any]]:
    """The split that the run is judged by, and its scores."""
    return next(((split, metrics[split]) for split in ("test", "dev") if metrics.get(split)), ("", {}))


def best(key: str, baselines: Mapping[str, Any]) -> str:
    """The name of the baseline with the largest score; "" where none has it."""
    rivals = [name for name in baselines if key in baselines[name]]
    return max(rivals, key=lambda name: float(baselines[name][key]), default="")


def tasks(metrics: Metrics) -> dict[str, dict[str, Any]]:
    """Name -> what metrics.json would say of this task alone; none where there was one task only."""
    found: dict[str, dict[str, Any]] = {}
    for split in ("test", "dev"):
        for name, scores in ((metrics.get(split) or {}).get("tasks") or {}).items():
            rivals = (metrics.get("baseline") or {}).get(name) or {}
            behind = (metrics.get("tasks") or {}).get(name) or {}  # slices and leaks
            found.setdefault(name, {"baseline": rivals, "headline": scores["headline"], **behind})[split] = scores
    return found


def table(tasks: Mapping[str, Metrics], caption: str = "") -> Table:
    """A row for each task, of those that `tasks` found."""
    rows: list[list[Cell]] = []
    for name, metrics in tasks.items():
        key, (_, scores) = metrics["headline"], final(metrics)
        interval = span(scores["interval"]) if scores.get("interval") else None
        rival = best(key, metrics["baseline"])
        theirs = [metrics["baseline"][rival][key], name_of(rival)] if rival else [None, None]
        rows.append([name, name_of(key), scores[key], interval, *theirs, scores.get("rows")])
    return Table(["Task", "Score", "Model", "95% interval", "Best baseline", "Which", "Rows"], rows, caption)


def summary(tasks: Mapping[str, Metrics]) -> str:
    """In how many tasks the model won, those where it did not first; "" where there is nothing to compare."""
    lost, compared = [], 0
    for name, metrics in tasks.items():
        key = metrics["headline"]
        if rival := best(key, metrics["baseline"]):
            compared += 1
            if final(metrics)[1][key] <= metrics["baseline"][rival][key]:
                lost.append(name)
    rest = "" if compared == len(tasks) else " that have a baseline"
    won = f"The model won in {compared - len(lost)} of {compared} tasks{rest}."
    return (f"The baseline was as good or better in: {', '.join(lost)}. " if lost else "") + (won if compared else "")
