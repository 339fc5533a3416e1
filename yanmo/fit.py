"""The one caller of the training loop: budgets, logs, evaluates, saves, stops early, answers signals, and goes on where a run
stood. Pre-training and fine-tuning (and later distilling, pruning, searching) are all this function with other settings."""

import resource
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from types import FrameType
from typing import Any, Literal

import torch
from pydantic import Field, model_validator

from yanmo import checkpoint, evaluation, files, machine, progress, report
from yanmo.checkpoint import Checkpoint
from yanmo.errors import Interrupted
from yanmo.runs import BEST, CARD, CHECKPOINTS, METRICS, Run
from yanmo.settings import Block
from yanmo.tasks.base import Scores, Task, better, lengths
from yanmo.text import batches
from yanmo.text.batches import Batch, Cursor
from yanmo.text.sources import Example
from yanmo.train import loop, optim, resume, schedule, track
from yanmo.train.average import Average
from yanmo.train.resume import Progress

BUDGETS = ("epochs", "steps", "tokens", "minutes")
_PROBE_SECONDS = 4.0
_LOG_LINES = 200  # of training in metrics.jsonl, whatever the length of the run


class Method(Block):
    name: Literal["full"] = Field("full", description="full: every parameter is trained")


class Train(Block):
    """How to train. Of the budgets, naming one replaces the default."""

    epochs: float | None = Field(3.0, gt=0, description="budget: passes over the rows")
    steps: int | None = Field(None, gt=0, description="budget: optimiser steps")
    tokens: int | None = Field(None, gt=0, description="budget: tokens read")
    minutes: float | None = Field(
        None, gt=0, description="budget: wall minutes on this machine, turned into steps by a probe"
    )
    batch_tokens: int = Field(4096, ge=16, description="tokens of one batch")
    accumulate: int = Field(1, ge=1, description="batches of one step")
    optimiser: Literal["adamw", "adam", "sgd"] = Field("adamw", description="adamw, adam or sgd")
    lr: float = Field(3e-4, gt=0, description="highest learning rate")
    rates: dict[str, float] = Field(
        default_factory=dict, description="beginning of a parameter's name: factor on its learning rate"
    )
    warmup: float = Field(0.06, ge=0, lt=1, description="share of the steps in which the rate rises")
    weight_decay: float = Field(0.01, ge=0, description="decay of matrices")
    l1: float = Field(0.0, ge=0, description="penalty on the absolute weights")
    l2: float = Field(0.0, ge=0, description="penalty on the squared weights")
    clip: float | None = Field(1.0, gt=0, description="largest gradient norm; null: none")
    average: float | None = Field(
        None, gt=0, lt=1, description="decay of a moving average of the weights, kept in their place; null: none"
    )
    evaluations: int = Field(10, ge=1, description="how often the dev rows are scored")
    patience: int | None = Field(
        None, ge=1, description="evaluations without a new best before the run stops; null: never"
    )
    save_minutes: float = Field(2.0, gt=0, description="wall minutes between checkpoints")

    @model_validator(mode="after")
    def _one_budget(self) -> "Train":
        given = [name for name in BUDGETS if name in self.model_fields_set and getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"two budgets named ({' and '.join(given)}); name one of {', '.join(BUDGETS)}")
        if given and given != ["epochs"]:
            self.__dict__["epochs"] = None  # the default steps back
        if all(getattr(self, name) is None for name in BUDGETS):
            raise ValueError(f"no budget; name one of {', '.join(BUDGETS)}")
        return self


@dataclass
class Job:
    """What there is to fit."""

    title: str
    checkpoint: Checkpoint  # family, tokenizer and a model that holds the beginning; after `fit`, the best weights
    task: Task
    train: Sequence[Example]  # prepared
    dev: Sequence[Example]  # prepared
    settings: Train
    seed: int
    device: torch.device
    language: str  # of the texts, for the card


class Signals:
    """SIGINT and SIGTERM ask the run to stop after the step that it is in; the second one stops at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> "Signals":
        heard = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        self.old = {
            number: signal.signal(number, self._hear) for number in heard
        }  # Python hears signals in the main thread only
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise Interrupted("stopped at once; the run goes on from its last checkpoint", number)
        self.received = number  # printing here could interrupt a print


def fit(job: Job, run: Run) -> dict[str, Any]:
    """Train `job` in `run`'s folder until its budget is spent; leaves the best weights in the job's model.

    Returns {"train", "dev", "cost"}, ready for metrics.json. Raises Interrupted after a signal, with everything saved.
    """
    budget = _budget(job, run)
    job.checkpoint.task = job.task
    latest = run.latest() if run.resuming else None
    if latest:
        checkpoint.reload(job.checkpoint, latest)
    model = job.checkpoint.model.to(job.device)
    optimiser = _optimiser(job)
    average = Average(model, job.settings.average) if job.settings.average else None
    state = resume.load(latest, model, optimiser, average) if latest else Progress()
    _compare_machines(run)
    tracker = track.Tracker(run.folder, state.step)
    scored = {max(1, round(budget * (i + 1) / job.settings.evaluations)) for i in range(job.settings.evaluations)}
    saved, began = time.monotonic(), time.monotonic() - state.seconds
    with Signals() as signals, progress.bar(job.title, budget, state.step, "steps") as advance:
        plan = loop.Plan(
            steps=budget,
            factor=partial(schedule.linear, steps=budget, warmup=job.settings.warmup),
            device=job.device,
            start=budget if state.finished else state.step,
            accumulate=job.settings.accumulate,
            clip=job.settings.clip,
            l1=job.settings.l1,
            l2=job.settings.l2,
        )
        for step in loop.steps(model, job.task, _stream(job, state.cursor), optimiser, plan):
            state = replace(
                state,
                step=step.number,
                cursor=step.cursor,
                tokens=state.tokens + step.tokens,
                losses=[*state.losses, step.loss],
                seconds=time.monotonic() - began,
            )
            if average:
                average.update(step.number)
            if step.number % max(1, budget // _LOG_LINES) == 0 or step.number == budget:
                _log(tracker, step, state)
                state.losses = []
            if job.dev and step.number in scored:
                with average.applied() if average else nullcontext():
                    state = _evaluate(job, run, state, tracker)
            advance(1, note=f"loss {step.loss:.3f}" + _best_note(job, state))
            if signals.received is not None:
                progress.say("stopping: saving this step (once more stops at once)")
            stopping = signals.received is not None or state.finished or step.number == budget
            if stopping or time.monotonic() - saved > 60 * job.settings.save_minutes:
                _save(job, run, optimiser, state, average)
                saved = time.monotonic()
            if signals.received is not None:
                tracker.close()
                again = (
                    "Give it again without force=true to go on" if run.settings.force else "The same command goes on"
                )
                raise Interrupted(
                    f"stopped at step {step.number} of {budget}; saved in {run.folder}. {again} from here.",
                    signals.received,
                )
            if state.finished:
                break
    tracker.close()
    if state.best is not None:
        checkpoint.reload(job.checkpoint, run.folder / CHECKPOINTS / BEST)
        job.checkpoint.model.to(job.device)
    elif average:
        average.put(average.values)
    return {
        "train": {
            "rows": len(job.train),
            "steps": state.step,
            "planned_steps": budget,
            "best_step": state.best_step or state.step,
        },
        "dev": state.best or {},
        "cost": {
            "seconds": round(state.seconds, 1),
            "steps": state.step,
            "tokens": state.tokens,
            "tokens_per_second": round(state.tokens / max(1e-9, state.seconds)),
            "parameters": sum(p.numel() for p in job.checkpoint.model.parameters()),
            "peak_memory_mb": _peak_memory(),
        },
    }


def conclude(job: Job, run: Run, metrics: dict[str, Any]) -> dict[str, Any]:
    """Write what a finished run is: the model folder, the scores, its report and card; then the training checkpoints go."""
    job.checkpoint.record = run.record
    checkpoint.write(run.folder, job.checkpoint)
    files.write_json(run.folder / METRICS, metrics)
    report.write_run(run.folder, title=f"{run.folder.name}: {job.title}")
    text = report.card(
        run.folder,
        language=job.language,
        about=f"A model of the family '{job.checkpoint.family.model_type}' ({job.checkpoint.family.about}), made by {job.title}.",
        base=run.settings.model_dump()["model"]["base"],
        data=run.record.get("inputs", {}),
        license="unknown",
    )
    files.write_file(run.folder / CARD, text)
    if (run.folder / CHECKPOINTS).exists():
        files.remove(run.folder / CHECKPOINTS)
    return metrics


def _stream(job: Job, cursor: Cursor) -> Iterator[tuple[Batch, Cursor]]:
    budget = job.settings.batch_tokens
    return batches.stream(job.train, lengths(job.train), job.task.batch, budget=budget, seed=job.seed, cursor=cursor)


def _optimiser(job: Job) -> torch.optim.Optimizer:
    settings = job.settings
    return optim.make(
        settings.optimiser,
        job.checkpoint.model,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        rates=settings.rates,
    )


def _budget(job: Job, run: Run) -> int:
    """The number of steps. What `minutes` became is kept in the run's record, so that a resumed run does the same steps."""
    settings = job.settings
    if "steps" in run.record:
        return int(run.record["steps"])
    sizes = lengths(job.train)
    per_epoch = len(batches.plan(sizes, settings.batch_tokens, job.seed, 0)) / settings.accumulate
    if settings.steps is not None:
        steps = settings.steps
    elif settings.tokens is not None:
        steps = round(settings.tokens / (int(sizes.sum()) / per_epoch))
    elif settings.minutes is not None:
        steps = _probe(job, 60 * settings.minutes)
    else:
        assert settings.epochs is not None  # noqa: S101 (the settings' validator)
        steps = round(settings.epochs * per_epoch)
    steps = max(1, steps)
    run.note(steps=steps, machine=machine.fingerprint())
    return steps


