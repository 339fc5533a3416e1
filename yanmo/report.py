"""What a run folder says: the sections of its report.html, and its model card (README.md).

`run_sections` and `card` read metrics.json, metrics.jsonl, errors.jsonl, settings.yaml and config.json, each of which may be missing;
they know no model and no data. How a page looks is page.py's, whose parts are offered here too: a caller needs `report`
alone.
"""

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import yaml

from yanmo import overview
from yanmo.errors import DataError
from yanmo.models import Bases, bases
from yanmo.overview import best, final
from yanmo.page import (
    Bars,
    Cell,
    Code,
    Confusion,
    Figures,
    Lines,
    Part,
    Points,
    Section,
    Table,
    Text,
    html,
    number,
    render,
    span,
    write,
)
from yanmo.scrutiny_report import behind, comparison, errors, leak, leak_section, read_errors, unseen
from yanmo.settings import parse_yaml
from yanmo.train import track
from yanmo.wording import FOLLOWED, HUB, NAMES, SCORES, charted, in_a_sentence, name_of

__all__ = [
    "Bars", "Code", "Confusion", "Figures", "Lines", "Part", "Section", "Table", "Text",
    "card", "details", "html", "render", "run_sections", "span", "verdict", "write", "write_run",
]  # fmt: skip

MOST_SAMPLES = 10  # evaluations whose samples are shown, from the first to the last
MOST_POINTS = 200  # a longer curve is shown as means of equal runs of steps


def duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


# ---- what a run folder says


def _read(path: Path) -> dict[str, Any]:
    """A JSON or YAML file that may be missing."""
    if not path.exists():
        return {}
    text = path.read_text("utf-8", errors="replace")
    try:
        return dict((parse_yaml(text, str(path)) or {}) if path.suffix == ".yaml" else json.loads(text))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path}: expected one JSON object ({error}); remove it, and the report is made without it"
        ) from None


def run_sections(folder: Path) -> list[Section]:
    """Result, classes, confusions, curves, cost and settings of a run, as far as its files tell them."""
    metrics = _read(folder / "metrics.json")
    log = track.read(folder / track.FILE) if (folder / track.FILE).exists() else []
    sections = [
        *(comparison(metrics, headline(metrics)) if metrics.get("runs") else []),
        *_scored(metrics),
        Section("Worst errors", errors(read_errors(folder))),
        Section("Training", [*_curves(log), *_evaluations(log)]),
        Section("Samples", _samples(log)),
        Section("Cost", _cost(metrics.get("cost") or {})),
    ]
    if (folder / "settings.yaml").exists():
        sections.append(
            Section("Settings", [Code((folder / "settings.yaml").read_text("utf-8", errors="replace"))], folded=True)
        )
    return [section for section in sections if section.parts]


def _scored(metrics: Mapping[str, Any], of: str = "") -> list[Section]:
    """What was scored; of several tasks all in a table, and then each. of: what is put behind the headings."""
    if tasks := overview.tasks(metrics):
        board = overview.table(tasks, "Each task beside the best of its baselines; below, each by itself.")
        each = [section for name, task in tasks.items() for section in _scored(task, f": {name}")]
        return [Section("Result", [Text(overview.summary(tasks)), board]), *each]
    split, scores = final(metrics)
    main = headline(metrics)
    sections = [
        leak_section(split, scores, metrics, main),
        Section("Result", _result(split, scores, metrics, main)),
        Section("Classes", _classes(scores)),
        *behind(scores, metrics),
    ]
    return [replace(section, title=section.title + of) for section in sections]


def _leaks(metrics: Mapping[str, Any]) -> list[str]:
    """What is said of leaks before any score; of several tasks with the name of each."""
    if not (tasks := overview.tasks(metrics)):
        return [leak(*final(metrics), metrics, headline(metrics))]
    told = {name: leak(*final(task), task, task["headline"]) for name, task in tasks.items()}
    return [f"{name}: {each}" for name, each in told.items() if each]


def _summary(metrics: Mapping[str, Any]) -> str:
    tasks = overview.tasks(metrics)
    alone = verdict(final(metrics)[1], metrics.get("baseline") or {}, headline(metrics))
    return overview.summary(tasks) if tasks else alone


