"""The one caller of the training loop: budgets, logs, evaluates, saves, stops early, answers signals, and goes on where a run
stood. Pre-training and fine-tuning (and later distilling, pruning, searching) are all this function with other settings."""

import statistics
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from yanmo import checkpoint, evaluation, files, machine, progress, report, saving
from yanmo.errors import Interrupted, TrainingError
from yanmo.job import Job
from yanmo.runs import CARD, METRICS, SETTINGS, Run
from yanmo.saving import Saver
from yanmo.settings import Block
from yanmo.signals import Signals
from yanmo.tasks.base import Scores, better, lengths
from yanmo.text.batches import Cursor
from yanmo.train import guard, loop, precision, resume, schedule, track
from yanmo.train.average import Average
from yanmo.train.resume import Progress

_PROBE_SECONDS = 4.0
_LOG_LINES = 200  # of training in metrics.jsonl, whatever the length of the run
_SKIPS = 10  # faulty steps in a row that are passed over before the run stops
_ROLLBACKS = 3


class Method(Block):
    name: Literal["full"] = Field("full", description="full: every parameter is trained")


@dataclass
class _Work:
    """What `fit` has in hand while it trains."""

    job: Job
    run: Run
    budget: int
    saver: Saver
    optimiser: torch.optim.Optimizer
    average: Average | None
    tracker: track.Tracker
    state: Progress


def fit(job: Job, run: Run) -> dict[str, Any]:
    """Train `job` in `run`'s folder until its budget is spent; leaves the best weights in the job's model.

    Returns {"train", "dev", "cost"}, ready for metrics.json. Raises Interrupted after a signal, with everything saved.
    """
    job.checkpoint.task = job.task
    job.precision = _precision(job, run)
    saving.enough_room(run, job.parameters, job.settings)
    budget = _budget(job, run)
    latest = run.latest() if run.resuming else None
    run.forget(after=run.step_of(latest) if latest else -1)  # those that are damaged
    with Signals() as signals, Saver(run, job.settings.save) as saver:
        work = _stand(job, run, budget, saver, latest)
        if not budget and work.state.best is None:
            _evaluate(work)
            _save(work)
        if latest:
            progress.say(f"going on from step {work.state.step} of {budget}")
        with progress.bar(job.title, budget, work.state.step, "steps") as advance:
            while (fault := _train(work, signals, advance)) is not None:
                reached = work.state.step
                work = _roll_back(work, fault)
                advance(work.state.step - reached)
        saver.wait()
        _answer(work, signals)
    state = work.state
    if state.best is not None:
        checkpoint.reload(job.checkpoint, run.place(state.best_step))
        job.checkpoint.model.to(job.device)
    elif work.average:
        work.average.put(work.average.values)
    return {
        "train": {
            "rows": len(job.train),
            "steps": state.step,
            "planned_steps": budget,
            "best_step": state.best_step or state.step,
            **({"skipped_steps": state.skipped} if state.skipped else {}),
            **({"rollbacks": state.rollbacks} if state.rollbacks else {}),
        },
        "dev": state.best or {},
        "cost": {
            "seconds": round(state.seconds, 1),
            "steps": state.step,
            "tokens": state.tokens,
            "tokens_per_second": round(state.tokens / max(1e-9, state.seconds)),
            "parameters": job.parameters,
            "precision": job.precision,
            "peak_memory_mb": machine.peak_memory(),
        },
    }


def conclude(job: Job, run: Run, metrics: dict[str, Any]) -> dict[str, Any]:
    """Write what a finished run is: the model folder, the scores, its report and card, and the manifest that says it is finished; then
    the training checkpoints go."""
    job.checkpoint.record = run.record
    names = checkpoint.write(run.folder, job.checkpoint)
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
    files.seal(run.folder, [*names, SETTINGS])
    run.clean_up(job.settings.save.every)
    return metrics


def _stand(job: Job, run: Run, budget: int, saver: Saver, folder: Path | None) -> _Work:
    """Everything as it stood in a checkpoint's folder, or at the very beginning."""
    if folder:
        checkpoint.reload(job.checkpoint, folder)
    model = job.checkpoint.model.to(job.device)
    optimiser = job.optimiser()
    average = Average(model, job.settings.average) if job.settings.average else None
    state = resume.load(folder, model, optimiser, average) if folder else Progress()
    work = _Work(job, run, budget, saver, optimiser, average, track.Tracker(run.folder, state.step), state)
    if job.settings.on_fault == "rollback" and state.anchor is None:
        state.anchor = state.step
        _save(work)
    return work


def _train(work: _Work, signals: Signals, advance: progress.Advance) -> loop.Fault | None:
    """From where the work stands to the end of its budget, or to a fault."""
    try:
        _steps(work, signals, advance)
    except loop.Fault as fault:
        return fault
    finally:
        work.tracker.close()
    return None


