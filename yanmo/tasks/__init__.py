"""Tasks: batch + model -> loss, answers, scores. One file each; a new one adds a line to a table below."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from yanmo.errors import ModelError, SettingsError, brief
from yanmo.models.base import Family
from yanmo.tasks import cloze, embed, multitask, nearest, sentence
from yanmo.tasks.base import Task
from yanmo.tasks.objectives import causal, combined, denoise, masked, permutation, sentences, span
from yanmo.text.tokenizer import Tokenizer

# name -> (settings, what is made of settings and tokeniser)
OBJECTIVES: dict[str, tuple[Any, Any]] = {
    "masked": (masked.Settings, masked.Masked),
    "causal": (causal.Settings, causal.Causal),
    "permutation": (permutation.Settings, permutation.Permutation),
    "denoise": (denoise.Settings, denoise.Denoise),
    "span": (span.Settings, span.Span),
    "next": (sentences.Settings, sentences.NextSentence),
    "order": (sentences.OrderSettings, sentences.SentenceOrder),
    "combined": (combined.Settings, combined.Combined),
}
# name -> (settings, what is made of settings, tokeniser and labels)
TASKS: dict[str, tuple[Any, Any]] = {
    **multitask.JOINED,
    "cloze": (cloze.Settings, cloze.Cloze),
    "nearest": (nearest.Settings, nearest.Nearest),
    "multitask": (multitask.Settings, multitask.Multitask),
}
ZERO_SHOT = {name: TASKS[name] for name in ("cloze", "nearest")}  # those that a base answers without training
# The record of the task that a folder of another tool is made for: (kind of its head, config.json's problem_type) -> record.
FOREIGN: dict[tuple[str, str | None], Mapping[str, Any]] = {
    ("classify", None): {"name": "classify"},
    ("classify", "single_label_classification"): {"name": "classify"},
    ("classify", "regression"): {"name": "rate", "levels": []},
    ("classify", "multi_label_classification"): {"name": "classify", "several": True},
    ("tag", None): {"name": "tag"},
    ("span", None): {"name": "answer"},
}
# What a family learns by, its own objective first, where that is not all that its heads admit in the order above.
OWN = {"t5": ("span", "denoise"), "mt5": ("span", "denoise"), "yanmo-autoencoder": ("denoise",)}


def foreign(folder: Path, head: str, problem: str | None, labels: int) -> Mapping[str, Any] | None:
    """The record of the task that a folder of another tool is made for; None where it is for none that is known."""
    if head != "classify" and (folder / sentence.FILE).is_file():
        with suppress(ModelError):  # which `Engine.embed` says
            return embed.recorded(sentence.read(folder))
    if (head, problem, labels) == ("classify", None, 1):  # a CrossEncoder of sentence-transformers
        return {"name": "rerank"}
    return FOREIGN.get((head, problem))


def objectives_of(family: Family) -> list[str]:
    """The names of the objectives that a family admits, its own first."""
    fitting = [name for name, (_, objective) in OBJECTIVES.items() if objective.head in family.heads]
    return list(OWN.get(family.model_type, fitting))


def admit(family: Family, objective: str | None) -> str:
    """The objective's name (None: the family's own). Raises SettingsError, with those that fit, for one that the family does not admit."""
    fitting = objectives_of(family)
    if objective is None and fitting:
        return fitting[0]
    if objective not in fitting:
        asked = "no objective fits" if objective is None else f"objective '{objective}' does not fit"
        fits = f"; fits: {', '.join(fitting)}" if fitting else ": it learns from labels only (yanmo finetune)"
        raise SettingsError(f"objective.name: {asked} '{family.model_type}'{fits}")
    return objective


def make(settings: Any, tokenizer: Tokenizer, labels: Sequence[str] = ()) -> Task:
    """The task that `settings` describe."""
    if settings.name in OBJECTIVES:
        objective: Task = OBJECTIVES[settings.name][1](settings, tokenizer)
        return objective
    task: Task = TASKS[settings.name][1](settings, tokenizer, labels)
    return task


def restore(record: Mapping[str, Any], tokenizer: Tokenizer, labels: Sequence[str] = ()) -> Task:
    """The task that a run folder's record describes."""
    table = OBJECTIVES | TASKS
    name = str(record.get("name"))
    if name not in table:
        raise ModelError(
            f"the folder was made for the task {brief(name)}, which this version does not know; known: {', '.join(table)}"
        )
    try:
        settings = table[name][0].model_validate(dict(record))
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
        raise ModelError(f"yanmo.json: the task's {keys} can't be used; was the file edited?") from None
    return make(settings, tokenizer, labels)
