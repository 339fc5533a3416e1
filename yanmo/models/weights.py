"""Files of weights that somebody else may have made: safetensors and JSON, read with suspicion. Knows names, shapes and bytes, not models.

A header is checked before a byte of a tensor is read, and a tensor is read when it is asked for. safetensors only: a pickle can run
code when it is opened.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yanmo.errors import ModelError, brief, gather

FILE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.joblib", "*.npy", "*.h5", "*.msgpack")


_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_LARGEST_HEADER = 2_000_000  # bytes: room for 20,000 tensors a file; the format allows fifty times that
LARGEST_JSON = 4_000_000  # bytes of a config or an index


@dataclass(frozen=True)
class Stored:
    """A tensor in a safetensors file, not read yet. `start`: where its bytes begin in the file."""

    file: Path
    dtype: torch.dtype
    shape: torch.Size
    start: int

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        return self.shape.numel() * self.dtype.itemsize

    def read(self) -> Tensor:
        """Its numbers, in memory of their own."""
        tensor = torch.empty(self.shape, dtype=self.dtype)
        if self.nbytes:
            room: Any = tensor.view(-1).view(torch.uint8).numpy()
            with self.file.open("rb") as opened:
                opened.seek(self.start)
                if opened.readinto(room) != self.nbytes:
                    raise ModelError(f"{self.file}: ends before its tensors do; was it changed just now?")
        return tensor


def read_tensors(folder: Path) -> dict[str, Stored]:
    """What stands in a Hugging Face folder, unread: in model.safetensors, or in the shards that model.safetensors.index.json names."""
    index = folder / f"{FILE}.index.json"
    if (folder / FILE).is_file():
        return header(folder / FILE)
    if not index.is_file():
        raise ModelError(_no_weights(folder))
    content = read_json(index)
    places = content.get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise ModelError(f"{index}: not an index of shards; expected a JSON object with 'weight_map'")
    names = sorted(set(places.values()))
    strangers = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
    gather([f"{name!r}" for name in strangers], f"{index}: names files outside its folder:", ModelError)
    shards = {name: header(folder / name) for name in names}
    faults = [f"{place}: lacks {name}" for name, place in places.items() if name not in shards[place]]
    faults += [
        f"{place}: holds {name}, which the index {'has in ' + places[name] if name in places else 'does not name'}"
        for place, shard in shards.items()
        for name in shard
        if places.get(name) != place
    ]
    found = {name: stored for shard in shards.values() for name, stored in shard.items()}
    about = content.get("metadata")
    said, size = about.get("total_size") if isinstance(about, dict) else None, sum(s.nbytes for s in found.values())
    if not faults and said is not None and said != size:
        faults.append(f"total_size is {brief(said)}, but the tensors have {size:,} bytes")
    gather(faults, f"{index}: the shards are not those of the index; fetch the folder anew:", ModelError, shown=12)
    return found


class Opened(Mapping[str, Tensor]):
    """Stored tensors by name, each read when it is asked for."""

    def __init__(self, stored: Mapping[str, "Tensor | Stored"]) -> None:
        self.stored = stored

    def __getitem__(self, name: str) -> Tensor:
        found = self.stored[name]
        return found.read() if isinstance(found, Stored) else found

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


DAMAGED = "these weights are not numbers (NaN or infinity), so no answer of theirs would be; fetch the folder anew:"


def not_numbers(name: str, tensor: Tensor) -> list[str]:
    """NaN and infinity are faults; minus infinity is not: a bias by which something is never chosen."""
    if not tensor.is_floating_point() or not tensor.numel():
        return []
    low, high = (float(value) for value in tensor.aminmax())
    return [f"{name}: largest value {high}"] if math.isnan(low) or high == math.inf else []


def read_file(file: Path) -> dict[str, Tensor]:
    """The tensors of one safetensors file, read."""
    found = {name: stored.read() for name, stored in header(file).items()}
    gather([f for name, t in found.items() for f in not_numbers(name, t)], f"{file}: {DAMAGED}", ModelError)
    return found


def header(file: Path) -> dict[str, Stored]:
    """What a safetensors file says that it holds, and does hold to the byte: no gap, no overlap, nothing said twice.

    Raises ModelError that lists all that is wrong. Reads the header only, which is at most 2 MB.
    """

    def unreadable(why: str) -> str:
        return f"{file}: not a readable safetensors file ({why}). Fetch or save the folder anew."

    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 2 <= length <= size - 8:
                raise ModelError(unreadable(f"a header of {length:,} bytes in a file of {size:,}"))
            if length > _LARGEST_HEADER:
                raise ModelError(unreadable(f"a header of {length:,} bytes; at most {_LARGEST_HEADER:,} are read"))
            content = _parse(opened.read(length), 100 + length // 12)  # of a tensor, three stand in 50 bytes
    except OSError as error:
        raise ModelError(unreadable(str(error.strerror))) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(unreadable(f"its header: {error}")) from None
    about = content.pop("__metadata__", {})
    faults = (
        [] if isinstance(about, dict) and all(isinstance(text, str) for text in about.values()) else ["__metadata__"]
    )
    found, spans = {}, []
    for name, entry in content.items():
        if (span := _span(entry)) is None:
            faults.append(f"{name[:200]}: {brief(entry)}")
        else:
            spans.append((*span, name))
            found[name] = Stored(file, _DTYPES[entry["dtype"]], torch.Size(entry["shape"]), 8 + length + span[0])
    gather(faults, unreadable("what its header says of these can't be true"), ModelError)
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            faults.append(f"{name}: begins at byte {start:,}, where {end:,} was expected")
        end = stop
    if end != size - 8 - length:
        faults.append(f"its tensors end at byte {end:,}, its content at {size - 8 - length:,}")
    gather(faults, unreadable("gaps or overlaps"), ModelError)
    return found


def _span(entry: Any) -> tuple[int, int] | None:
    """Where the bytes of a tensor stand; None for an entry that is not to the letter one of a tensor that can be read."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        return None
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES or not isinstance(shape, list) or len(shape) > 8:
        return None
    if not isinstance(offsets, list) or len(offsets) != 2:
        return None
    if not all(type(number) is int and 0 <= number < 2**48 for number in (*shape, *offsets)):
        return None
    if max(shape, default=0) >= 2**31 or offsets[1] - offsets[0] != math.prod(shape) * _DTYPES[dtype].itemsize:
        return None
    return offsets[0], offsets[1]


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises ModelError for a file that is too large or anything else; FileNotFoundError."""
    try:
        if (size := file.stat().st_size) > LARGEST_JSON:
            raise ModelError(f"{file}: {size / 1e6:,.0f} MB; at most {LARGEST_JSON / 1e6:,.0f} MB are read")
        return _parse(file.read_bytes(), 10_000)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: not a readable JSON object ({error})") from None


def _parse(raw: bytes, most: int) -> dict[str, Any]:
    """Strict JSON: an object; no key twice, no NaN, no half of a character, at most so many brackets (which take fifty times their
    place in memory). Raises ValueError or RecursionError."""
    if (brackets := raw.count(b"[") + raw.count(b"{")) > most:
        raise ValueError(f"{brackets:,} lists and objects")
    content = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, found a {type(content).__name__}")
    if b"\\u" in raw:
        json.dumps(content, ensure_ascii=False).encode()  # raises ValueError for half of a character
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key '{twice[:200]}' is given twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON's")


def _no_weights(folder: Path) -> str:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if not pickles:
        return f"{folder}: no weights here. A model folder holds {FILE} beside config.json; was the run finished?"
    return (
        f"{folder}: only {', '.join(pickles)}: a format that can run code when it is opened, so Yanmo does not. Where you trust the file, "
        f'rewrite it elsewhere: python -c "from transformers import AutoModel; '
        f"AutoModel.from_pretrained('{folder}').save_pretrained('{folder}-safe')\""
    )
