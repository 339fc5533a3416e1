"""Several folders -> one Checkpoint: an ensemble, whose members' probabilities are averaged, or a soup, whose weights are.

A soup (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482, section 2) costs one model. Its members were fine-tuned from one model, so
that the mean of their weights is a model too; those of models that have nothing in common is none, and a warning says so.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from yanmo import checkpoint
from yanmo.checkpoint import Checkpoint
from yanmo.errors import ModelError, SettingsError, brief, gather
from yanmo.models import Bases, bases
from yanmo.nn.kernels import quantised
from yanmo.progress import say
from yanmo.settings import Block
from yanmo.tasks import TASKS
from yanmo.tasks.base import OWN, Task
from yanmo.tasks.ensemble import Ensemble, Members

Names = str | Path | Sequence[str | Path]  # of one model, or of several
Join = Literal["probabilities", "weights"]
_STRANGERS = 0.5  # the cosine of weights below which models have not begun as one: of those that have it is near 1
_TRAINING = ("drop", "init")  # what config keys are called that only training reads


class Several(Block):
    """Which models answer, beside the run that most commands are about."""

    base: Bases = Field(None, description="several runs that answer as one, in place of a run folder")
    join: Join = Field(
        "probabilities",
        description="what is averaged of several: the probabilities of their answers, or their weights (one model's cost)",
    )


def chosen(run: Path | None, asked: Several) -> str | list[str] | None:
    """What to open: a run, or several. Raises SettingsError where both are given."""
    if run is not None and asked.base is not None:
        raise SettingsError(
            f"model.base: {', '.join(bases(asked.base))} and the run {run} are given; leave one of them out"
        )
    return asked.base if run is None else str(run)


def load(names: Names, join: Join = "probabilities") -> Checkpoint:
    """Open one folder, or several joined to one. Raises ModelError, which lists everything in which they do not fit together."""
    found = [names] if isinstance(names, (str, Path)) else list(names)
    if len(found) == 1:
        return checkpoint.load(found[0])
    if not found:
        raise ModelError("expected the name of a model, or of several")
    return soup(found) if join == "weights" else _ensemble(found)


# ---- probabilities


def _ensemble(names: Sequence[str | Path]) -> Checkpoint:
    members = [checkpoint.load(name) for name in names]
    tasks = [member.task for member in members if member.task is not None]
    gather(
        [f"{name}: made for no task" for name, member in zip(names, members, strict=True) if member.task is None],
        "only models that answer can be joined; fine-tune them first:",
        ModelError,
    )
    first = tasks[0]
    if type(first).join is Task.join:
        able = ", ".join(name for name, (_, kind) in TASKS.items() if kind.join is not Task.join)
        raise ModelError(
            f"{names[0]}: answers of the task '{first.name}' can't be averaged; those of these can: {able}"
        )
    faults = [
        f"{name}: {fault}"
        for name, task in zip(names[1:], tasks[1:], strict=True)
        for fault in _other_answers(task, first)
    ]
    gather(faults, f"their answers are not of one kind, so they can't be averaged (against {names[0]}):", ModelError)
    joined: Any = Ensemble(tasks)
    return Checkpoint(
        Members([member.model for member in members], members[0].config),
        members[0].family,
        members[0].head,
        members[0].tokenizer,
        joined,
        record=_records([member.record for member in members]),
    )


def _other_answers(task: Task, first: Task) -> list[str]:
    if task.name != first.name:
        return [f"made for the task '{task.name}', not '{first.name}'"]
    if task.problem != first.problem:
        return [f"its answers are of the kind {task.problem}, not {first.problem}"]
    added, lacking = ({*a.labels} - {*b.labels} for a, b in ((task, first), (first, task)))
    told = (("has labels of its own", added), ("lacks the labels", lacking))
    return [f"{what}: {_listed(sorted(labels))}" for what, labels in told if labels]


def _records(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Which columns the first one learnt, and from which files any of them did; nothing of files where one does not say."""
    parts = [record.get("parts") or {} for record in records]
    return {
        "columns": records[0].get("columns"),
        "inputs": {name: digest for record in records for name, digest in record.get("inputs", {}).items()},
        "parts": {
            part: [*dict.fromkeys(name for each in parts for name in each.get(part, ()))] for part in ("train", "dev")
        }
        if all(parts)
        else {},
    }


# ---- weights


