"""Names -> folders; and hubs, where models are kept: a folder or a server of one's own, or the public hub.

A name is first a folder on this machine, then `org/name` or `name` on the hub of HF_ENDPOINT, with `@revision` where one is meant. What
is fetched is what a model needs and nothing that could run code; it stands in Hugging Face's own cache under its commit, config.json
last, so that a download which was cut short is no model. No name leads out of a hub's folder, and no file of a model out of its own.
"""

import difflib
import errno
import fnmatch
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from yanmo import errors, files
from yanmo.errors import MissingExtra, ModelError, SettingsError, gather
from yanmo.models import hf
from yanmo.progress import say

CONFIG, RECORD = "config.json", "yanmo.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95}){0,3}")
_FILE = re.compile(r"([0-9]_Pooling/)?[A-Za-z0-9][A-Za-z0-9._-]*")
_MAIN = "main"
_SHOWN = 50  # models of a server that are listed
_SECONDS = 10.0  # that a server may take to say what a model is

# What a model is opened from, and what else tells about it.
_WEIGHTS = (hf.WEIGHTS, f"{hf.WEIGHTS}.index.json", "model-?????-of-?????.safetensors", "heads.safetensors")
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
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
NEEDED = (CONFIG, "generation_config.json", RECORD, *_WEIGHTS, *_ADAPTER, *_TOKENISER, *_VECTORS)
CARRIED = (*NEEDED, "README.md", "metrics.json")


@dataclass(frozen=True)
class Found:
    """A model's folder, and where it came from: {"name", "revision", "hub"}, empty for a folder that was given as such."""

    folder: Path
    origin: dict[str, str] = field(default_factory=dict)


def resolve(name: str | Path) -> Path:
    """The folder of a model. Raises ModelError, or MissingExtra."""
    return find(name).folder


def find(name: str | Path) -> Found:
    """A folder of this machine, else what the hub has under that name, fetched."""
    folder = _folder(name)
    if folder is not None and folder.is_dir():
        return Found(folder)
    near = _near(folder)
    try:
        called, revision = parse(str(name))
    except SettingsError as error:
        raise ModelError(
            f"{name}: no such folder{near}, and no name on a hub ({error}). "
            f"Expected a run folder, or a Hugging Face folder with {CONFIG} and {hf.WEIGHTS}."
        ) from None
    try:
        server = Server()
    except MissingExtra as error:
        raise MissingExtra(f"{name}: no such folder{near}; a name on a hub {error}") from None
    try:
        return server.fetch(called, revision, NEEDED)
    except _Absent as error:
        raise ModelError(
            f"{name}: no such folder{near}, and {error}. Check the path, or the name; for a private model log in: hf auth login"
        ) from None


def pinned(name: str, origin: Mapping[str, Any]) -> str:
    """The name with the commit that it stood for when `origin` was written down."""
    revision = str(origin.get("revision", ""))
    same = name.partition("@")[0] == origin.get("name") and _REVISION.fullmatch(revision)
    return f"{origin['name']}@{revision}" if same else name


def parse(text: str) -> tuple[str, str]:
    """`org/name@revision` -> (name, revision). Raises SettingsError."""
    name, at, revision = text.partition("@")
    if not NAME.fullmatch(name) or (at and not _REVISION.fullmatch(revision)):
        raise SettingsError(
            "a name is org/name or name, of letters, digits, '.', '_' and '-', and may end in @revision"
        )
    return name, revision or _MAIN


def _folder(name: str | Path) -> Path | None:
    """The path that a name may be; None for what no file system would take."""
    try:
        folder = Path(name).expanduser()
        folder.is_dir()
    except (OSError, RuntimeError, ValueError):
        return None
    return folder


def _near(folder: Path | None) -> str:
    """The folder that may be meant, in words."""
    with suppress(OSError, AttributeError, ValueError):
        names = [path.name for path in folder.parent.iterdir() if path.is_dir()]  # type: ignore[union-attr]
        if near := difflib.get_close_matches(folder.name, names, n=1):  # type: ignore[union-attr]
            return f" (did you mean {folder.parent / near[0]}?)"  # type: ignore[union-attr]
    return ""


def chosen(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Those of a model's files that are wanted: weights once, and of folders within only what says how vectors are pooled."""
    found = [name for name in sorted(set(names)) if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)]
    if hf.WEIGHTS in found:
        found = [name for name in found if not name.startswith(("model-", f"{hf.WEIGHTS}."))]
    return [name for name in found if _FILE.fullmatch(name)]


