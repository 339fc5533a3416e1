"""The run folder: who holds it, what was asked for, what stands in it.

A run folder is a Hugging Face folder with `settings.yaml` (as asked), `metrics.json`, `metrics.jsonl`, `report.html` and, until all of
that is written, `checkpoints/`. The manifest of the model's files is written last: a run that has it is finished.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo import checkpoint, files, hub
from yanmo.checkpoint import Origin
from yanmo.errors import RunError, SettingsError, StorageError
from yanmo.machine import Machine, fingerprint
from yanmo.models import ModelSettings, bases, weights
from yanmo.progress import say
from yanmo.settings import Block, build, differences, dump, parse_yaml, read_file
from yanmo.tasks import sentence
from yanmo.text.tokenizer import Tokenizer
from yanmo.train import resume, track

SETTINGS, METRICS, REPORT, CARD, CHECKPOINTS = (
    "settings.yaml",
    "metrics.json",
    "report.html",
    "README.md",
    "checkpoints",
)
# What a run leaves, in the order in which it goes: a folder without a manifest is no finished run, one without a config nobody's model.
_LEFT_BY_A_RUN = (
    *(
        files.MANIFEST,
        METRICS,
        checkpoint.CONFIG,
        SETTINGS,
        CHECKPOINTS,
        weights.FILE,
        checkpoint.HEADS,
        checkpoint.RECORD,
        REPORT,
        CARD,
    ),
    *(track.FILE, "events", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    *sentence.FILES,
)


class Common(Block):
    """The keys that every verb with a run folder has."""

    run: Path = Field(Path("runs/run"), description="the run folder")
    force: bool = Field(False, description="true: start an existing run folder anew")
    seed: int = Field(0, ge=0, description="of all randomness")
    machine: Machine = Field(default_factory=Machine, description="what to run on")


def is_finished(folder: Path) -> bool:
    """A run's folder whose last file was written."""
    return all((folder / name).is_file() for name in (SETTINGS, METRICS, files.MANIFEST))


def clear(folder: Path) -> None:
    """Remove what a run leaves, and nothing else that stands in the folder."""
    if (folder / SETTINGS).is_file():
        for name in _LEFT_BY_A_RUN:
            if (folder / name).exists():
                files.remove(folder / name)


def paths(given: Sequence[Path]) -> tuple[Path | None, Path | None]:
    """A command's paths -> (the folder, or the name of a model of the package; the file). Raises SettingsError for two of a kind."""
    folders = [path for path in given if hub.is_model(path)]
    found = [path for path in given if path not in folders]
    for kind in (folders, found):
        if len(kind) > 1:
            raise SettingsError(
                f"'{kind[1]}': one {'folder' if kind is folders else 'file'} is enough ('{kind[0]}' is given already); "
                f"other files are given by their keys, such as data.test={kind[1]}"
            )
    return folders[0] if folders else None, found[0] if found else None


@dataclass
class Run:
    """A run folder that this process holds."""

    folder: Path
    settings: Common
    resuming: bool  # it stood there before, with the same settings
    anew: bool = False  # an old run stands there and goes when the new one begins

    @property
    def finished(self) -> bool:
        return self.resuming and is_finished(self.folder)

    @property
    def record(self) -> dict[str, Any]:
        return {} if self.anew else checkpoint.read_record(self.folder)

    def pinned(self, model: ModelSettings) -> ModelSettings:
        """The settings with the base of a run that goes on at the commit with which it began."""
        origin = self.record.get("base") if self.resuming else None
        if model.base is None or not isinstance(origin, (dict, list)):
            return model
        pinned = [*map(hub.pinned, bases(model.base), [origin] if isinstance(origin, dict) else origin)]
        return model.model_copy(update={"base": pinned if isinstance(model.base, list) else pinned[0]})

    def begin(self, inputs: Mapping[str, str], tokenizer: Tokenizer, origin: Origin | None = None) -> None:
        """The inputs are read and sound: the folder is the run's from now on. inputs: file -> sha256 of what the run reads. origin:
        of a base that came from a hub, or of each of several.

        Raises SettingsError when a run that goes on would read other data than it began with."""
        if self.resuming:
            known = self.record.get("inputs", {})
            changed = [name for name, digest in inputs.items() if known.get(name, digest) != digest]
            if other := sorted(inputs.keys() ^ known.keys()) if known else []:
                raise SettingsError(
                    f"{self.folder}: this run began with other files; now {', '.join(other)} came or went. Put the folder as it was "
                    f"to go on, give another run=..., or force=true to start anew."
                )
            if changed:
                raise SettingsError(
                    f"{self.folder}: since this run began, the content of {', '.join(changed)} has changed. Put the old file back "
                    f"to go on, give another run=..., or force=true to start anew."
                )
            self._compare_machines()
            return
        if self.anew:
            clear(self.folder)
            self.anew = False
        base = {"base": origin} if origin else {}
        files.write_json(self.folder / checkpoint.RECORD, {"inputs": dict(inputs), "machine": fingerprint(), **base})
        tokenizer.save(self.folder)
        files.write_file(self.folder / SETTINGS, dump(self.settings))

    def _compare_machines(self) -> None:
        then, now = self.record.get("machine", {}), fingerprint()
        if changed := [f"{key}: {then[key]} -> {now[key]}" for key in now if key in then and then[key] != now[key]]:
            say(
                f"warning: the machine has changed ({'; '.join(changed)}); the run goes on, but not bit for bit as it would have"
            )

    def note(self, **values: Any) -> None:
        """Add values to the run's record."""
        files.write_json(self.folder / checkpoint.RECORD, {**self.record, **values})

    def place(self, step: int) -> Path:
        """Where the checkpoint of a step stands."""
        return self.folder / CHECKPOINTS / f"step-{step:08d}"

    def step_of(self, place: Path) -> int:
        return int(place.name.removeprefix("step-"))

    def checkpoints(self) -> list[Path]:
        """The training checkpoints, newest first."""
        return sorted((self.folder / CHECKPOINTS).glob("step-*[0-9]"), reverse=True)

    def faults(self, path: Path) -> list[str]:
        """What keeps a run from going on from a checkpoint: its own damage, or that of one which it refers to."""
        own = files.verify(path)
        return own or [fault for step in resume.needs(path) for fault in files.verify(self.place(step))]

    def latest(self) -> Path | None:
        """The newest checkpoint that is whole; a damaged one is named and passed over."""
        for path in self.checkpoints():
            faults = self.faults(path)
            if not faults:
                return path
            say(f"warning: {faults[0]}; going back to the checkpoint before it, or to the first step")
        return None

    def forget(self, after: int) -> None:
        """Remove the checkpoints of later steps: the run goes on from an earlier one, and comes by them again."""
        for folder in self.checkpoints():
            if self.step_of(folder) > after:
                files.remove(folder)

    def retire(self, newest: int, every: int | None) -> None:
        """Remove the checkpoints that are neither among the newest, nor to be kept for good (each `every` steps), nor needed by one of
        these. One that can't be removed is named and left."""
        found = self.checkpoints()
        kept = {*found[:newest], *(folder for folder in found if every and self.step_of(folder) % every == 0)}
        for folder in list(kept):
            with suppress(OSError, ValueError, KeyError):  # a damaged one needs nothing
                kept |= {self.place(step) for step in resume.needs(folder)}
        for folder in found:
            if folder not in kept:
                try:
                    files.remove(folder)
                except StorageError as error:
                    say(f"warning: an old checkpoint could not be removed: {error}")

    def clean_up(self, every: int | None) -> None:
        """The run is finished: only the checkpoints that are to be kept for good stay, with what they refer to."""
        self.retire(0, every)
        if (self.folder / CHECKPOINTS).is_dir() and not self.checkpoints():
            files.remove(self.folder / CHECKPOINTS)


@contextmanager
def hold(settings: Common) -> Iterator[Run]:
    """Hold the run folder of `settings` for this process alone. Raises SettingsError when a run with other settings stands there."""
    folder, old = settings.run, settings.run / SETTINGS
    with files.lock(folder):
        files.mend(folder)
        if not old.is_file() and (folder / checkpoint.CONFIG).exists():
            raise RunError(
                f"{folder}: holds a model that is not a run of Yanmo's; nothing is overwritten. Give another run=..."
            )
        begun = {} if settings.force or not old.is_file() else _asked(old, type(settings))
        changed = differences(begun, _plain(settings), ignore=_FREE) if begun else []
        if changed:
            raise SettingsError(
                "\n  ".join([f"{folder}: a run with other settings stands here:", *changed])
                + "\nGive the old settings to go on with it, another run=..., or force=true to start anew (the old run is then deleted)."
            )
        yield Run(
            folder, settings, resuming=old.is_file() and not settings.force, anew=old.is_file() and settings.force
        )


_FREE = ("force", "machine", "run", "samples")  # what may differ when a run goes on


def _asked(path: Path, schema: type[Common]) -> dict[str, Any]:
    """What a run was asked for. A key that its file lacks, since it is younger than the run, stands at its default."""
    content, _ = read_file(path)
    try:
        return _plain(build(schema, content, {}))
    except SettingsError:  # not as this version writes them: told key by key
        return content


def _plain(settings: Common) -> dict[str, Any]:
    """The settings as their own file would give them back."""
    content: dict[str, Any] = parse_yaml(dump(settings), "settings")
    return content


def already(run: Run, every: int | None) -> dict[str, Any]:
    """The scores of a run that is finished. every: as `Run.clean_up`, which a crash may have cut short."""
    run.clean_up(every)
    path = run.folder / METRICS
    try:
        metrics: dict[str, Any] = dict(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise RunError(f"{path}: not a JSON object ({error}); give force=true to start anew") from None
    changed = [
        name for name, digest in run.record.get("inputs", {}).items() if _digest(Path(name)) not in (digest, None)
    ]
    if changed:
        say(f"warning: the content of {', '.join(changed)} has changed since; force=true makes the run anew")
    say(f"{run.folder}: finished already; its scores stand in {path} (force=true starts anew)")
    return metrics


def _digest(path: Path) -> str | None:
    return files.sha256(path) if path.is_file() else None