def soup(names: Sequence[str | Path], **how: Any) -> Checkpoint:
    """One model whose weights are the mean of those of folders of one architecture, tokeniser, task and list of labels. how: as
    `checkpoint.load` takes it; what is new to all of them begins as in the first one. One folder alone is that folder. Raises ModelError,
    which lists everything in which a folder differs from the first."""
    first = checkpoint.load(names[0], **how)
    if len(names) == 1:
        return first
    total, told, faults = _tensors(first), [first.record], []
    origins: list[Any] = [first.origin]
    for name in names[1:]:
        member = checkpoint.load(name, **how)
        told.append(member.record)
        origins.append(member.origin)
        faults += [f"{name}: {fault}" for fault in _unlike(member, first)]
        if not faults:
            _add(total, _tensors(member), f"{name} and {names[0]}")
        del member  # before the next one is opened
    gather(
        faults, f"these models are not alike, so their weights can't be averaged (against {names[0]}):", ModelError, 12
    )
    with torch.no_grad():
        for tensor in total.values():
            if tensor.is_floating_point():
                tensor /= len(names)
    if first.task is not None and (own := first.task.tensors()):
        first.task.take({name: total[f"{OWN}.{name}"] for name in own})
    first.record |= _records(told)
    first.origin = origins if any(origins) else []
    return first


def _tensors(opened: Checkpoint) -> dict[str, Tensor]:
    """What a model and its task have, each tensor once, but for what is new to the folder."""
    own = {} if opened.task is None else opened.task.tensors()
    held = {
        **dict(opened.model.named_parameters()),
        **dict(opened.model.named_buffers()),
        **{f"{OWN}.{name}": tensor for name, tensor in own.items()},
    }
    return {name: tensor for name, tensor in held.items() if name not in opened.fresh}


@torch.no_grad()
def _add(total: dict[str, Tensor], tensors: Mapping[str, Tensor], named: str) -> None:
    """Add a member to the sum, in place; warn of one whose weights point another way."""
    pairs = [(total[name], tensor) for name, tensor in tensors.items() if tensor.is_floating_point()]
    flat = [(a.flatten(), b.flatten()) for a, b in pairs if a.dim() > 1]  # norms and biases are alike in all models
    near, ours, theirs = (
        sum(float(a @ b) for a, b in each) for each in (flat, [(a, a) for a, _ in flat], [(b, b) for _, b in flat])
    )
    if near < _STRANGERS * math.sqrt(ours * theirs):
        say(
            f"warning: the weights of {named} have little in common, so their mean may be no good model; average the weights of models "
            "that were fine-tuned from one"
        )
    for a, b in pairs:
        a += b


def _unlike(member: Checkpoint, first: Checkpoint) -> list[str]:
    """Everything in which a model differs from the first one that forbids a mean of their weights."""
    if member.family != first.family:
        return [f"a '{member.family.model_type}', not a '{first.family.model_type}'"]
    faults = []
    if any(quantised.describe(opened.model) for opened in (member, first)):
        faults.append("int8 layers, which can't be averaged; give the folders that they were made of")
    if (labels := [*member.config.id2label.values()]) != (wanted := [*first.config.id2label.values()]):
        faults.append(f"its labels are {_listed(labels)}, not {_listed(wanted)} in this order")
    faults += _other_task(member.task, first.task)
    if member.tokenizer.inner.get_vocab() != first.tokenizer.inner.get_vocab():
        faults.append("another tokeniser")
    theirs, ours = member.config.content(), first.config.content()
    faults += [
        f"config key {key} is {brief(theirs[key])}, not {brief(value)}"
        for key, value in ours.items()
        if theirs[key] != value and not any(part in key for part in _TRAINING)
    ]
    theirs, ours = _tensors(member), _tensors(first)
    faults += [f"lacks {name}" for name in ours if name not in theirs]
    faults += [f"has {name}" for name in theirs if name not in ours]
    return faults + [
        fault for name in ours if name in theirs if (fault := _unlike_tensor(name, theirs[name], ours[name]))
    ]


def _unlike_tensor(name: str, theirs: Tensor, ours: Tensor) -> str:
    if theirs.shape != ours.shape:
        return f"{name} is {tuple(theirs.shape)}, not {tuple(ours.shape)}"
    if not ours.is_floating_point() and not torch.equal(theirs, ours):
        return f"{name} holds other numbers, which are no weights"
    return ""


def _other_task(task: Task | None, first: Task | None) -> list[str]:
    names = ["no task" if each is None else f"the task '{each.name}'" for each in (task, first)]
    if task is None or first is None or names[0] != names[1]:
        return [f"made for {names[0]}, not for {names[1]}"] if names[0] != names[1] else []
    theirs, ours = task.record(), first.record()
    return [
        f"task.{key} is {brief(theirs[key])}, not {brief(ours[key])}" for key in first.bound if theirs[key] != ours[key]
    ]


def _listed(labels: Sequence[str]) -> str:
    if not labels:
        return "none"
    return ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