# ---- hubs


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
            files.write_folder(place, _copies(folder, names))
        return {"name": name, "revision": _digest(place), "files": names}

    def pull(self, name: str, revision: str, out: Path) -> dict[str, Any]:
        if revision != _MAIN:
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
        _fill(out, place, names)
        if files.manifest(out) != manifest:
            files.remove(out)
            raise ModelError(f"{place}: changed while it was copied; give the same command again")
        return {"name": name, "revision": _digest(place), "files": names}

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


class _Absent(ModelError):
    """The server was asked, or could not be, and there is no such model."""


class Server:
    """A hub that speaks Hugging Face's protocol. Its address is HF_ENDPOINT unless another is given, and HF_HUB_OFFLINE keeps it from
    being asked."""

    def __init__(self, endpoint: str | None = None) -> None:
        self.library = errors.optional("huggingface_hub", "hub")
        self.raised = errors.optional("huggingface_hub.errors", "hub")
        self.constants = constants = errors.optional("huggingface_hub.constants", "hub")
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self.cache = Path(constants.HF_HUB_CACHE)
        if self.endpoint != constants.ENDPOINT:  # whose commits and branches are its own
            self.cache = Path(constants.HF_HOME) / "yanmo" / quote(self.endpoint, safe="")
        self.api = self.library.HfApi(endpoint=self.endpoint, library_name="yanmo", library_version=version("yanmo"))

    def list(self, search: str = "") -> list[dict[str, Any]]:
        with self._asked("could not be listed"):
            found = self.api.list_models(search=search or None, limit=_SHOWN)
            return [{"name": model.id, "revision": model.sha} for model in found]

    def push(self, folder: Path, name: str, *, private: bool = True) -> dict[str, Any]:
        names = pushable(folder)
        add, remove = self.library.CommitOperationAdd, self.library.CommitOperationDelete
        with self._asked(f"{folder} could not be pushed"):
            whole = self.api.create_repo(name, private=private, exist_ok=True).repo_id
            old = set(chosen(self.api.list_repo_files(whole), CARRIED)) - set(names)
            made = self.api.create_commit(
                whole,
                [*(add(file, str(folder / file)) for file in names), *(remove(file) for file in sorted(old))],
                commit_message=f"{folder.name}, by Yanmo {version('yanmo')}",
            )
        return {"name": whole, "revision": str(made.oid), "files": names}

    def pull(self, name: str, revision: str, out: Path) -> dict[str, Any]:
        _room(out)
        found = self.fetch(name, revision, CARRIED)
        names = chosen(_within(found.folder), CARRIED)
        _fill(out, found.folder, names)
        return {"name": name, "revision": found.origin["revision"], "files": names}

    def fetch(self, name: str, revision: str, wanted: Sequence[str]) -> Found:
        """The wanted files of a model at the commit that `revision` stands for now. Where the server can't be asked, as they were fetched
        before. Raises ModelError."""
        absent = (self.raised.RepositoryNotFoundError, self.raised.RevisionNotFoundError)
        try:
            about = self.api.model_info(name, revision=revision, files_metadata=True, timeout=_SECONDS)
        except absent as error:
            raise _Absent(f"no model '{name}' at {self.endpoint} ({_brief(error)})") from None
        except self._errors as error:
            if (kept := self._kept(name, revision)) is None:
                raise _Absent(f"{self.endpoint} could not be asked for '{name}' ({_brief(error)})") from None
            if not self.constants.HF_HUB_OFFLINE:
                say(f"warning: {self.endpoint} could not be asked for '{name}'; taken as it was fetched before")
            return kept
        commit = str(about.sha)
        held = {part.rfilename: part for part in about.siblings or []}
        names = chosen(list(held), wanted)
        if not any(file.endswith(".safetensors") for file in names) or not {CONFIG, _ADAPTER[0]} & {*names}:
            raise ModelError(
                f"{name} at {self.endpoint}: no {CONFIG} with {hf.WEIGHTS}, but {', '.join(sorted(held)[:12]) or 'nothing'}. "
                "Other formats can run code when they are opened, so they are not fetched."
            )
        for file in sorted(names, key=lambda file: (file == CONFIG, file)):
            self._download(name, commit, held[file])
        folder = self._repository(name) / "snapshots" / commit
        if revision != commit:
            files.write_file(self._repository(name) / "refs" / revision, commit)  # by which it is found offline
        return Found(folder, self._origin(name, commit))

    def _download(self, name: str, commit: str, part: Any) -> None:
        path = self._repository(name) / "snapshots" / commit / part.rfilename
        if path.exists():
            return
        with self._asked(f"'{name}' could not be fetched; what has arrived is kept, so give the same command again"):
            self.library.hf_hub_download(
                name, part.rfilename, revision=commit, cache_dir=self.cache, endpoint=self.endpoint
            )
        expected = part.lfs.sha256 if part.lfs is not None else None
        if expected is not None and files.sha256(path) != expected:
            path.resolve().unlink()
            path.unlink()
            raise ModelError(
                f"'{name}' at {self.endpoint}: {part.rfilename} arrived damaged; give the same command again"
            )

    def _kept(self, name: str, revision: str) -> Found | None:
        """What was fetched before, as far as it makes a model."""
        home = self._repository(name)
        reference = home / "refs" / revision
        commit = reference.read_text("utf-8").strip() if reference.is_file() else revision
        folder = home / "snapshots" / commit
        whole = (folder / CONFIG).is_file() and any(folder.glob("*.safetensors"))
        return Found(folder, self._origin(name, commit)) if whole and _REVISION.fullmatch(commit) else None

    def _origin(self, name: str, commit: str) -> dict[str, str]:
        return {"name": name, "revision": commit, "hub": self.endpoint}

    def _repository(self, name: str) -> Path:
        return self.cache / f"models--{name.replace('/', '--')}"

    @property
    def _errors(self) -> tuple[type[BaseException], ...]:
        """What the library raises when a server does not do as it is asked."""
        return (self.raised.HTTPError, self.raised.EntryNotFoundError, OSError, ValueError)

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ModelError(f"{self.endpoint}: {what} ({_brief(error)})") from None