def _probe(job: Job, seconds: float) -> int:
    """How many steps, with their evaluations, fit into `seconds` on this machine. Leaves weights and random state as they were: the
    steps that are timed are real ones, at a learning rate of 0."""
    model = job.checkpoint.model.to(job.device)
    random = torch.get_rng_state()
    limit = min(_PROBE_SECONDS, 0.1 * seconds)
    plan = loop.Plan(1 << 30, lambda step: 0.0, job.device, accumulate=job.settings.accumulate)
    per_token: list[float] = []
    began = mark = time.monotonic()
    for step in loop.steps(model, job.task, _stream(job, Cursor()), _optimiser(job), plan):
        now = time.monotonic()
        per_token.append((now - mark) / step.tokens)
        mark = now
        if step.number > 2 and now - began > limit:
            break
    for parameter in model.parameters():
        parameter.grad = None
    torch.set_rng_state(random)
    pace = statistics.median(per_token[1:])  # the first step warms up, and an interruption is no measure
    # Scoring a token costs about a third of training on it.
    evaluations = int(lengths(job.dev).sum()) * pace / 3 * job.settings.evaluations if job.dev else 0.0
    mean = int(lengths(job.train).sum()) / len(batches.plan(lengths(job.train), job.settings.batch_tokens, job.seed, 0))
    left = 0.97 * seconds - evaluations - (mark - began)
    return max(1, int(left / (pace * mean * job.settings.accumulate)))


def _log(tracker: track.Tracker, step: loop.Step, state: Progress) -> None:
    values = {
        "loss": sum(state.losses) / len(state.losses),
        "lr": step.lr,
        "norm": step.norm,
        "epoch": step.cursor.epoch,
    }
    tracker.write("train", step.number, values | {"tokens_per_second": round(state.tokens / max(1e-9, state.seconds))})


def _evaluate(job: Job, run: Run, state: Progress, tracker: track.Tracker) -> Progress:
    """Score the dev rows; keep the weights when they are the best so far."""
    scores: Scores = evaluation.evaluate(job.checkpoint.model, job.task, job.dev, device=job.device)
    tracker.write("dev", state.step, {name: value for name, value in scores.items() if isinstance(value, (int, float))})
    if better(job.task.best, scores, state.best):
        with files.write_folder(run.folder / CHECKPOINTS / BEST) as folder:
            checkpoint.write(folder, job.checkpoint)
        return replace(state, best=scores, best_step=state.step, worse=0)
    worse = state.worse + 1
    return replace(state, worse=worse, finished=job.settings.patience is not None and worse >= job.settings.patience)


def _best_note(job: Job, state: Progress) -> str:
    name = job.task.best.removeprefix("-")
    return f", best dev {name} {state.best[name]:.4f}" if state.best else ""


def _save(job: Job, run: Run, optimiser: torch.optim.Optimizer, state: Progress, average: Average | None) -> None:
    """A checkpoint that any later process can go on from; then the older ones go."""
    with files.write_folder(run.folder / CHECKPOINTS / f"step-{state.step:08d}") as folder:
        checkpoint.write(folder, job.checkpoint)
        resume.save(folder, job.checkpoint.model, optimiser, state, average)
    for old in run.checkpoints()[2:]:  # the one before stays, in case the newest is damaged
        files.remove(old)


def _compare_machines(run: Run) -> None:
    then, now = run.record.get("machine", {}), machine.fingerprint()
    changed = [f"{key} {then[key]} -> {now[key]}" for key in now if key in then and then[key] != now[key]]
    if run.resuming and changed:
        progress.say(
            f"warning: the machine has changed ({', '.join(changed)}); the run goes on, but not bit for bit as it would have"
        )


def _peak_memory() -> int:
    """Of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))