def write_run(folder: Path, *, title: str, summary: str = "", sections: Sequence[Section] = ()) -> None:
    """Write the run's report.html; `sections` stand before its own."""
    metrics = _read(folder / "metrics.json")
    told = [*_leaks(metrics), summary or _summary(metrics)]
    write(folder / "report.html", title, " ".join(filter(None, told)), [*sections, *run_sections(folder)])


def _single(scores: Mapping[str, Any]) -> dict[str, int | float]:
    """The scores that are one number each."""
    return {key: value for key, value in scores.items() if isinstance(value, (int, float)) and key != "rows"}


def _each(scores: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The scores of each class, label or type."""
    return next((scores[kind] for kind in ("classes", "labels", "types") if scores.get(kind)), {})


def headline(metrics: Mapping[str, Any]) -> str:
    """The score that a run is judged by: the one that metrics.json names, or the first of SCORES that it has."""
    scores = final(metrics)[1]
    return str(metrics.get("headline") or next((key for key in SCORES if key in scores), ""))


def verdict(scores: Mapping[str, Any], baselines: Mapping[str, Any], key: str) -> str:
    """Who won by the score `key`, the larger the better, in a sentence; empty where there is nothing to compare."""
    strongest = best(key, baselines)
    if key not in scores or not strongest:
        return ""
    rival = baselines[strongest]
    ours, theirs = float(scores[key]), float(rival[key])
    pair = f"{name_of(key)} {number(ours)} against {number(theirs)} of the best baseline ({name_of(strongest)})"
    if number(ours) == number(theirs):
        return f"A tie: {pair}. The simpler method is the better choice."
    if ours < theirs:
        return f"The baseline won: {pair}, {number(theirs - ours)} less. Here the simpler method is the better choice."
    overlap = scores.get("interval") and rival.get("interval") and scores["interval"][0] <= rival["interval"][1]
    doubt = " Their 95% intervals overlap: other test rows might reverse the order." if overlap else ""
    return f"The model won: {pair}, {number(ours - theirs)} more.{doubt}"


def _figures(scores: Mapping[str, Any], baselines: Mapping[str, Any], key: str) -> Figures:
    strongest = best(key, baselines)
    told: dict[str, Cell] = {
        name_of(name): score for name, score in _single(scores).items() if name == key or not _each(scores)
    }
    told |= {"95% interval": span(scores.get("interval"))} if scores.get("interval") else {}
    told |= {"Best baseline": baselines[strongest][key]} if strongest else {}
    return Figures(told | ({"Rows": scores["rows"]} if "rows" in scores else {}))


def _result(split: str, scores: Mapping[str, Any], metrics: Mapping[str, Any], main: str) -> list[Part]:
    single, baselines = _single(scores), metrics.get("baseline") or {}
    if not single:
        return []
    where = f"the {split} set" + (f" of {scores['rows']:,} rows" if scores.get("rows") else "")
    everyone = _everyone("The model", scores, baselines)
    parts: list[Part] = [
        _figures(scores, baselines, main),
        Text(verdict(scores, baselines, main) or f"Measured on {where}, {unseen(split, metrics)}."),
        _scoreboard(everyone, list(single), f"Scores on {where}."),
    ]
    # The commonest class is far below the rest, and would squeeze their differences out of sight; the table has it.
    shown = {name: rival for name, rival in everyone.items() if main in rival and name != NAMES["majority"]}
    if len(shown) > 1:
        intervals = {name: rival["interval"] for name, rival in shown.items() if rival.get("interval")}
        caption = f"{name_of(main)} on {where}" + ("; whiskers: 95% intervals." if intervals else ".")
        parts.insert(2, Bars({name: rival[main] for name, rival in shown.items()}, intervals, caption, "The model"))
    return parts


def _everyone(ours: str, scores: Mapping[str, Any], baselines: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {ours: scores, **{name_of(name): rival for name, rival in baselines.items()}}


def _scoreboard(everyone: Mapping[str, Mapping[str, Any]], keys: Sequence[str], caption: str) -> Table:
    """The model and its baselines, one score a column. Averages of precision and recall stand with the classes."""
    keys = [key for key in keys if not key.endswith(("_precision", "_recall"))]
    columns = ["", *map(name_of, keys)]
    rows = [[name, *(scores.get(key) for key in keys)] for name, scores in everyone.items()]
    if any("interval" in scores for scores in everyone.values()):
        columns.append("95% interval")
        rows = [[*row, span(scores.get("interval"))] for row, scores in zip(rows, everyone.values(), strict=True)]
    return Table(columns, rows, caption, {0})


def details(scores: Mapping[str, Any]) -> list[Section]:
    """What stands behind scores alone: of each class, its confusions, calibration."""
    found = [Section("Classes", _classes(scores)), *behind(scores, {})]
    return [section for section in found if section.parts]


def _classes(scores: Mapping[str, Any]) -> list[Part]:
    classes = _each(scores)
    if not classes:
        return []
    columns = ("precision", "recall", "f1")
    rows = [[label, *map(values.get, columns), values.get("support")] for label, values in classes.items()]
    for average in ("micro", "macro", "weighted"):
        if f"{average}_f1" in scores:
            means = [scores.get(f"{average}_{column}") for column in columns]
            rows.append([f"{average.capitalize()} average", *means, sum(each["support"] for each in classes.values())])
    kind, counted = ("Class", "Rows") if "classes" in scores else ("Type", "Spans")
    return [Table([kind, "Precision", "Recall", "F1", counted], rows, highlight=set(range(len(classes), len(rows))))]


def _curves(log: Sequence[Mapping[str, Any]]) -> list[Part]:
    def curve(kind: str, key: str) -> list[tuple[float, float]]:
        # A run that was resumed may tell a step twice; the later word counts.
        found = {
            line["step"]: line[key]
            for line in log
            if line.get("kind") == kind and line.get(key) is not None and "step" in line
        }
        return sorted(found.items())

    train, each = _thin(curve("train", "loss"))
    losses = {name: points for name, points in (("training", train), ("dev", curve("dev", "loss"))) if points}
    keys = charted(SCORES, [key for line in log if line.get("kind") == "dev" for key in line])
    scores = {name_of(key): points for key in keys if (points := curve("dev", key))}
    thinned = f"Each point of the training loss is the mean of {each} log lines." if each > 1 else ""
    charts = [Lines(losses, "step", "loss", thinned), Lines(scores, "step", "score", "Scores on the dev set.")]
    return [chart for chart in charts if chart.series]


def followed(scores: Mapping[str, Any]) -> str:
    """The scores that one watches while a model learns, in words."""
    return ", ".join(f"{in_a_sentence(key)} {number(scores[key])}" for key in charted(FOLLOWED, [*scores]))


def _evaluations(log: Sequence[Mapping[str, Any]]) -> list[Part]:
    lines = {line["step"]: line for line in log if line.get("kind") == "dev" and "step" in line}
    keys = charted(FOLLOWED, [key for line in lines.values() for key in line])
    rows = [[step, *(line.get(key) for key in keys)] for step, line in sorted(lines.items())]
    return [Table(["Step", *map(name_of, keys)], rows, "Scores on the dev set.")] if keys else []


def _samples(log: Sequence[Mapping[str, Any]]) -> list[Part]:
    told = {line["step"]: line["texts"] for line in log if line.get("kind") == "samples" and "step" in line}
    steps = sorted(told)
    shown = sorted({round(n * (len(steps) - 1) / (MOST_SAMPLES - 1)) for n in range(MOST_SAMPLES)}) if steps else []
    rows: list[list[Cell]] = [[steps[n], text["prompt"], text["text"]] for n in shown for text in told[steps[n]]]
    return [Table(["Step", "Prompt", "Text"], rows, "What the model wrote, the same draws each time.")] if rows else []


def _thin(points: Points) -> tuple[list[tuple[float, float]], int]:
    """At most MOST_POINTS points, and how many went into each."""
    each = max(1, math.ceil(len(points) / MOST_POINTS))
    groups = [points[start : start + each] for start in range(0, len(points), each)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups], each


def _cost(cost: Mapping[str, Any]) -> list[Part]:
    told = {
        name_of(key): duration(value) if key == "seconds" else round(value) if isinstance(value, float) else value
        for key, value in cost.items()
    }
    return [Figures(told)] if told else []


# ---- the model card

PIPELINES = {"ForSequenceClassification": "text-classification", "ForTokenClassification": "token-classification"}
PIPELINES |= {"ForQuestionAnswering": "question-answering"}
PIPELINES |= {"ForMaskedLM": "fill-mask", "ForCausalLM": "text-generation", "LMHeadModel": "text-generation"}

# Of tasks whose folders another library opens by their own classes: task -> (library, hub tag).
TASKS = {
    "embed": ("sentence-transformers", "sentence-similarity"),
    "rerank": ("sentence-transformers", "text-ranking"),
}


def card(
    folder: Path, *, language: str | Sequence[str], about: str, base: Bases, data: Mapping[str, str], license: str
) -> str:
    """The README.md of a run folder. `data` maps each data file to its sha256; `base` is a folder or a hub name, or several."""
    metrics, config = _read(folder / "metrics.json"), _read(folder / "config.json")
    split, scores = final(metrics)
    tasks = overview.tasks(metrics)
    everyone = _everyone("This model", scores, metrics.get("baseline") or {})
    heads, settings = " ".join(config.get("architectures") or []), _read(folder / "settings.yaml")
    library, pipeline = TASKS.get(str((settings.get("task") or {}).get("name")), ("transformers", ""))
    facts: dict[str, Any] = {
        "name": folder.resolve().name,
        "language": [language] if isinstance(language, str) else list(language),
        "about": about,
        "base": bases(base),
        "data": data,
        "license": license,
        "split": split,
        "unseen": unseen(split, metrics) if split else None,
        "scores": scores,
        "config": config,
        "pipeline": pipeline or next((tag for head, tag in PIPELINES.items() if head in heads), None),
        "library": library if not str(config.get("model_type", "yanmo")).startswith("yanmo") else "yanmo",
        "cost": _cost(metrics.get("cost") or {}),
        "settings": dict(_flat(settings)),
        "tasks": list(tasks),
        "table": overview.table(tasks) if tasks else _scoreboard(everyone, list(_single(scores)), ""),
        "verdict": _summary(metrics),
        "headline": in_a_sentence(headline(metrics)),
        "weakest": min(_each(scores).items(), key=lambda item: item[1]["f1"], default=None),
        "folder": str(folder),
    }
    front = yaml.safe_dump(_front(facts), allow_unicode=True, sort_keys=False)
    return _card_template().render(facts, front=front)


def _front(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The YAML that the hub reads, without the keys that have nothing to say."""
    base, scores, language = facts["base"], facts["scores"], facts["language"]
    # The hub knows names only; a folder of this machine is told in the text.
    named = [each for each in base if re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", each) and not Path(each).exists()]
    front = {
        "language": language[0] if len(language) == 1 else language,
        "license": facts["license"],
        "library_name": facts["library"],
        "pipeline_tag": facts["pipeline"],
        "base_model": named[0] if len(named) == 1 else named,
        "metrics": [metric for key, metric in HUB.items() if key in scores],
        "tags": ["yanmo", *filter(None, [facts["config"].get("model_type")])],
        "model-index": _index(facts),
    }
    return {key: value for key, value in front.items() if value}


def _index(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The scores as the hub reads them."""
    scores = _single(facts["scores"])
    if not scores or not facts["pipeline"]:
        return []
    found = [
        {"type": key.split("_")[-1], "name": name_of(key), "value": round(value, 6)} for key, value in scores.items()
    ]
    source = {"type": "custom", "name": ", ".join(facts["data"]) or "own data", "split": facts["split"]}
    result = {"task": {"type": facts["pipeline"]}, "dataset": source, "metrics": found}
    return [{"name": facts["name"], "results": [result]}]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of the settings that shaped the training."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None and f"{prefix}{key}".split(".")[0] not in ("run", "force", "machine", "data"):
            yield f"{prefix}{key}", str(value)


def _card_template() -> jinja2.Template:
    made = jinja2.Environment(  # noqa: S701 (Markdown; `cell` escapes what would end a table or begin a tag)
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    made.filters.update(number=number, cell=_cell, quote=shlex.quote)
    return made.get_template("card.md.j2")


def _cell(value: Cell) -> str:
    return re.sub(r"([\\`|*_\[\]])", r"\\\1", " ".join(number(value).split())).replace("<", "&lt;")
