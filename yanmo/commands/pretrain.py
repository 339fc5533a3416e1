"""`yanmo pretrain FILE... run=runs/mine`: a model from text or from token shards, from scratch or continued."""

from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from yanmo import beginning, checkpoint, fit, machine, runs, saving, settings
from yanmo.errors import SettingsError
from yanmo.models import ModelSettings
from yanmo.progress import bar, say
from yanmo.settings import Words
from yanmo.tasks import OBJECTIVES, make, one_of
from yanmo.tasks.objectives.masked import Settings as Masked
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
    objective: one_of(OBJECTIVES) = Field(default_factory=Masked)  # type: ignore[valid-type]
    train: Train = Field(default_factory=Train)


def pretrain(settings_file: str | Path | None = None, **keys: Any) -> dict[str, Any]:
    """Pre-train a model; the keys are those of `yanmo pretrain --print-settings`. Returns what metrics.json holds."""
    return command(Words(settings.from_arguments(Settings, settings_file, keys)))


def command(words: Words[Settings]) -> dict[str, Any]:
    asked = words.settings
    models = [path for path in words.paths if (path / checkpoint.CONFIG).is_file()]
    if models:
        asked.model.base = str(models[-1])
    if given := [path for path in words.paths if path not in models]:
        asked.data.train = given
    if not asked.data.train:
        raise SettingsError(
            "data.train: no text to pre-train on. Give files: yanmo pretrain text.txt, or data.train=text.txt"
        )
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
    said = f"held-out loss {score['loss']:.3f}, {score['accuracy']:.1%} of masked tokens guessed"
    say(f"{asked.run}: {said}, {metrics['cost']['seconds']:.0f} s")
    return metrics


def prepare(
    asked: Settings,
    text: corpus.Corpus,
    cutter: TokenizerSettings,
    folder: Path,
    *,
    resuming: bool,
    device: torch.device,
) -> fit.Job:
    """The model, the objective and the tokenised rows of a run in `folder`, ready to be fitted."""
    torch.manual_seed(asked.seed)
    with bar("tokeniser and model"):
        longest = asked.objective.max_length
        opened = beginning.start(
            asked.model,
            cutter,
            "masked",
            folder=folder,
            resuming=resuming,
            texts=text.texts,
            longest=longest,
            documents=text.documents,
        )
        task = make(asked.objective, opened.tokenizer)
        rows, held_out = text.rows(opened.tokenizer, longest)
    return fit.Job(
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
    )
