"""The one way to write: whole or not at all.

A file or a folder is made under a temporary name beside its place, flushed to the disk, and renamed into place; a reader sees
the old one or the new one, never a mixture. Every change to the disk is one of the operations of `Disk`, so that a test can put a
disk in its place that fails, or that remembers. A disk that is full or broken becomes a `StorageError`; what stood there before
still stands.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from yanmo.errors import RunError, StorageError

if TYPE_CHECKING:
    import numpy as np

MANIFEST = "manifest.json"
LOCK = ".lock"
PARTIAL = ".partial"  # the ending of every name that is still being written
_OF_LIBRARY = re.compile(r"\.tmp\w{6}")  # what safetensors calls a file until it is whole

Content = str | bytes | Callable[[Path], Any]  # text, bytes, or what writes the file itself, given the path to write to


class Disk:
    """What this module does to a disk, an operation a method."""

    def make(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)

    def write(self, path: Path, content: Content) -> None:
        if callable(content):
            content(path)
            path.chmod(0o644)  # some libraries make files that only their owner may read
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def append(self, path: Path, text: str) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)

    def sync(self, path: Path) -> None:
        """The content of a file, or the names in a folder, survive a power failure from now on."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, path: Path, target: Path) -> None:
        path.rename(target)

    def remove(self, path: Path) -> None:
        """A file, or a folder that is empty."""
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


disk = Disk()


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


def _make(folder: Path) -> None:
    """The folder and those above it that are missing, each known to the disk before something is put into it."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        disk.make(path)
        disk.sync(path.parent)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for child in list(path.iterdir()):
            _remove(child)
    disk.remove(path)


def _discard(path: Path) -> None:
    """Remove a leftover as far as that can be done; the next start tries again."""
    with suppress(OSError):
        _remove(path)


def write_file(path: Path, content: Content) -> None:
    """Put `content` at `path`, whole or not at all."""
    partial = path.with_name(path.name + PARTIAL)
    with _storage(path):
        _make(path.parent)
        try:
            disk.write(partial, content)
            disk.sync(partial)
            disk.rename(partial, path)
            disk.sync(path.parent)
        except BaseException:
            _discard(partial)
            raise


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def write_json(path: Path, value: Any) -> None:
    write_file(path, to_json(value))


def append_line(path: Path, line: str) -> None:
    """Add one line to a log. A line that a crash cut short is the last one, and readers skip it."""
    with _storage(path):
        disk.append(path, line + "\n")


def settle(path: Path) -> None:
    """The lines that were appended survive a power failure from now on."""
    if path.exists():
        with _storage(path):
            disk.sync(path)
            disk.sync(path.parent)


def write_folder(path: Path, contents: Mapping[str, Content]) -> None:
    """A folder of these files (which may stand in folders within, one deep) and a manifest of their sha256 sums, whole or not at all.

    An older folder of the same name is moved aside first and removed last, so that one of the two always stands.
    """
    partial, old = path.with_name(path.name + PARTIAL), path.with_name(path.name + ".old" + PARTIAL)
    with _storage(path):
        _make(path.parent)
        _discard(partial)
        try:
            disk.make(partial)
            for name, content in contents.items():
                if not (parent := (partial / name).parent).is_dir():
                    disk.make(parent)
                disk.write(partial / name, content)
                disk.sync(partial / name)
                if parent != partial:
                    disk.sync(parent)
            seal(partial, sorted(contents))
            if path.exists():
                _discard(old)
                disk.rename(path, old)
            disk.rename(partial, path)
            disk.sync(path.parent)
        except BaseException:
            _discard(partial)
            if old.exists() and not path.exists():
                disk.rename(old, path)
            raise
        _discard(old)


def seal(folder: Path, names: Sequence[str]) -> None:
    """Write the manifest of the named files: what `verify` holds them against."""
    with _storage(folder):
        sums = {name: sha256(folder / name) for name in names}
    write_json(folder / MANIFEST, sums)


def remove(path: Path) -> None:
    """Remove a file or a folder if it is there. A folder loses its name first, so that no half of it is ever found."""
    with _storage(path):
        if path.is_dir():
            doomed = path.with_name(path.name + ".gone" + PARTIAL)
            _discard(doomed)
            disk.rename(path, doomed)
            _discard(doomed)
        else:
            with suppress(FileNotFoundError):
                disk.remove(path)


def verify(folder: Path) -> list[str]:
    """What is wrong with a folder that `write_folder` made, in words; an empty list when it is whole and nothing else is in it."""
    faults, named = changed(folder), manifest(folder)
    if named is not None:
        known = {folder / MANIFEST, *(path for name in named for path in (folder / name, *(folder / name).parents))}
        faults += [f"{path}: does not belong here" for path in sorted(folder.rglob("*")) if path not in known]
    return faults


def changed(folder: Path) -> list[str]:
    """What is wrong with the files that the folder's manifest names, in words."""
    named = manifest(folder)
    if named is None:
        return [f"{folder / MANIFEST}: missing or unreadable"]
    faults = []
    for name, digest in named.items():
        file = folder / name
        try:
            if sha256(file) != digest:
                faults.append(f"{file}: its content is not what was written")
        except OSError as error:
            faults.append(f"{file}: {'missing' if isinstance(error, FileNotFoundError) else error.strerror}")
    return faults


