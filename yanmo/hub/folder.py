"""A hub that is a folder on this machine or a shared disk."""

import difflib
from contextlib import suppress
from pathlib import Path
from typing import Any

from yanmo import files
from yanmo.errors import ModelError, SettingsError, gather
from yanmo.hub.parcel import (
    CARRIED,
    CONFIG,
    MAIN,
    NAME,
    RECORD,
    chosen,
    copies,
    digest,
    fill,
    pushable,
    within,
)
from yanmo.models import weights


class Folder:
    """A hub that is a folder: each model in ORG/NAME/ or NAME/ with a manifest. What the manifest doesn't vouch for is not there."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self, search: str = "") -> list[dict[str, Any]]:
        places = [path.parent for pattern in ("*", "*/*") for path in self.root.glob(f"{pattern}/{files.MANIFEST}")]
        named = {str(place.relative_to(self.root)): place for place in sorted(places)}
        return [
            _described(name, place)
            for name, place in named.items()
            if NAME.fullmatch(name) and search in name and self._at(name) == place
        ]

    def push(self, folder: Path, name: str, *, private: bool = True) -> dict[str, Any]:
        names = pushable(folder)
        place = self._place(name)
        with files.lock(self.root):
            files.mend(self.root)
            if place.exists() and not (place / files.MANIFEST).is_file():
                raise SettingsError(f"name={name}: {place} holds other things than a model; give another name")
            if (place.parent / files.MANIFEST).is_file():
                raise SettingsError(f"name={name}: {place.parent} is a model itself; give another name")
            files.write_folder(place, copies(folder, names))
        return {"name": name, "revision": digest(place), "files": names}

    def pull(self, name: str, revision: str, out: Path) -> dict[str, Any]:
        if revision != MAIN:
            raise SettingsError(f"{name}@{revision}: a folder keeps one state of each model; leave the revision out")
        place = self._place(name)
        if (manifest := files.manifest(place)) is None:
            held = difflib.get_close_matches(name, [model["name"] for model in self.list()], n=1)
            raise ModelError(f"{name}: no such model in {self.root}{f'; did you mean {held[0]}?' if held else ''}")
        names = chosen(list(manifest), CARRIED)
        strange = [
            f"{name!r}" for name in manifest if name not in names or (place / name).resolve() != place.resolve() / name
        ]
        gather(strange or files.changed(place), f"{place}: not as it was put there:", ModelError)
        fill(out, place, names)
        if files.manifest(out) != manifest:
            files.remove(out)
            raise ModelError(f"{place}: changed while it was copied; give the same command again")
        return {"name": name, "revision": digest(place), "files": names}

    def _at(self, name: str) -> Path | None:
        """The folder of a name; None for a name that no model may have, or that a link leads out of the hub."""
        place = self.root / name
        if not NAME.fullmatch(name) or any(part.endswith((files.PARTIAL, files.MANIFEST)) for part in place.parts):
            return None
        return place if place.resolve() == self.root.resolve() / name else None

    def _place(self, name: str) -> Path:
        if (place := self._at(name)) is None:
            raise SettingsError(f"name={name!r}: expected org/name or name, of letters, digits, '.', '_' and '-'")
        return place


def _described(name: str, folder: Path) -> dict[str, Any]:
    try:
        family, record = weights.read_json(folder / CONFIG).get("model_type"), {}
        with suppress(FileNotFoundError):
            record = weights.read_json(folder / RECORD)
    except (ModelError, FileNotFoundError):
        return {"name": name, "revision": digest(folder), "damaged": True}
    task = record.get("task")
    return {
        "name": name,
        "revision": digest(folder),
        "family": family,
        "task": task.get("name") if isinstance(task, dict) else None,
        "bytes": sum((folder / file).stat().st_size for file in within(folder)),
    }
