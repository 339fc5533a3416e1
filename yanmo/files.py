"""The one way to write: whole or not at all.

A file or a folder is made under a temporary name beside its place, flushed to the disk, and renamed into place; a reader sees
the old one or the new one, never a mixture. Every change to the disk goes through the few functions of this module, so that a
test can stand in for them. A disk that is full or broken becomes a `StorageError`; what stood there before still stands.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from yanmo.errors import RunError, StorageError

MANIFEST = "manifest.json"
LOCK = ".lock"
PARTIAL = ".partial"  # the ending of every name that is still being written


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors wraps what the system said
        why = getattr(error, "strerror", None) or error
        raise StorageError(
            f"{path}: could not be written ({why}); what stood there before is untouched. "
            f"Free some space or choose another folder, then give the same command again."
        ) from error


def write_file(path: Path, content: bytes | str) -> None:
    """Put `content` (text as UTF-8) at `path`, whole or not at all."""
    write_with(path, lambda partial: partial.write_bytes(content.encode() if isinstance(content, str) else content))


def write_with(path: Path, writer: Callable[[Path], Any]) -> None:
    """As `write_file`, for a library that insists on writing a file itself: `writer` is given the temporary path."""
    partial = path.with_name(path.name + PARTIAL)
    with _storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            writer(partial)
            partial.chmod(0o644)  # some libraries make files that only their owner may read
            _sync(partial)
            partial.replace(path)
            _sync(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    write_file(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def append_line(path: Path, line: str) -> None:
    """Add one line to a log. A line that a crash cut short is the last one, and readers skip it."""
    with _storage(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    """Fill the yielded temporary folder; on leaving, a manifest of sha256 sums is added and the folder takes its place.

    An older folder of the same name is moved aside first and removed last, so that one of the two always stands.
    """
    partial, old = path.with_name(path.name + PARTIAL), path.with_name(path.name + ".old" + PARTIAL)
    with _storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            files = sorted(file for file in partial.rglob("*") if file.is_file())
            for file in files:
                _sync(file)
            write_json(partial / MANIFEST, {str(file.relative_to(partial)): sha256(file) for file in files})
            _sync(partial)
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)
                path.rename(old)
            partial.rename(path)
            _sync(path.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            if old.exists() and not path.exists():
                old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file or a folder if it is there. A folder loses its name first, so that no half of it is ever found."""
    with _storage(path):
        if path.is_dir():
            doomed = path.with_name(path.name + ".gone" + PARTIAL)
            shutil.rmtree(doomed, ignore_errors=True)
            path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def verify(folder: Path) -> list[str]:
    """What is wrong with a folder that `write_folder` made, in words; an empty list when it is whole."""
    try:
        manifest: dict[str, str] = dict(json.loads((folder / MANIFEST).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return [f"{folder / MANIFEST}: missing or unreadable"]
    faults = []
    for name, digest in manifest.items():
        file = folder / name
        if not file.is_file():
            faults.append(f"{file}: missing")
        elif sha256(file) != digest:
            faults.append(f"{file}: its content is not what was written")
    return faults


def partials(folder: Path) -> list[Path]:
    """Leftovers of writes that a crash cut short. A folder within that has a lock of its own looks after itself."""
    found: list[Path] = []
    for here, folders, names in os.walk(folder):
        found += [Path(here, name) for name in (*folders, *names) if name.endswith(PARTIAL)]
        folders[:] = [n for n in folders if not n.endswith(PARTIAL) and not Path(here, n, LOCK).exists()]
    return sorted(found)


def mend(folder: Path) -> list[Path]:
    """Clear away the leftovers of writes that a crash cut short, and return them. A folder that had been moved aside for a new one
    which never took its place goes back. Only for who holds the `lock`."""
    found = partials(folder)
    for leftover in found:
        name, aside, _ = leftover.name.partition(".old" + PARTIAL)
        home = leftover.with_name(name)
        if aside and leftover.is_dir() and not home.exists():
            with _storage(home):
                leftover.rename(home)
        else:
            remove(leftover)
    return found


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process alone. The kernel lets go when the process ends, however it ends."""
    with _storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with _storage(folder):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
                raise RunError(
                    f"{folder}: another process (pid {holder}) is using this run folder. Wait for it, stop it, or give another run=..."
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
