"""`yanmo finetune data.train=FILE model.base=FOLDER`: a model for a task, beside its baselines."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from yanmo import (
    baselines,
    beginning,
    evaluation,
    files,
    fit,
    machine,
    overview,
    report,
    runs,
    saving,
    scrutiny,
    settings,
)
from yanmo.commands import folds, together
from yanmo.errors import DataError
from yanmo.job import Job
from yanmo.models import ModelSettings
from yanmo.progress import bar, say
from yanmo.scrutiny import Answered
from yanmo.settings import Words, one_of
from yanmo.tasks import TASKS, make
from yanmo.tasks.base import Answer, Task, attach
from yanmo.tasks.classify import Settings as Classify
from yanmo.text import doubts, sources, split
from yanmo.text.clean import language
from yanmo.text.forms import FORMS
from yanmo.text.sources import Data, Example
from yanmo.text.tokenizer import TokenizerSettings
from yanmo.train.settings import Train
from yanmo.wording import in_a_sentence


class Settings(runs.Common):
    run: Path = Field(Path("runs/finetuned"), description="the run folder")
    model: ModelSettings = Field(default_factory=ModelSettings)
    tokenizer: TokenizerSettings = Field(default_factory=TokenizerSettings)
    data: Data = Field(default_factory=Data)
    task: one_of(TASKS) = Field(default_factory=Classify)  # type: ignore[valid-type]
    method: fit.Method = Field(default_factory=fit.Method)
    train: Train = Field(default_factory=Train)


def finetune(settings_file: str | Path | None = None, **keys: Any) -> dict[str, Any]:
    """Train a model for a task; the keys are those of `yanmo finetune --print-settings`. Returns what metrics.json holds."""
    return command(Words(settings.from_arguments(Settings, settings_file, keys)))


def command(words: Words[Settings]) -> dict[str, Any]:
    asked = words.settings
    base, train = runs.paths(words.paths)
    asked.model.base = str(base) if base else asked.model.base
    asked.data.train = train or asked.data.train
    together.check(asked.data, asked.task)
    with runs.hold(asked) as run:
        if run.finished:
            return runs.already(run, asked.train.save.every)
        asked = asked.model_copy(update={"model": run.pinned(asked.model)})
        saving.enough_room(run, beginning.expected(asked.model, asked.tokenizer), asked.train)
        device = machine.prepare(asked.machine)
        rows, inputs, known = together.gathered(asked.data, asked.task, partial(read, whole=bool(asked.data.folds)))
        asked, labels = settled(asked, rows)
        each = partial(learn, labels=labels, inputs=inputs, known=known, device=device)
        if asked.data.folds:
            return folds.validate(asked, rows, run, each, inputs, device)
        metrics = each(asked, rows, run)
    say(verdict(metrics))
    return metrics


def learn(
    asked: Settings,
    rows: Mapping[str, list[Example]],
    run: runs.Run,
    *,
    labels: list[str] | None,
    inputs: Mapping[str, str],
    known: Mapping[str, Any],
    device: torch.device,
    title: str = "fine-tuning",
) -> dict[str, Any]:
    """Train on the rows of a run, score them beside the baselines, and write the finished run. inputs: see `Run.begin`; known: what else
    its record says. Returns what its metrics.json holds."""
    job = prepare(asked, rows, labels, run.folder, resuming=run.resuming, device=device)
    job.title = title
    task, opened = job.task, job.checkpoint
    prepared = {"train": job.train, "dev": job.dev}
    if "test" in rows:
        prepared["test"] = task.prepare(rows["test"])
    run.begin(inputs, opened.tokenizer, opened.origin)
    run.note(**known)
    metrics = fit.fit(job, run)
    last = "test" if "test" in rows else "dev"

    def answers(name: str = "dev") -> Sequence[Answer]:
        with bar(f"scoring the {name} rows", len(prepared[name]), unit="rows") as advance:
            return evaluation.answers(opened.model, task, prepared[name], device=device, advance=advance)

    given = Answered(task, answers(last), prepared[last])
    metrics[last] = given.scores()
    if before := task.calibrate(rows["train"], prepared["dev"], answers):
        for name in sorted({"dev", last}):  # the last comes last
            given = Answered(task, answers(name), prepared[name])
            metrics[name] = {**given.scores(), before: metrics[name][given.headline]}
    learnt = {name: rows[name] for name in ("train", "dev") if name != last}
    metrics |= {"headline": given.headline, **scrutiny.behind(given, learnt)}
    with bar(f"baselines on the {last} rows"):
        metrics["baseline"] = baselines.beside(task, rows["train"], rows[last], labels)
    errors = scrutiny.errors(given)
    files.write_file(run.folder / scrutiny.ERRORS, scrutiny.lines(errors))
    fit.conclude(job, run, metrics)
    return metrics


def settled(asked: Settings, rows: Mapping[str, Sequence[Example]]) -> tuple[Settings, list[str] | None]:
    """(the settings with what the training rows decide, the labels that the head answers with)."""
    task, train = TASKS[asked.task.name][1], rows["train"]
    asked = asked.model_copy(update={"task": task.settle(asked.task, train)})
    return asked, task.learnt(asked.task, train, str(next(iter(sources.listed(asked.data.train)), "")))


def prepare(
    asked: Settings,
    rows: Mapping[str, list[Example]],
    labels: list[str] | None,
    folder: Path,
    *,
    resuming: bool,
    device: torch.device,
) -> Job:
    """The model, the task and the tokenised rows of a run in `folder`, ready to be fitted."""
    torch.manual_seed(asked.seed)
    with bar("tokeniser and model"):
        texts = [text for example in rows["train"] for text in example.texts]
        opened = beginning.start(
            asked.model,
            asked.tokenizer,
            TASKS[asked.task.name][1].head,
            folder=folder,
            resuming=resuming,
            texts=texts,
            longest=asked.task.max_length,
            labels=labels,
        )
        task = make(asked.task, opened.tokenizer, labels or ())
        attach(opened.model, task, getattr(opened.config, opened.family.width))
        if opened.folder is not None:
            task.inherit(opened.folder)
        return Job(
            "fine-tuning",
            opened,
            task,
            task.drawn(task.prepare(rows["train"])),
            task.prepare(rows["dev"]),
            asked.train,
            asked.seed,
            device,
            language(texts),
            asked.machine.workers,
            asked.machine.precision,
        )


def read(
    data: Data, parts: Mapping[str, Sequence[Path]], task: type[Task], *, whole: bool = False
) -> tuple[dict[str, list[Example]], dict[str, str]]:
    """The rows of each part for a task, and the hash of each file. Without dev rows, a tenth of the training rows becomes them, by hash,
    unless these are to stay whole.

    What looks like a mistake in the rows is said; DataError is raised for what can't be meant.
    """
    if (train := sources.listed(data.train)) != parts["train"]:
        say(f"{', '.join(map(str, train))}: {sources.told(parts)}")
    form = FORMS[task.form]
    with bar("reading"):
        rows = {
            name: [row for path in paths for row in sources.read(path, data.columns, form=task.form)]
            for name, paths in parts.items()
        }
        for doubt in doubts.find(rows, classes=task.labelling == "classes", asked=form.asked):
            say(f"warning: {doubt}")
        if "dev" not in rows and not whole:
            learnt, held = split.held_out(rows["train"], 0.1, text=form.together)
            rows["train"], rows["dev"] = folds.learnable(learnt, held, task)
            if not rows["dev"] or not rows["train"]:
                count = len(rows["train"]) + len(rows["dev"])
                raise DataError(
                    f"{train[0]}: {count} rows are too few to hold some out; give data.dev=FILE or more rows"
                )
    return rows, sources.hashes(path for paths in parts.values() for path in paths)


def verdict(metrics: dict[str, Any]) -> str:
    """One line: the score on the last split, its interval, and who won; of several tasks one more for each."""
    name = "test" if "test" in metrics else "dev"
    scores, key = metrics[name], report.headline(metrics)
    told = [f"{in_a_sentence(each)} {scores[each]:.4f}" for each in dict.fromkeys(("accuracy", key)) if each in scores]
    line = f"{name}: {scores['rows']:,} rows, {', '.join(told)}"
    if "interval" in scores:
        line += " [95% {:.4f} to {:.4f}]".format(*scores["interval"])
    rest = metrics.get("leaks", {}).get("without", {})
    if key in rest:
        line += f"; {rest[key]:.4f} on those of them that it did not know before"
    if rival := overview.best(key, metrics["baseline"]):
        theirs = metrics["baseline"][rival][key]
        gap = scores[key] - theirs
        won = f"{gap:+.4f} against" if gap >= 0 else f"the baseline won: {gap:+.4f} against"
        line += f"; {won} {theirs:.4f} of the best baseline ({in_a_sentence(rival)})"
    return "\n".join([line, *(f"{name}: {verdict(each)}" for name, each in overview.tasks(metrics).items())])
