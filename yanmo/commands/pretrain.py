"""`yanmo pretrain FILE... run=runs/mine`: a model from text, from scratch or continued."""

from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from yanmo import checkpoint, files, fit, machine, runs, saving, settings
from yanmo.errors import DataError, SettingsError
from yanmo.models import ModelSettings
from yanmo.progress import bar, say
from yanmo.settings import Block, Words
from yanmo.tasks import OBJECTIVES, make, one_of
from yanmo.tasks.objectives.masked import Settings as Masked
from yanmo.text import sources
from yanmo.text.clean import language
from yanmo.text.split import position
from yanmo.text.tokenizer import TokenizerSettings
from yanmo.train import settings as training


class Texts(Block):
    train: Path | list[Path] | None = Field(None, description="text files, one document a line")
    dev: Path | None = Field(None, description="held-out text; null: a fiftieth of train, by hash")


class Train(training.Train):
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    evaluations: int = Field(8, ge=1, description="how often the held-out text is scored")


class Settings(runs.Common):
    run: Path = Field(Path("runs/pretrained"), description="the run folder")
    model: ModelSettings = Field(default_factory=ModelSettings)
    tokenizer: TokenizerSettings = Field(default_factory=TokenizerSettings)
    data: Texts = Field(default_factory=Texts)
    objective: one_of(OBJECTIVES) = Field(default_factory=Masked)  # type: ignore[valid-type]
    train: Train = Field(default_factory=Train)


def pretrain(settings_file: str | Path | None = None, **keys: Any) -> dict[str, Any]:
    """Pre-train a model; the keys are those of `yanmo pretrain --print-settings`. Returns what metrics.json holds."""
    return command(Words(settings.from_arguments(Settings, settings_file, keys)))


def command(words: Words[Settings]) -> dict[str, Any]:
    asked = words.settings
    for path in words.paths:
        if path.is_dir():
            asked.model.base = str(path)
    if given := [path for path in words.paths if not path.is_dir()]:
        asked.data.train = given
    if asked.data.train is None:
        raise SettingsError(
            "data.train: no text to pre-train on. Give files: yanmo pretrain text.txt, or data.train=text.txt"
        )
    with runs.hold(asked) as run:
        if run.finished:
            return runs.already(run, asked.train.save.every)
        saving.enough_room(run, checkpoint.expected(asked.model, asked.tokenizer), asked.train)
        device = machine.prepare(asked.machine)
        train, dev, inputs = _read(asked.data)
        torch.manual_seed(asked.seed)
        with bar("tokeniser and model"):
            longest = asked.objective.max_length
            opened = checkpoint.start(
                asked.model,
                asked.tokenizer,
                "masked",
                folder=run.folder,
                resuming=run.resuming,
                texts=train,
                longest=longest,
            )
            task = make(asked.objective, opened.tokenizer)
            rows = opened.tokenizer.chunks(train, longest, "train")
            held_out = opened.tokenizer.chunks(dev, longest, "dev")
        run.begin(inputs, opened.tokenizer)
        job = fit.Job(
            "pre-training",
            opened,
            task,
            rows,
            held_out,
            asked.train,
            asked.seed,
            device,
            language(train),
            asked.machine.workers,
        )
        metrics = fit.conclude(job, run, fit.fit(job, run))
    score = metrics["dev"]
    said = f"held-out loss {score['loss']:.3f}, {score['accuracy']:.1%} of masked tokens guessed"
    say(f"{asked.run}: {said}, {metrics['cost']['seconds']:.0f} s")
    return metrics


def _read(data: Texts) -> tuple[list[str], list[str], dict[str, str]]:
    """Training texts, held-out texts, and the hash of each file."""
    paths = data.train if isinstance(data.train, list) else [data.train] if data.train else []
    sources.present([*paths, *([data.dev] if data.dev else [])])
    with bar("reading"):
        train = [text for path in paths for text in sources.read_texts(path)]
        inputs = {str(path): files.sha256(path) for path in [*paths, *([data.dev] if data.dev else [])]}
        if data.dev:
            return train, sources.read_texts(data.dev), inputs
        positions = [position(sources.Example((text,))) for text in train]
        dev = [text for text, place in zip(train, positions, strict=True) if place < 0.02]
        train = [text for text, place in zip(train, positions, strict=True) if place >= 0.02]
    if not dev or not train:
        raise DataError(f"{paths[0]}: too few texts to hold some out; give data.dev=FILE or more text")
    return train, dev, inputs
