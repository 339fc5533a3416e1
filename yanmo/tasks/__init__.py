"""Tasks: batch + model -> loss, answers, scores. One file each; a new one adds a line to a table below."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union

from pydantic import Field, ValidationError

from yanmo.errors import ModelError
from yanmo.tasks import classify
from yanmo.tasks.base import Task
from yanmo.tasks.objectives import masked
from yanmo.text.tokenizer import Tokenizer

# name -> (settings, the task made of settings, tokeniser and labels)
OBJECTIVES = {"masked": (masked.Settings, lambda settings, tokenizer, labels: masked.Masked(settings, tokenizer))}
TASKS = {"classify": (classify.Settings, classify.Classify)}


def one_of(table: Mapping[str, Any]) -> Any:
    """The type of a settings field that may be any row of a table, chosen by its `name`."""
    variants = tuple(settings for settings, _ in table.values())
    return Annotated[Union[variants], Field(discriminator="name")] if len(variants) > 1 else variants[0]  # noqa: UP007 (made at run time)


def make(settings: Any, tokenizer: Tokenizer, labels: Sequence[str] = ()) -> Task:
    """The task that `settings` describe."""
    _, build = (OBJECTIVES | TASKS)[settings.name]
    task: Task = build(settings, tokenizer, labels)
    return task


def restore(record: Mapping[str, Any], tokenizer: Tokenizer, labels: Sequence[str] = ()) -> Task:
    """The task that a run folder's record describes."""
    table = OBJECTIVES | TASKS
    name = str(record.get("name"))
    if name not in table:
        raise ModelError(
            f"the folder was made for the task '{name}', which this version does not know; known: {', '.join(table)}"
        )
    try:
        settings = table[name][0].model_validate(dict(record))
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
        raise ModelError(f"yanmo.json: the task's {keys} can't be used; was the file edited?") from None
    return make(settings, tokenizer, labels)
