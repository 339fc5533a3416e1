"""Tasks: batch + model -> loss, answers, scores. One file each; a new one adds a line to a table below."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import Discriminator, Tag, ValidationError

from yanmo.errors import ModelError, SettingsError, brief
from yanmo.models.base import Family
from yanmo.tasks import answer, classify, cloze, embed, nearest, rate, relate, rerank, sentence, tag
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
    "classify": (classify.Settings, classify.Classify),
    "rate": (rate.Settings, rate.Rate),
    "relate": (relate.Settings, relate.Relate),
    "tag": (tag.Settings, tag.Tag),
    "answer": (answer.Settings, answer.Answering),
    "embed": (embed.Settings, embed.Embed),
    "rerank": (rerank.Settings, rerank.Rerank),
    "cloze": (cloze.Settings, cloze.Cloze),
    "nearest": (nearest.Settings, nearest.Nearest),
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


def one_of(table: Mapping[str, Any]) -> Any:
    """The type of a settings field that may be any row of a table, chosen by its `name`; without one, the first row."""

    def name(given: Any) -> str:
        said = given.get("name") if isinstance(given, dict) else getattr(given, "name", None)
        return str(said or next(iter(table)))

    variants = tuple(Annotated[settings, Tag(name)] for name, (settings, _) in table.items())
    if len(variants) == 1:
        return table[name({})][0]
    fault = f"no such name; known: {', '.join(table)}"
    chosen = Discriminator(name, custom_error_type="name", custom_error_message=fault)
    return Annotated[Union[variants], chosen]  # noqa: UP007 (made at run time)


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
