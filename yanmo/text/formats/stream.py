"""A path -> the texts in it as open byte streams, whatever they are packed in: .gz, .zst, .zip, or nothing.

Nothing is ever written. An archive is judged by its directory before any of it is unpacked, a .gz and a .zst as they are read; all are
unpacked in memory, a piece at a time.
Knows no format and no encoding.
"""

import gzip
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from yanmo.errors import DataError, gather, optional
from yanmo.text.formats import foreign

LARGEST = 4 << 30  # bytes of an archive, unpacked
HIGHEST_RATIO = 100  # unpacked to packed
# A .gz or .zst does not say what it unpacks to: it is judged as it is read. So little may repeat itself as it likes, since it does no
# harm; of more than that no text comes near the ratio. It is never held as a whole, so its cap is there for time, not for memory.
UNJUDGED = 64 << 20
LONGEST = 256 << 30
MOST_ENTRIES = 10_000
_LONGEST_ENTRY = 512  # bytes of an archive's directory for an entry, on average
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".svg"})


@dataclass(frozen=True)
class Member:
    """A file, or one member of a .zip."""

    path: Path
    compression: str  # "", "gz", "zst" or "zip"
    inside: str = ""
    archive: zipfile.ZipFile | None = None  # open: its directory is read once, not once a member

    @property
    def name(self) -> str:
        return str(self.path / self.inside)

    @property
    def file_name(self) -> str:
        """Its own name, without what the compression added."""
        name = PurePosixPath(self.inside).name or self.path.name
        return name[: -len(PurePosixPath(name).suffix)] if name.lower().endswith((".gz", ".zst")) else name

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.file_name).suffix.lower()

    @property
    def broken(self) -> tuple[type[Exception], ...]:
        """What reading raises where the packed data is cut short or damaged."""
        kinds: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile)
        return (*kinds, optional("zstandard", "data").ZstdError) if self.compression == "zst" else kinds

    def open(self) -> BinaryIO:
        try:
            return _OPEN[self.compression](self)
        except FileNotFoundError:
            raise DataError(foreign.absent(self.path)) from None
        except IsADirectoryError:
            raise DataError(f"{self.path}: this is a folder; expected a data file") from None


