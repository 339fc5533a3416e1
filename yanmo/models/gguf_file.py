"""A GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) as a box of values and tensors. Knows no model.

The file is somebody else's, and the library that knows its kinds of numbers trusts it; so the header is read here, strictly: every
length and place is compared with the file before anything is believed, allocated or multiplied.
"""

import itertools
import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yanmo.errors import ModelError, gather, optional

SUFFIX = ".gguf"
_LONGEST = 16 << 20  # bytes of a string
_MOST = 16 << 20  # values of an array
_ALIGNMENT = 1 << 20  # bytes between the beginnings of tensors
_ENTRIES = 100_000  # keys, and tensors
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_FLOAT32, _STRING, _ARRAY = 6, 8, 9


@dataclass(frozen=True)
class Strings:
    """An array of strings, not read yet."""

    start: int
    count: int


class Stored(NamedTuple):
    """A tensor, as the header tells of it."""

    shape: tuple[int, ...]  # the last dimension first moves, as in torch
    kind: int
    offset: int  # from the end of the header


@dataclass
class _Cursor:
    """A place in the file that never goes beyond its end. Raises ValueError."""

    data: mmap.mmap
    at: int = 0

    def take(self, count: int) -> int:
        """Go over so many bytes; where they begin."""
        if count > len(self.data) - self.at:
            raise ValueError(f"{count:,} bytes are promised at byte {self.at:,}, but it ends at {len(self.data):,}")
        self.at += count
        return self.at - count

    def number(self, code: str) -> Any:
        form = f"<{code}"
        (found,) = struct.unpack_from(form, self.data, self.take(struct.calcsize(form)))
        return found

    def string(self) -> str:
        start, end = self.skip()
        return self.data[start:end].decode("utf-8")

    def skip(self) -> tuple[int, int]:
        """Go over a string: from, to."""
        length = self.number("Q")
        if length > _LONGEST:
            raise ValueError(f"a string of {length:,} bytes at byte {self.at:,}; at most {_LONGEST:,} are read")
        return self.take(length), self.at

    def value(self) -> Any:
        kind = self.number("I")
        if kind == _STRING:
            return self.string()
        if kind == _FLOAT32:  # 1e-05, not the nearest double of the nearest float
            return float(str(np.float32(self.number("f"))))
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind != _ARRAY:
            raise ValueError(f"a value of the unknown kind {kind} at byte {self.at:,}")
        inner, count = self.number("I"), self.number("Q")
        if count > _MOST:
            raise ValueError(f"an array of {count:,} values at byte {self.at:,}; at most {_MOST:,} are read")
        if inner == _STRING:
            found = Strings(self.at, count)
            for _ in range(count):
                self.skip()
            return found
        if inner not in _SCALARS:
            raise ValueError(f"an array of the kind {inner} at byte {self.at:,}")
        code = np.dtype(f"<{_SCALARS[inner]}")
        return np.frombuffer(self.data, code, count, self.take(count * code.itemsize)).tolist()

    def entries(self, count: int, least: int, what: str) -> Iterator[str]:
        """The names of so many entries of at least so many bytes, each once; the caller reads what follows a name."""
        if count > _ENTRIES or count * least > len(self.data) - self.at:
            raise ValueError(f"{count:,} {what} are promised in {len(self.data) - self.at:,} bytes")
        seen: set[str] = set()
        for _ in range(count):
            name = self.string()
            if name in seen:
                raise ValueError(f"{name!r} stands twice among its {what}")
            seen.add(name)
            yield name

    def tensor(self) -> Stored:
        dimensions = self.number("I")
        if not 1 <= dimensions <= 4:
            raise ValueError(f"a tensor of {dimensions:,} dimensions at byte {self.at:,}")
        shape = tuple(self.number("Q") for _ in range(dimensions))
        if not 0 < math.prod(shape) < 2**63:  # Python's numbers don't overflow; C's would
            raise ValueError(f"a tensor of the shape {list(shape)} at byte {self.at:,}")
        return Stored(shape[::-1], self.number("I"), self.number("Q"))


class Box:
    """The file at `path`: `values` by key, `tensors` by name. Raises ModelError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as opened:
                if opened.read(4) != b"GGUF":
                    raise ValueError("it does not begin with 'GGUF'")
                self._data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            self._read()
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: not a readable GGUF file ({error}). Fetch it anew.") from None

    def _read(self) -> None:
        cursor = _Cursor(self._data, 4)
        if (version := cursor.number("I")) not in (2, 3):
            raise ValueError(f"version {version}; 2 and 3 are read, with the lowest byte first")
        tensors, keys = cursor.number("Q"), cursor.number("Q")
        self.values: dict[str, Any] = {key: cursor.value() for key in cursor.entries(keys, 13, "keys")}
        self.tensors = {name: cursor.tensor() for name in cursor.entries(tensors, 32, "tensors")}
        alignment = self.values.get("general.alignment", 32)
        if type(alignment) is not int or not 1 <= alignment <= _ALIGNMENT or alignment & (alignment - 1):
            raise ValueError(f"its alignment is {alignment!r}; a power of 2 up to {_ALIGNMENT:,} is read")
        self._start = -(-cursor.at // alignment) * alignment
        for name, (_, _, offset) in self.tensors.items():
            if offset % alignment or self._start + offset >= len(self._data):
                raise ValueError(f"{name} begins at byte {self._start + offset:,}, which is no place for a tensor")

    def strings(self, key: str) -> list[str]:
        """The strings of a key that holds `Strings`."""
        found: Strings = self.values[key]
        cursor = _Cursor(self._data, found.start)
        try:
            return [cursor.string() for _ in range(found.count)]
        except ValueError as error:
            raise ModelError(f"{self.path}: '{key}' is not text ({error})") from None

    def check(self) -> None:
        """Raise one ModelError for all tensors of a kind that can't be read, and for such as lie where they can't."""
        library = optional("gguf", "gguf")
        places, faults = [], []
        for name, (shape, number, offset) in self.tensors.items():
            try:
                kind = library.GGMLQuantizationType(number)
                values, size = library.GGML_QUANT_SIZES[kind]
                library.quants.dequantize(np.zeros((1, size), np.uint8), kind)
            except (ValueError, KeyError):
                faults.append(f"{name}: of the unknown kind {number}")
            except NotImplementedError:
                faults.append(f"{name}: of the kind {kind.name}, which is not implemented")
            else:
                if shape[-1] % values:
                    faults.append(
                        f"{name}: rows of {shape[-1]:,}, which {kind.name} can't have (a multiple of {values})"
                    )
                places.append((offset, offset + math.prod(shape) // values * size, name))
        room = len(self._data) - self._start
        places = [*sorted(places), (room, room, "the end of the file")]
        faults += [
            f"{name}: ends at byte {end:,} of the tensors, but {after} is at {begin:,}"
            for (_, end, name), (begin, _, after) in itertools.pairwise(places)
            if end > begin
        ]
        gather(faults, f"{self.path}: these tensors can't be read:", ModelError)

    def tensor(self, name: str) -> np.ndarray:
        """One tensor as float32; `check` comes first."""
        library = optional("gguf", "gguf")
        shape, number, offset = self.tensors[name]
        kind = library.GGMLQuantizationType(number)
        values, size = library.GGML_QUANT_SIZES[kind]
        raw = np.frombuffer(self._data, np.uint8, math.prod(shape) // values * size, self._start + offset)
        with np.errstate(all="ignore"):  # a damaged scale is no error of arithmetic
            found = library.quants.dequantize(raw.reshape(*shape[:-1], -1), kind)
        return np.array(found, np.float32).reshape(shape)
