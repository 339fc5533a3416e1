"""Training checkpoints: written whole, in the background and from a copy, and removed when nothing needs them any more.

A run waits for the copy only. What stands on the disk at any moment is a set of whole checkpoints, each beside those that it refers
to, and at most one that is being written; a disk that fails is heard of at the next step.
"""

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from yanmo import checkpoint, files
from yanmo.errors import StorageError
from yanmo.runs import Run
from yanmo.train import optim
from yanmo.train.settings import Save, Train

Contents = Mapping[str, str | dict[str, Tensor]]


def copied(contents: Contents) -> dict[str, str | dict[str, Tensor]]:
    """The contents, free of the tensors that training goes on to change."""
    return {name: part if isinstance(part, str) else _copied(part) for name, part in contents.items()}


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies in one block of fresh memory. numpy asks the kernel for it in large pages, without which the page faults of a copy take ten
    times as long as the copy."""
    sizes = [-(-tensor.nbytes // _ALIGNED) * _ALIGNED for tensor in tensors.values()]
    block = torch.from_numpy(np.empty(sum(sizes), np.uint8))
    found = {}
    for (name, tensor), part in zip(tensors.items(), torch.split(block, sizes), strict=True):
        found[name] = part[: tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor.detach())
    return found


_ALIGNED = 64  # bytes


class Saver:
    """Writes one checkpoint at a time. Leave its block to be sure that the last one is on the disk."""

    def __init__(self, run: Run, settings: Save) -> None:
        self.run, self.settings = run, settings
        self.saved = time.monotonic()
        self.cost = 0.0  # seconds of work that the last save took from the run
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait()
        elif self.thread is not None:  # whoever stops at once does not wait for a disk: half a checkpoint harms nobody
            with suppress(RuntimeError):  # it was just being started
                self.thread.join(timeout=1.0)

    def due(self, step: int) -> bool:
        """Whether a checkpoint of this step is wanted. Raises what the disk said to the last one."""
        if self.error is not None:
            self.wait()
        minutes, every = self.settings.minutes, self.settings.every
        interval = max(_SECONDS, self.cost / _SHARE) if minutes is None else 60 * minutes
        return time.monotonic() - self.saved > interval or (every is not None and step % every == 0)

    def save(self, step: int, snapshot: Callable[[], Contents]) -> None:
        """Begin to write what `snapshot` gives, which must be a copy."""
        self.wait()
        self.saved = time.monotonic()
        contents = snapshot()
        waited = time.monotonic() - self.saved
        self.thread = threading.Thread(
            target=self._write, args=(step, contents, waited), name="yanmo-save", daemon=True
        )
        self.thread.start()

    def wait(self) -> None:
        """Until the last checkpoint is on the disk. Raises StorageError when it could not be written."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def _write(self, step: int, contents: Contents, waited: float) -> None:
        began = time.thread_time()
        try:
            files.write_folder(self.run.place(step), checkpoint.writable(contents))
            self.run.retire(self.settings.keep, self.settings.every)
        except BaseException as error:
            self.error = error
        self.cost = waited + time.thread_time() - began


_SECONDS, _SHARE = 120.0, 0.005  # between saves, and of a run that they may take, where the settings leave both open


def enough_room(run: Run, parameters: int, settings: Train) -> None:
    """Raise StorageError when the disk has no room for two checkpoints of a model of so many parameters."""
    numbers = 1 + optim.STATES[settings.optimiser] + bool(settings.average)  # that a checkpoint holds of a parameter
    needed = 2 * 4 * parameters * numbers
    there = sum(file.stat().st_size for folder in run.checkpoints() for file in folder.iterdir())
    free = shutil.disk_usage(run.folder).free
    if needed > free + there:
        raise StorageError(
            f"{run.folder}: two checkpoints of this model take about {needed / 1e6:,.1f} MB, but the disk has only "
            f"{free / 1e6:,.1f} MB left. Free some space, choose another folder (run=...) or a smaller model."
        )