def manifest(folder: Path) -> dict[str, str] | None:
    """The manifest; None when it is not there or not to the letter what `seal` wrote."""
    try:
        text = (folder / MANIFEST).read_text("utf-8")
        content = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and to_json(content) == text else None


def partials(folder: Path) -> list[Path]:
    """Leftovers of writes that a crash cut short. A folder within that has a lock of its own looks after itself."""
    found: list[Path] = []
    for here, folders, names in os.walk(folder):
        found += [Path(here, name) for name in (*folders, *names) if name.endswith(PARTIAL)]
        found += [Path(here, name) for name in names if _OF_LIBRARY.fullmatch(name)]
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
                disk.rename(leftover, home)
        else:
            remove(leftover)
    return found


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mapped(path: Path) -> "dict[str, np.ndarray]":
    """The arrays of a safetensors file, mapped and not read: what is read of them comes into memory, and goes when memory is short.
    Raises SafetensorError, KeyError or ValueError for a file that is none."""
    import numpy as np

    # The library looks at the header (8 bytes of its length, then JSON): the arrays fill the file, without gap or overlap.
    with safe_open(path, "numpy"), path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    data = np.asarray(np.memmap(path, np.uint8, "r", offset=8 + size))
    return {
        name: data[slice(*each["data_offsets"])].view(_KINDS[each["dtype"]]).reshape(each["shape"])
        for name, each in header.items()
        if name != "__metadata__"
    }


_KINDS = {"U8": "u1", "U16": "<u2", "U32": "<u4", "I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8"}


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process alone. The kernel lets go when the process ends, however it ends; a lock file that was left
    behind is then taken over."""
    with _storage(folder):
        _make(folder)
        descriptor = _take(folder / LOCK)
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / LOCK).unlink()  # while it is still held, so that nobody else's is removed
        os.close(descriptor)


def holder(folder: Path) -> str | None:
    """Who holds a folder, in words; None when nobody does."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        pid = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return f"nobody: a lock file was left by pid {pid}, which has ended"
    except BlockingIOError:
        return f"pid {pid}"
    finally:
        os.close(descriptor)


def _take(path: Path) -> int:
    """The descriptor of the lock file at `path`, locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(descriptor, path):  # its holder removed it just now
                os.close(descriptor)
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor
        except BlockingIOError:
            pid = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise RunError(
                f"{path.parent}: another process (pid {pid}) is using this folder. "
                "Wait for it, stop it, or give another (run=..., index=..., out=...)"
            ) from None
        except OSError:
            os.close(descriptor)
            raise


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
