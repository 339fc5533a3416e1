"""Names -> directories. A name is a folder on this machine; hubs come later, through this door."""

from pathlib import Path

from yanmo.errors import ModelError


def resolve(name: str | Path) -> Path:
    """The folder of a model. Raises ModelError when there is none."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise ModelError(
            f"{folder}: no such folder. Expected a run folder or a Hugging Face folder with config.json and model.safetensors."
        )
    return folder
