"""Tracking: `metrics.jsonl` always, TensorBoard events where it is installed."""

import importlib.util
import json
from pathlib import Path
from typing import Any

from yanmo import files

FILE = "metrics.jsonl"


class Tracker:
    """Writes one line per call. A resumed run first drops the lines past the step that it goes on from."""

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / FILE
        if self.path.exists():
            kept = [json.dumps(line, ensure_ascii=False) for line in read(self.path) if line["step"] <= step]
            files.write_file(self.path, "".join(line + "\n" for line in kept))
        self.events = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self.events = SummaryWriter(str(folder / "events"), purge_step=step + 1)

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        files.append_line(self.path, json.dumps({"kind": kind, "step": step, **values}, ensure_ascii=False))
        if self.events is not None:
            for name, value in values.items():
                if isinstance(value, (int, float)):
                    self.events.add_scalar(f"{kind}/{name}", value, step)

    def settle(self) -> None:
        """The lines so far survive a power failure."""
        files.settle(self.path)

    def close(self) -> None:
        if self.events is not None:
            self.events.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; the last may have been cut short by a crash and is then left out."""
    lines = []
    for text in path.read_text("utf-8", errors="replace").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines
