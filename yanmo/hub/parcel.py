"""A model as hubs move it: its name, the files that it is made of, and copies of them. No name leads out of a hub's folder, and no file
of a model out of its own."""

import difflib
import fnmatch
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from yanmo import files
from yanmo.errors import ModelError, SettingsError, gather
from yanmo.models import weights

CONFIG, RECORD = "config.json", "yanmo.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95}){0,3}")
_FILE = re.compile(r"([0-9]_Pooling/)?[A-Za-z0-9][A-Za-z0-9._-]*")
MAIN = "main"

# What a model is opened from, and what else tells about it.
_WEIGHTS = (weights.FILE, f"{weights.FILE}.index.json", "model-?????-of-?????.safetensors", "heads.safetensors")
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_TOKENISER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja"),
    *("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"),
)
_VECTORS = (
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "[0-9]_Pooling/config.json",
)
NEEDED = (CONFIG, "generation_config.json", RECORD, *_WEIGHTS, *ADAPTER, *_TOKENISER, *_VECTORS)
CARRIED = (*NEEDED, "README.md", "metrics.json")


@dataclass(frozen=True)
class Found:
    """A model's folder, and where it came from: {"name", "revision", "hub"}, empty for a folder that was given as such."""

    folder: Path
    origin: dict[str, str] = field(default_factory=dict)


class Absent(ModelError):
    """The server was asked, or could not be, and there is no such model."""


def parse(text: str) -> tuple[str, str]:
    """`org/name@revision` -> (name, revision). Raises SettingsError."""
    name, at, revision = text.partition("@")
    if not NAME.fullmatch(name) or (at and not REVISION.fullmatch(revision)):
        raise SettingsError(
            "a name is org/name or name, of letters, digits, '.', '_' and '-', and may end in @revision"
        )
    return name, revision or MAIN


def near(folder: Path | None) -> str:
    """The folder that may be meant, in words."""
    with suppress(OSError, AttributeError, ValueError):
        names = [path.name for path in folder.parent.iterdir() if path.is_dir()]  # type: ignore[union-attr]
        if near := difflib.get_close_matches(folder.name, names, n=1):  # type: ignore[union-attr]
            return f" (did you mean {folder.parent / near[0]}?)"  # type: ignore[union-attr]
    return ""


def chosen(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Those of a model's files that are wanted: weights once, and of folders within only what says how vectors are pooled."""
    found = [name for name in sorted(set(names)) if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)]
    if weights.FILE in found:
        found = [name for name in found if not name.startswith(("model-", f"{weights.FILE}."))]
    return [name for name in found if _FILE.fullmatch(name)]


def pushable(folder: Path) -> list[str]:
    """The files of a model folder that a hub takes. Raises ModelError for one that is damaged or no model."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder{near(folder)}")
    try:
        weights.read_json(folder / CONFIG)
    except FileNotFoundError:
        raise ModelError(
            f"{folder}: no {CONFIG} here, so this is no model (a run has one when it is finished)"
        ) from None
    weights.read_tensors(folder)
    if (folder / files.MANIFEST).is_file():
        gather(files.changed(folder), f"{folder}: not as it was written; see yanmo doctor {folder}", ModelError)
    names = chosen(within(folder), CARRIED)
    out = [str(folder / name) for name in names if not (folder / name).resolve().is_relative_to(folder.resolve())]
    gather(out, f"{folder}: these are links that lead out of it; push a copy (cp -rL):", ModelError)
    return names


def within(folder: Path) -> list[str]:
    """The files of a folder and of those in it, by their names from there."""
    found = [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file()]
    return [path.relative_to(folder).as_posix() for path in found]


def copies(folder: Path, names: Sequence[str]) -> dict[str, Callable[[Path], Any]]:
    return {name: partial(shutil.copyfile, folder / name) for name in names}


def fill(out: Path, folder: Path, names: Sequence[str]) -> None:
    check_room(out)
    files.write_folder(out, copies(folder, names))


def check_room(out: Path) -> None:
    """Raise SettingsError where a copy would take the place of anything but an earlier, untouched one."""
    if out.is_symlink() or (out.exists() and (not out.is_dir() or (any(out.iterdir()) and files.verify(out)))):
        raise SettingsError(f"out: {out} holds something else already; give another out=FOLDER")


def digest(folder: Path) -> str:
    """A name for the state of a model in a folder: it changes when any of its files does."""
    return files.sha256(folder / files.MANIFEST)[:40]
