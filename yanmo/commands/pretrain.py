"""`yanmo pretrain FILE... run=runs/mine`: a model from text or from token shards, from scratch or continued."""

from pathlib import Path
from typing import Any

import torch
from pydantic import Field, model_validator

from yanmo import beginning, checkpoint, fit, hub, machine, models, runs, saving, settings
from yanmo.engine import samples
from yanmo.engine.samples import Samples
from yanmo.errors import ModelError, SettingsError, YanmoError
from yanmo.job import Job
from yanmo.models import ModelSettings
from yanmo.models.base import Family
from yanmo.progress import bar, say
from yanmo.settings import Block, Words, one_of
from yanmo.tasks import OBJECTIVES, admit, make
from yanmo.text import corpus
from yanmo.text.tokenizer import TokenizerSettings
from yanmo.train import settings as training


class Train(training.Train):
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    evaluations: int = Field(8, ge=1, description="how often the held-out text is scored")


class Settings(runs.Common):
    run: Path = Field(Path("runs/pretrained"), description="the run folder")
    model: ModelSettings = Field(default_factory=ModelSettings)
    tokenizer: TokenizerSettings = Field(default_factory=TokenizerSettings)
    data: corpus.Texts = Field(default_factory=corpus.Texts)
    objective: one_of(OBJECTIVES) | None = Field(  # type: ignore[valid-type]
        None, description=f"what to learn from the text: {', '.join(OBJECTIVES)}; null: the family's own"
    )
    train: Train = Field(default_factory=Train)
    samples: Samples = Field(default_factory=Samples, description="what the model writes while it learns, if it can")

    @model_validator(mode="before")
    @classmethod
    def _name_objective(cls, content: dict[str, Any]) -> dict[str, Any]:
        """An objective's keys without its name are those of the family's own."""
        given, model = content.get("objective"), content.get("model")
        if not isinstance(given, dict) or "name" in given or not isinstance(model, dict) or _is_far(model.get("base")):
            return content
        try:
            own = admit(_family(model.get("base"), model.get("family")), None)
        except YanmoError:  # told when the run begins
            return content
        return {**content, "objective": {"name": own, **given}}


def pretrain(settings_file: str | Path | None = None, **keys: Any) -> dict[str, Any]:
    """Pre-train a model; the keys are those of `yanmo pretrain --print-settings`. Returns what metrics.json holds."""
    return command(Words(settings.from_arguments(Settings, settings_file, keys)))


def command(words: Words[Settings]) -> dict[str, Any]:
    asked = words.settings
    models = [
        path
        for path in words.paths
        if (path / checkpoint.CONFIG).is_file() or (hub.is_model(path) and not path.is_dir())
    ]
    if models:
        asked.model.base = str(models[-1])
    if given := [path for path in words.paths if path not in models]:
        asked.data.train = given
    if not asked.data.train:
        raise SettingsError(
            "data.train: no text to pre-train on. Give files: yanmo pretrain text.txt, or data.train=text.txt"
        )
    asked.objective = _objective(asked)
    with runs.hold(asked) as run:
        if run.finished:
            return runs.already(run, asked.train.save.every)
        asked = asked.model_copy(update={"model": run.pinned(asked.model)})
        cutter = corpus.cutter(asked.data, asked.tokenizer)
        saving.enough_room(run, beginning.expected(asked.model, cutter), asked.train)
        device = machine.prepare(asked.machine)
        with bar("reading"):
            text = corpus.read(asked.data)
        job = prepare(asked, text, cutter, run.folder, resuming=run.resuming, device=device)
        run.begin(text.inputs, job.checkpoint.tokenizer, job.checkpoint.origin)
        metrics = fit.conclude(job, run, fit.fit(job, run))
    score = metrics["dev"]
    said = f"held-out loss {score['loss']:.3f}, {score['accuracy']:.1%} guessed"
    say(f"{asked.run}: {said}, {metrics['cost']['seconds']:.0f} s")
    return metrics


def _is_far(base: str | list[str] | None) -> bool:
    """Whether a base is to be fetched."""
    return not all(map(hub.is_here, models.bases(base)))


def _family(base: str | list[str] | None, family: str | None) -> Family:
    if base and family is None:
        return models.find(checkpoint.source(models.bases(base)[0]).content["model_type"])
    try:
        return models.find(family or models.FAMILY)
    except ModelError as error:
        raise SettingsError(f"model.family: {error}") from None


def _begun(asked: Settings) -> str | None:
    """What a run learns by that goes on from a base on a hub: its settings say it, since the commit that it began with is fetched once
    the run is held."""
    path = asked.run / runs.SETTINGS
    if asked.force or not _is_far(asked.model.base) or not path.is_file():
        return None
    saved = settings.read_file(path)[0].get("objective")
    name = saved.get("name") if isinstance(saved, dict) else None
    return name if name in OBJECTIVES else None


def _objective(asked: Settings) -> Any:
    """The settings of the objective: the family's own where none is named. Raises SettingsError where the two do not go together."""
    given: Block | None = asked.objective
    keys = {} if given is None else given.model_dump(exclude_unset=True)
    name = keys.pop("name", None)
    begun = _begun(asked)
    name = (name or begun) if begun else admit(_family(asked.model.base, asked.model.family), name)
    schema: Any = OBJECTIVES[name][0]
    return settings.build(schema, {"name": name, **keys}, {key: f"objective.{key}=" for key in keys})


def prepare(
    asked: Settings,
    text: corpus.Corpus,
    cutter: TokenizerSettings,
    folder: Path,
    *,
    resuming: bool,
    device: torch.device,
) -> Job:
    """The model, the objective and the tokenised rows of a run in `folder`, ready to be fitted."""
    torch.manual_seed(asked.seed)
    objective = _objective(asked)
    kind = OBJECTIVES[objective.name][1]
    with bar("tokeniser and model"):
        opened = beginning.start(
            asked.model,
            cutter,
            kind.head,
            folder=folder,
            resuming=resuming,
            texts=text.texts,
            longest=objective.max_length,
            documents=text.documents,
            more=kind.tokens,
        )
        task: Any = make(objective, opened.tokenizer)
        rows, held_out = text.rows(opened.tokenizer, task.row_length, task.unbroken)
    return Job(
        "pre-training",
        opened,
        task,
        rows,
        held_out,
        asked.train,
        asked.seed,
        device,
        text.language,
        asked.machine.workers,
        asked.machine.precision,
        samples.writer(asked.samples, opened, device),
    )