def _steps(work: _Work, signals: Signals, advance: progress.Advance) -> None:
    job, budget, began = work.job, work.budget, time.monotonic() - work.state.seconds
    settings, average = job.settings, work.average
    scored = {max(1, round(budget * (i + 1) / settings.evaluations)) for i in range(settings.evaluations)}
    recent = work.state.recent
    plan = loop.Plan(
        steps=budget,
        factor=partial(schedule.SCHEDULES[settings.schedule], steps=budget, warmup=settings.warmup),
        device=job.device,
        start=budget if work.state.finished else work.state.step,
        accumulate=settings.accumulate,
        clip=settings.clip,
        l1=settings.l1,
        l2=settings.l2,
        fault=partial(guard.fault, recent=recent, deviations=settings.spike),
        skip=settings.on_fault == "skip",
    )
    stream = job.batches(work.state.cursor)
    backward = job.backward(job.precision)
    for step in loop.steps(job.checkpoint.model, job.task, stream, work.optimiser, plan, backward):
        work.state = _after(work.state, step, time.monotonic() - began)
        if step.skipped:
            progress.say(f"warning: skipped {step.skipped}")
            work.tracker.write("fault", step.number, {"what": step.skipped})
            if work.state.in_a_row > _SKIPS:
                raise TrainingError(
                    f"{_SKIPS} faulty steps in a row were skipped, and here is the next: {step.skipped} {_ADVICE}"
                )
        else:
            if settings.spike:
                recent.append((step.loss, step.norm))
                del recent[: -guard.WINDOW]
            if average:
                average.update(step.number)
            if step.number % max(1, budget // _LOG_LINES) == 0 or step.number == budget:
                _log(work.tracker, step, work.state)
                work.state.losses = []
        wanted = work.saver.due(step.number)
        if step.number in scored:
            wanted |= settings.on_fault == "rollback"
            wanted |= bool(job.dev) and _evaluate(work)
            if settings.on_fault == "rollback":
                work.state.anchor = step.number
        advance(1, note=f"loss {step.loss:.3f}" + _best_note(job, work.state))
        if signals.received is not None:
            progress.say("stopping: saving this step (once more stops at once)")
        if wanted or signals.received is not None or work.state.finished or step.number == budget:
            _save(work)
        if signals.received is not None or work.state.finished:
            break


def _answer(work: _Work, signals: Signals) -> None:
    """Raise Interrupted where a signal asked to stop; by now everything is saved."""
    if signals.received is not None:
        run = work.run
        again = "Give it again without force=true to go on" if run.settings.force else "The same command goes on"
        raise Interrupted(
            f"stopped at step {work.state.step} of {work.budget}; saved in {run.folder}. {again} from here.",
            signals.received,
        )


def _after(state: Progress, step: loop.Step, seconds: float) -> Progress:
    return replace(
        state,
        step=step.number,
        cursor=step.cursor,
        tokens=state.tokens + step.tokens,
        losses=state.losses if step.skipped else [*state.losses, step.loss],
        seconds=seconds,
        skipped=state.skipped + bool(step.skipped),
        in_a_row=state.in_a_row + 1 if step.skipped else 0,
    )


def _roll_back(work: _Work, fault: loop.Fault) -> _Work:
    """The work as it stood at its anchor, the rows up to the fault passed over; raises TrainingError when that is not wanted, or was done
    often enough."""
    state, job, run = work.state, work.job, work.run
    if state.anchor is None or state.rollbacks >= _ROLLBACKS:
        if state.step:
            _save(work)
            work.saver.wait()
        saved = (
            f" The step before it is saved: model.base={run.place(state.step)} starts from there." if state.step else ""
        )
        tried = f" {state.rollbacks} rollbacks did not help." if state.rollbacks else ""
        raise TrainingError(f"{fault}{tried}{saved} {_ADVICE}")
    work.saver.wait()
    run.forget(after=state.anchor)
    progress.say(f"warning: {fault} Going back to step {state.anchor}, on past these rows.")
    again = _stand(job, run, work.budget, work.saver, run.place(state.anchor))
    again.state = replace(again.state, cursor=fault.cursor, rollbacks=state.rollbacks + 1, seconds=state.seconds)
    return again


_ADVICE = "Lower train.lr, raise train.warmup, look at these rows, or give train.on_fault=skip or rollback."


def _precision(job: Job, run: Run) -> str:
    """What the run is trained in. What `auto` became is kept in the run's record, so that a resumed run does not decide otherwise; naming
    another one changes it."""
    # A run that knows its steps and no precision began when there was one only.
    known = run.record.get("precision", "float32" if "steps" in run.record else None)
    if known is not None and job.precision in ("auto", known):
        return str(known)
    found = precision.choose(job.precision, job.device)
    if known is not None:
        progress.say(
            f"warning: machine.precision: {known} -> {found}; the run goes on, but not bit for bit as it would have"
        )
    run.note(precision=found)
    return found


def _budget(job: Job, run: Run) -> int:
    """The number of steps. What `minutes` became is kept in the run's record, so that a resumed run does the same steps."""
    settings = job.settings
    if "steps" in run.record:
        return int(run.record["steps"])
    sizes = lengths(job.train)
    per_epoch = job.steps_per_epoch
    if settings.steps is not None:
        steps = settings.steps
    elif settings.tokens is not None:
        steps = round(settings.tokens / (int(sizes.sum()) / per_epoch))
    elif settings.minutes is not None:
        steps = steps_within(job, 60 * settings.minutes)
    else:
        assert settings.epochs is not None  # noqa: S101 (the settings' validator)
        steps = round(settings.epochs * per_epoch)
    steps = max(0 if settings.steps == 0 else 1, steps)
    run.note(steps=steps)
    return steps


def steps_within(job: Job, seconds: float) -> int:
    """How many steps, with their evaluations, fit into `seconds` on this machine. Leaves weights and random state as they were: the
    steps that are timed are real ones, at a learning rate of 0."""
    model = job.checkpoint.model.to(job.device)
    random = torch.get_rng_state()
    limit = min(_PROBE_SECONDS, 0.1 * seconds)
    plan = loop.Plan(1 << 30, lambda step: 0.0, job.device, accumulate=job.settings.accumulate, skip=True)
    per_token: list[float] = []
    began = warm = mark = time.monotonic()
    backward = job.backward(precision.choose(job.precision, job.device))
    for step in loop.steps(model, job.task, job.batches(Cursor()), job.optimiser(), plan, backward):
        now = time.monotonic()
        if step.number == 1:  # it warms up
            warm = now
        else:
            per_token.append((now - mark) / step.tokens)
        mark = now
        if step.number > 3 and now - warm > limit:
            break
    for parameter in model.parameters():
        parameter.grad = None
    evaluations = _scoring(job) * job.settings.evaluations
    torch.set_rng_state(random)
    pace = statistics.median(per_token)  # an interruption is no measure
    mean = int(lengths(job.train).sum()) / job.batches_per_epoch
    left = 0.97 * seconds - evaluations - (time.monotonic() - began)
    return max(1, int(left / (pace * mean * job.settings.accumulate)))


def _scoring(job: Job) -> float:
    """The seconds that one evaluation will take, by that of about a batch of its rows."""
    if not job.dev:
        return 0.0
    read = lengths(job.dev).cumsum()
    few = 1 + int(np.searchsorted(read[:-1], job.settings.batch_tokens))
    began = time.monotonic()
    evaluation.answers(job.checkpoint.model, job.task, job.dev[:few], device=job.device)
    scored = time.monotonic()
    if job.write:
        job.write()
    return float(read[-1] / read[few - 1]) * (scored - began) + time.monotonic() - scored


def _log(tracker: track.Tracker, step: loop.Step, state: Progress) -> None:
    values = {
        "loss": sum(state.losses) / len(state.losses),
        "lr": step.lr,
        "norm": step.norm,
        "epoch": step.cursor.epoch,
    }
    tracker.write("train", step.number, values | {"tokens_per_second": round(state.tokens / max(1e-9, state.seconds))})


def _evaluate(work: _Work) -> bool:
    """Score the dev rows, and let the model write where it can. Answers whether the weights are the best so far."""
    job, state = work.job, work.state
    with work.average.applied() if work.average else nullcontext():
        scores: Scores = evaluation.evaluate(job.checkpoint.model, job.task, job.dev, device=job.device)
        texts = job.write() if job.write else []
    work.tracker.write("dev", state.step, {name: v for name, v in scores.items() if isinstance(v, (int, float))})
    progress.say(f"step {state.step:,} of {work.budget:,}: held-out {report.followed(scores)}")
    for text in texts:
        progress.say(f"    {text['prompt']}|{text['text']}".replace("\n", "\n    "))
    if texts:
        work.tracker.write("samples", state.step, {"texts": texts})
    if better(job.best, scores, state.best):
        work.state = replace(state, best=scores, best_step=state.step, worse=0)
        return True
    worse = state.worse + 1
    patience = job.settings.patience
    work.state = replace(state, worse=worse, finished=patience is not None and worse >= patience)
    return False


def _best_note(job: Job, state: Progress) -> str:
    name = job.best.removeprefix("-")
    return f", best dev {name} {state.best[name]:.4f}" if state.best else ""


def _save(work: _Work) -> None:
    """Begin to save a checkpoint that any later process can go on from; its log is safe before it."""
    work.tracker.settle()
    work.saver.save(work.state.step, partial(_snapshot, work))


def _snapshot(work: _Work) -> saving.Contents:
    with work.average.applied() if work.average else nullcontext():
        model = saving.copied(checkpoint.contents(work.job.checkpoint))
    training = resume.contents(work.job.checkpoint.model, work.optimiser, work.state, work.average)
    return model | saving.copied(training)
