"""Disks that fail, that remember, and what a power failure leaves of what they were told.

The model of the last: a file's bytes and a folder's names reach the disk when they are synced. What was not synced may be there in
part: of a file any of its sectors (the rest reads as zeros, or the file is empty), of a folder's changes, which keep their order, the
first few. Nothing orders one folder or file before another. Method: src/test6.c of SQLite, which also damages what was not synced.
"""

import errno
import os
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yanmo import files


@dataclass(frozen=True)
class Operation:
    """Something that the disk was told; `path` is relative to the root of the trace."""

    kind: str  # make, write, append, sync, rename, remove; or "returned": write_folder has promised that the folder stands
    path: str
    content: bytes = b""
    target: str = ""


class Remembering(files.Disk):
    """Does its work and keeps a list of it."""

    def __init__(self, root: Path) -> None:
        self.root, self.operations = root, list[Operation]()

    def note(self, kind: str, path: Path, content: bytes = b"", target: Path | None = None) -> None:
        names = [str(p.relative_to(self.root)) if p else "" for p in (path, target)]
        self.operations.append(Operation(kind, names[0], content, names[1]))

    def make(self, folder: Path) -> None:
        super().make(folder)
        self.note("make", folder)

    def write(self, path: Path, content: files.Content) -> None:
        super().write(path, content)
        self.note("write", path, path.read_bytes())

    def append(self, path: Path, text: str) -> None:
        super().append(path, text)
        self.note("append", path, text.encode())

    def sync(self, path: Path) -> None:
        super().sync(path)
        if path != self.root.parent:
            self.note("sync", path)

    def rename(self, path: Path, target: Path) -> None:
        super().rename(path, target)
        self.note("rename", path, target=target)

    def remove(self, path: Path) -> None:
        super().remove(path)
        self.note("remove", path)


class Counting(files.Disk):
    """Calls `before` with the number of each operation (from 1) and its kind; where that answers True, the operation is done in part
    and then goes on to `fault`."""

    def __init__(self) -> None:
        self.count = 0

    def before(self, kind: str, path: Path) -> bool:
        self.count += 1
        return False

    def fault(self) -> None: ...

    def _done(self, kind: str, path: Path, *arguments: Any) -> None:
        if self.before(kind, path):
            if kind == "write":
                path.write_bytes(b"half of it")
            self.fault()
        getattr(super(), kind)(path, *arguments)

    def make(self, folder: Path) -> None:
        self._done("make", folder)

    def write(self, path: Path, content: files.Content) -> None:
        self._done("write", path, content)

    def append(self, path: Path, text: str) -> None:
        self._done("append", path, text)

    def sync(self, path: Path) -> None:
        self._done("sync", path)

    def rename(self, path: Path, target: Path) -> None:
        self._done("rename", path, target)

    def remove(self, path: Path) -> None:
        self._done("remove", path)


class Failing(Counting):
    """From operation `first` on the disk is broken (EIO: nothing works) or full (ENOSPC: nothing grows)."""

    GROW = ("make", "write", "append")

    def __init__(self, first: int, number: int) -> None:
        super().__init__()
        self.first, self.number, self.failed = first, number, False

    def before(self, kind: str, path: Path) -> bool:
        self.count += 1
        self.failed |= self.count >= self.first and (self.number == errno.EIO or kind in self.GROW)
        return self.failed and (self.number == errno.EIO or kind in self.GROW)

    def fault(self) -> None:
        raise OSError(self.number, os.strerror(self.number))


class Killing(Counting):
    """SIGKILL in the middle of the n-th operation on training checkpoints."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def before(self, kind: str, path: Path) -> bool:
        self.count += "checkpoints" in path.parts or "step-" in str(path)
        return self.count == self.number

    def fault(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


# ---- power failures


@dataclass
class _File:
    now: bytes = b""
    safe: bytes = b""


@dataclass
class _Folder:
    now: dict[str, Any] = field(default_factory=dict)
    safe: dict[str, Any] = field(default_factory=dict)
    pending: list[tuple[tuple[str, Any], ...]] = field(default_factory=list)  # changes of names; None takes a name away

    def change(self, *changes: tuple[str, Any]) -> None:
        self.pending.append(changes)
        _apply(self.now, changes)


def _apply(names: dict[str, Any], changes: tuple[tuple[str, Any], ...]) -> None:
    for name, what in changes:
        if what is None:
            names.pop(name, None)
        else:
            names[name] = what


def replay(operations: list[Operation]) -> _Folder:
    """The disk after these operations, with what of it is safe. The root stands from the beginning."""
    root = _Folder()

    def at(path: str) -> Any:
        place: Any = root
        for part in Path(path).parts:
            place = place.now[part]
        return place

    for step in operations:
        parent, name = str(Path(step.path).parent), Path(step.path).name
        if step.kind == "make":
            if name and name not in at(parent).now:
                at(parent).change((name, _Folder()))
        elif step.kind in ("write", "append"):
            folder = at(parent)
            if name not in folder.now:
                folder.change((name, _File()))
            file = folder.now[name]
            file.now = step.content if step.kind == "write" else file.now + step.content
        elif step.kind == "sync":
            place = at(step.path)
            if isinstance(place, _File):
                place.safe = place.now
            else:
                place.safe, place.pending = dict(place.now), []
        elif step.kind == "rename":
            folder = at(parent)
            folder.change((name, None), (Path(step.target).name, folder.now[name]))
        elif step.kind == "remove":
            at(parent).change((name, None))
    return root


NAMES, BYTES = ("none", "some", "all"), ("lost", "torn 512", "torn 4096")
MODES = [(names, part) for names in NAMES for part in BYTES] + [("all", "all")]


def after_power_failure(root: _Folder, names: str, part: str, generator: random.Random) -> dict[str, bytes | None]:
    """path -> bytes (None: a folder) of what the disk holds when it comes back. names: how many of each folder's unsynced changes were
    written. part: what was written of each file's unsynced bytes."""
    found: dict[str, bytes | None] = {}

    def torn(file: _File) -> bytes:
        if part == "all" or file.now == file.safe:
            return file.now
        if part == "lost":
            return file.safe
        size = int(part.split()[1])
        result = bytearray(len(file.now))
        result[: len(file.safe)] = file.safe[: len(result)]
        for start in range(0, len(result), size):
            if generator.random() < 0.5:
                result[start : start + size] = file.now[start : start + size]
        return bytes(result)

    def walk(folder: _Folder, path: str) -> None:
        survived = {"none": 0, "some": generator.randint(0, len(folder.pending)), "all": len(folder.pending)}[names]
        entries = dict(folder.safe)
        for changes in folder.pending[:survived]:
            _apply(entries, changes)
        for name, what in entries.items():
            here = f"{path}/{name}" if path else name
            if isinstance(what, _Folder):
                found[here] = None
                walk(what, here)
            else:
                found[here] = torn(what)

    walk(root, "")
    return found


def materialise(tree: dict[str, bytes | None], folder: Path) -> None:
    for path, content in tree.items():
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)
