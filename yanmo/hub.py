"""Names -> directories. A name is a folder on this machine (or a GGUF file); hubs come later, through this door."""

from pathlib import Path

from yanmo.errors import ModelError
from yanmo.models import gguf


def resolve(name: str | Path) -> Path:
    """The folder of a model, or its GGUF file (which may be all that a folder holds). Raises ModelError when there is none."""
    path = Path(name).expanduser()
    if (file := gguf.find(path)) is not None:
        return file
    if path.is_dir():
        return path
    raise ModelError(
        f"{path}: no such folder. Expected a run folder, a Hugging Face folder with config.json and model.safetensors, or a .gguf file."
    )
