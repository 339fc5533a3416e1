"""`yanmo init FILE`: looks at a data file (or a folder of train, dev and test files) and writes the settings for it: what the rows are
for, their columns, a size that this machine trains in the asked time. What is written runs as it stands."""

from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo import files, settings
from yanmo.commands import init_plans
from yanmo.commands.init_plans import Plan, Question
from yanmo.errors import SettingsError
from yanmo.machine import Machine
from yanmo.progress import bar, say
from yanmo.settings import Block, Words
from yanmo.text import corpus
from yanmo.text.columns import Columns
from yanmo.text.recognise import recognise


class Model(Block):
    base: str | None = Field(None, description="a model or run folder to start from; null: from scratch")


class Rows(Block):
    columns: Columns = Field(default_factory=Columns, description="which column is what; null: found out")


class Settings(Block):
    out: Path | None = Field(
        None, description="the settings file that is written; null: the file's name with .yaml, here"
    )
    force: bool = Field(False, description="true: write over a file that stands there")
    minutes: float = Field(10.0, gt=0, description="wall minutes that the training may take on this machine")
    model: Model = Field(default_factory=Model)
    data: Rows = Field(default_factory=Rows)
    machine: Machine = Field(default_factory=Machine, description="what to run on")


def init(path: str | Path, settings_file: str | Path | None = None, **keys: Any) -> dict[str, Any]:
    """Write settings for the rows of `path`; the keys are those of `yanmo init --print-settings`. Returns what was found."""
    return command(Words(settings.from_arguments(Settings, settings_file, keys), [Path(path)]))


def command(words: Words[Settings]) -> dict[str, Any]:
    asked = words.settings
    if len(words.paths) != 1:
        raise SettingsError("expected one data file, or one folder of data: yanmo init train.tsv")
    path = words.paths[0]
    given, _ = corpus.parts(corpus.Texts(train=path))
    out = asked.out or Path(f"{path.name.split('.')[0]}.yaml")
    if out.exists() and not asked.force:
        raise SettingsError(f"{out}: stands there already; give another out=..., or force=true to write over it")
    with bar("reading"):
        seen = recognise(given[0], asked.data.columns)
    plan = init_plans.plan(Question(path, given, seen, asked.minutes, asked.model.base, asked.machine))
    files.write_file(out, _head(path, plan) + settings.compose(plan.entries))
    say(f"{path}: {_about(plan)}")
    say(f"{out}: settings that run as they are; next: yanmo {plan.verb} {out}")
    return {"out": str(out), "verb": plan.verb, "kind": seen.kind, "columns": seen.columns.named(), **plan.facts}


def _head(path: Path, plan: Plan) -> str:
    return (
        f"# Written by `yanmo init {path}`: {_about(plan)}\n"
        f"# yanmo {plan.verb} THIS-FILE runs it; yanmo {plan.verb} --print-settings shows every key that there is.\n"
    )


def _about(plan: Plan) -> str:
    facts = plan.facts
    counts = sorted(facts.get("labels", {}).items(), key=lambda item: -item[1])
    labels = (
        f"; {len(counts)} labels: " + ", ".join(f"{label} {count:,}" for label, count in counts[:5]) if counts else ""
    )
    more = ", ..." if len(counts) > 5 else ""
    spoken = {"zh": "Chinese", "en": "English"}[facts["language"]]
    return f"{facts['rows']:,} rows, {facts['encoding'] or facts['format']}, mostly {spoken}{labels}{more}"