# ---- a model's files


def pushable(folder: Path) -> list[str]:
    """The files of a model folder that a hub takes. Raises ModelError for one that is damaged or no model."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder{_near(folder)}")
    try:
        hf.read_json(folder / CONFIG)
    except FileNotFoundError:
        raise ModelError(
            f"{folder}: no {CONFIG} here, so this is no model (a run has one when it is finished)"
        ) from None
    hf.read_tensors(folder)
    if (folder / files.MANIFEST).is_file():
        gather(files.changed(folder), f"{folder}: not as it was written; see yanmo doctor {folder}", ModelError)
    names = chosen(_within(folder), CARRIED)
    out = [str(folder / name) for name in names if not (folder / name).resolve().is_relative_to(folder.resolve())]
    gather(out, f"{folder}: these are links that lead out of it; push a copy (cp -rL):", ModelError)
    return names


def _within(folder: Path) -> list[str]:
    """The files of a folder and of those in it, by their names from there."""
    found = [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file()]
    return [path.relative_to(folder).as_posix() for path in found]


def _copies(folder: Path, names: Sequence[str]) -> dict[str, Callable[[Path], Any]]:
    return {name: partial(shutil.copyfile, folder / name) for name in names}


def _fill(out: Path, folder: Path, names: Sequence[str]) -> None:
    _room(out)
    files.write_folder(out, _copies(folder, names))


def _room(out: Path) -> None:
    """Raise SettingsError where a copy would take the place of anything but an earlier, untouched one."""
    if out.is_symlink() or (out.exists() and (not out.is_dir() or (any(out.iterdir()) and files.verify(out)))):
        raise SettingsError(f"out: {out} holds something else already; give another out=FOLDER")


def _digest(folder: Path) -> str:
    """A name for the state of a model in a folder: it changes when any of its files does."""
    return files.sha256(folder / files.MANIFEST)[:40]


def _described(name: str, folder: Path) -> dict[str, Any]:
    try:
        family, record = hf.read_json(folder / CONFIG).get("model_type"), {}
        with suppress(FileNotFoundError):
            record = hf.read_json(folder / RECORD)
    except (ModelError, FileNotFoundError):
        return {"name": name, "revision": _digest(folder), "damaged": True}
    task = record.get("task")
    return {
        "name": name,
        "revision": _digest(folder),
        "family": family,
        "task": task.get("name") if isinstance(task, dict) else None,
        "bytes": sum((folder / file).stat().st_size for file in _within(folder)),
    }


def _brief(error: BaseException) -> str:
    """The first line of what a library said."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
