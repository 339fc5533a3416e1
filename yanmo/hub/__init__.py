"""Names -> folders; and hubs, where models are kept: the package itself, a folder or a server of one's own, or the public hub.

A name is first a folder on this machine (or a GGUF file), then a model that comes with the package, then `org/name` or `name` on the hub
of HF_ENDPOINT, with `@revision` where one is meant. What is fetched is what a model needs and nothing that could run code; it stands in
Hugging Face's own cache under its commit, config.json last, so that a download which was cut short is no model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from yanmo.errors import MissingExtra, ModelError, SettingsError
from yanmo.hub import embedded
from yanmo.hub.folder import Folder
from yanmo.hub.parcel import CONFIG, MAIN, NEEDED, REVISION, Absent, Found, near, parse
from yanmo.hub.server import Server
from yanmo.models import gguf, weights

__all__ = [
    "MAIN",
    "Folder",
    "Found",
    "Hub",
    "Server",
    "embedded",
    "find",
    "is_here",
    "is_model",
    "open_hub",
    "parse",
    "pinned",
    "resolve",
]


def resolve(name: str | Path) -> Path:
    """The folder of a model, or its GGUF file. Raises ModelError, or MissingExtra."""
    return find(name).folder


def find(name: str | Path) -> Found:
    """A folder of this machine, else a model of the package, else what the hub has under that name, fetched."""
    folder = _folder(name)
    if folder is not None and (file := gguf.find(folder)) is not None:
        return Found(file)
    if folder is not None and folder.is_dir():
        return Found(folder)
    meant = near(folder) or embedded.near(str(name))
    try:
        called, revision = parse(str(name))
    except SettingsError as error:
        raise ModelError(
            f"{name}: no such folder{meant}, and no name on a hub ({error}). "
            f"Expected a run folder, a Hugging Face folder with {CONFIG} and {weights.FILE}, or a .gguf file."
        ) from None
    if (own := embedded.find(called, revision)) is not None:
        return own
    try:
        server = Server()
    except MissingExtra as error:
        raise MissingExtra(f"{name}: no such folder{meant}; a name on a hub {error}") from None
    try:
        return server.fetch(called, revision, NEEDED)
    except Absent as error:
        raise ModelError(
            f"{name}: no such folder{meant}, and {error}. Check the path, or the name; for a private model log in: hf auth login"
        ) from None


def is_model(word: str | Path) -> bool:
    """Whether a word of a command line stands for a model, not for a file: a folder, or the name of a model of the package. (A name on
    another hub has a key: run=org/name.)"""
    folder = _folder(word)
    return folder is not None and (folder.is_dir() or (embedded.named(word) and not folder.exists()))


def is_here(name: str | Path) -> bool:
    """Whether a name is a folder or file of this machine, or a model of the package, so that nothing is fetched for it."""
    folder = _folder(name)
    return (folder is not None and folder.exists()) or embedded.named(name)


def pinned(name: str, origin: Mapping[str, Any]) -> str:
    """The name with the commit that it stood for when `origin` was written down."""
    revision = str(origin.get("revision", ""))
    same = name.partition("@")[0] == origin.get("name") and REVISION.fullmatch(revision)
    return f"{origin['name']}@{revision}" if same else name


def _folder(name: str | Path) -> Path | None:
    """The path that a name may be; None for what no file system would take."""
    try:
        folder = Path(name).expanduser()
        folder.is_dir()
    except (OSError, RuntimeError, ValueError):
        return None
    return folder


class Hub(Protocol):
    """Where models are kept."""

    def list(self, search: str = "") -> list[dict[str, Any]]:
        """The models whose name holds `search`."""

    def push(self, folder: Path, name: str, *, private: bool = True) -> dict[str, Any]:
        """Put a model folder there, in place of an older one: {"name", "revision", "files"}."""

    def pull(self, name: str, revision: str, out: Path) -> dict[str, Any]:
        """Make `out` a copy of a model, whole or not at all: {"name", "revision", "files"}."""


def open_hub(place: str | None) -> Hub:
    """A folder, or the address of a server; None: the hub of HF_ENDPOINT."""
    return (
        Folder(Path(place).expanduser()) if place and not place.startswith(("http://", "https://")) else Server(place)
    )
