"""A hub that speaks Hugging Face's protocol, through the library `huggingface_hub`."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from yanmo import errors, files
from yanmo.errors import ModelError
from yanmo.hub.parcel import (
    ADAPTER,
    CARRIED,
    CONFIG,
    REVISION,
    Absent,
    Found,
    check_room,
    chosen,
    fill,
    pushable,
    within,
)
from yanmo.models import weights
from yanmo.progress import say

_SHOWN = 50  # models of a server that are listed
_SECONDS = 10.0  # that a server may take to say what a model is


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
        check_room(out)
        found = self.fetch(name, revision, CARRIED)
        names = chosen(within(found.folder), CARRIED)
        fill(out, found.folder, names)
        return {"name": name, "revision": found.origin["revision"], "files": names}

    def fetch(self, name: str, revision: str, wanted: Sequence[str]) -> Found:
        """The wanted files of a model at the commit that `revision` stands for now. Where the server can't be asked, as they were fetched
        before. Raises ModelError."""
        absent = (self.raised.RepositoryNotFoundError, self.raised.RevisionNotFoundError)
        try:
            about = self.api.model_info(name, revision=revision, files_metadata=True, timeout=_SECONDS)
        except absent as error:
            raise Absent(f"no model '{name}' at {self.endpoint} ({_brief(error)})") from None
        except self._errors as error:
            if (kept := self._kept(name, revision)) is None:
                raise Absent(f"{self.endpoint} could not be asked for '{name}' ({_brief(error)})") from None
            if not self.constants.HF_HUB_OFFLINE:
                say(f"warning: {self.endpoint} could not be asked for '{name}'; taken as it was fetched before")
            return kept
        commit = str(about.sha)
        held = {part.rfilename: part for part in about.siblings or []}
        names = chosen(list(held), wanted)
        if not any(file.endswith(".safetensors") for file in names) or not {CONFIG, ADAPTER[0]} & {*names}:
            raise ModelError(
                f"{name} at {self.endpoint}: no {CONFIG} with {weights.FILE}, but {', '.join(sorted(held)[:12]) or 'nothing'}. "
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
        return Found(folder, self._origin(name, commit)) if whole and REVISION.fullmatch(commit) else None

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


def _brief(error: BaseException) -> str:
    """The first line of what a library said."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