class _Unpacked(io.RawIOBase):
    """The bytes that `pieces` makes of an open packed file, a bounded piece at a time, held to the limits above."""

    def __init__(self, path: Path, pieces: Callable[[BinaryIO], Iterator[bytes]]) -> None:
        self.path, self.packed = path, path.open("rb")
        self.most = max(UNJUDGED, min(LONGEST, HIGHEST_RATIO * path.stat().st_size))
        self.pieces, self.size, self.rest = pieces(self.packed), 0, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.rest:
            piece = next(self.pieces, None)
            if piece is None:
                return 0
            self.size += len(piece)
            self.rest = memoryview(piece)
            if self.size > self.most:
                raise DataError(
                    f"{self.path}: unpacks to more than {HIGHEST_RATIO} times its size, or {LONGEST:,} bytes: not read beyond "
                    f"{self.most:,} bytes. If it should be so large, unpack it, and give the unpacked file"
                )
        count = min(len(buffer), len(self.rest))
        buffer[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count

    def close(self) -> None:
        self.packed.close()
        super().close()


def _gz_pieces(packed: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=packed) as file:
        while piece := file.read1(1 << 20):  # as far as it goes: of a file that is cut short, what there is
            yield piece


def _zst_pieces(packed: BinaryIO) -> Iterator[bytes]:
    """Of one or more frames. (zstandard's own reader ends without a word where a file is cut.)"""
    new = optional("zstandard", "data").ZstdDecompressor().decompressobj
    frame, rest = new(), b""
    while rest := rest or packed.read(1 << 10):  # four bytes may stand for 128 KB: this much unpacks to 32 MB at most
        if frame.eof:
            frame = new()
        yield frame.decompress(rest)
        rest = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise EOFError("the last frame is cut short")


def _zip(member: Member) -> BinaryIO:
    archive = member.archive or _archive(member.path)
    return cast(BinaryIO, archive.open(member.inside))


_OPEN: dict[str, Callable[[Member], BinaryIO]] = {
    "": lambda member: member.path.open("rb"),
    "gz": lambda member: io.BufferedReader(_Unpacked(member.path, _gz_pieces), 1 << 20),
    "zst": lambda member: io.BufferedReader(_Unpacked(member.path, _zst_pieces), 1 << 20),
    "zip": _zip,
}


def container(path: Path) -> Path:
    """The file on the disk: for a path that leads into an archive (some.zip/train.csv) the archive, else the path itself."""
    if path.exists():
        return path
    return next((outer for outer in path.parents if is_archive(outer)), path)


def is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()


def members(path: Path) -> list[Member]:
    """What there is to read at a path: the file, or the texts of a .zip (its pictures are passed over), or one of these.

    Raises DataError for a missing file, one that may not be read or is no text, and for a .zip that is no archive or breaks one of
    the limits above, within a second.
    """
    if path.is_dir():
        raise DataError(f"{path}: this is a folder; expected a data file")
    outer = container(path)
    if outer != path:
        archive, inside = _archive(outer), path.relative_to(outer).as_posix()
        if inside not in archive.namelist():
            raise DataError(f"{path}: the archive holds no such file; it holds: {', '.join(archive.namelist()[:10])}")
        return [Member(outer, "zip", inside, archive)]
    if not path.is_file():
        raise DataError(foreign.absent(path))
    try:
        with path.open("rb") as file:
            start = file.read(foreign.HEAD)
    except PermissionError:
        raise DataError(f"{path}: this user may not read it (chmod u+r {path}, or ask its owner)") from None
    if start[:2] == b"\x1f\x8b":
        return [Member(path, "gz")]
    if start[:4] == b"\x28\xb5\x2f\xfd":
        return [Member(path, "zst")]
    if start[:2] == b"PK" and path.suffix.lower() == ".zip":
        archive = _archive(path)
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        return [
            Member(path, "zip", name, archive) for name in names if PurePosixPath(name).suffix.lower() not in IMAGES
        ]
    foreign.refuse(path, start)
    return [Member(path, "")]


def _archive(path: Path) -> zipfile.ZipFile:
    """An archive that keeps within the limits. The last one stays open: its members are asked for one by one."""
    known = path.stat()
    return _checked(path, known.st_mtime_ns, known.st_size)


@lru_cache(maxsize=1)
def _checked(path: Path, changed: int, size: int) -> zipfile.ZipFile:
    _refuse(path, _directory_faults(path))
    try:
        archive = zipfile.ZipFile(path)
        entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DataError(f"{path}: not readable as .zip ({error})") from None
    faults = []
    for entry in entries:
        parts = PurePosixPath(entry.filename.replace("\\", "/"))
        if (
            parts.is_absolute()
            or ".." in parts.parts
            or ":" in (parts.parts or ("",))[0]
            or "\0" in entry.orig_filename
        ):
            faults.append(f"the name '{entry.filename}' leaves the archive")
        elif stat.S_ISLNK(entry.external_attr >> 16):
            faults.append(f"'{entry.filename}' is a symbolic link")
        elif entry.flag_bits & 1:
            faults.append(f"'{entry.filename}' is encrypted")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > LARGEST:
        faults.append(f"{unpacked:,} bytes unpacked; at most {LARGEST:,} are read")
    ratio = unpacked / max(1, size)
    if ratio > HIGHEST_RATIO:
        faults.append(f"unpacks to {ratio:,.0f} times its size; at most {HIGHEST_RATIO} times is read")
    _refuse(path, faults)
    return archive


def _directory_faults(path: Path) -> list[str]:
    """By the end of the file alone: zipfile would build an object an entry before they could be counted."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16) - 22))
        tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        return ["not readable as .zip (no directory at its end)"]
    count, size = struct.unpack_from("<HI", tail, at + 10)
    if count > MOST_ENTRIES or size > MOST_ENTRIES * _LONGEST_ENTRY:
        return [f"{count:,} or more entries; at most {MOST_ENTRIES:,} are read"]
    return []


def _refuse(path: Path, faults: list[str]) -> None:
    gather(faults, f"{path}: this archive is not opened (unpack it yourself if you trust it):", DataError)
