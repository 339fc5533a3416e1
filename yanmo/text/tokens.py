"""Text larger than memory -> token shards on disk.

`prepare` streams documents through a tokeniser into a folder of shards; killed anywhere and given again, it goes on behind the last
finished shard and ends with the same bytes. `load` holds the folder against its sums and maps it. (`mixture.py` makes rows of it.)

A folder of shards:

    shards.json              what was asked for (tokeniser, inputs with sha256, tokens of a shard) and, at the end, the counts
    tokenizer.json           the tokeniser
    shard-00000.safetensors  tokens (tokens,) uint16 or uint32, without special tokens; ends (documents,) where each document ends
                             in them; positions (documents,) of `split.position`; a document is never cut between shards
    manifest.json            sha256 of all these, written last: a folder without it is not finished
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from yanmo import files, settings
from yanmo.errors import DataError, SettingsError, brief, gather
from yanmo.progress import bar
from yanmo.text import sources, split, tokenizer, workers
from yanmo.text.tokenizer import Tokenizer

INDEX = "shards.json"
HELD_OUT = 0.02  # the share of the documents that is kept for scoring where no other is given
SHARD_TOKENS = 1 << 24  # what a kill costs at most: some seconds of encoding


# ---- writing


def prepare(
    paths: Sequence[Path], cutter: Tokenizer, folder: Path, *, shard_tokens: int = SHARD_TOKENS
) -> dict[str, Any]:
    """Encode every document of the files (plain text: one a line) into `folder`; returns what shards.json holds.

    A shard is closed by the document that brings it to `shard_tokens`. Shards that stand and are whole are kept; where all do, nothing
    is encoded. Held in memory are one shard and what is being encoded. Raises DataError for files that can't be read, before anything
    is written, and SettingsError where `folder` holds something else.
    """
    sources.present(paths)
    with bar("reading"):
        asked = {
            "version": 1,
            "tokenizer": identity(cutter),
            "shard_tokens": shard_tokens,
            "inputs": {str(path): files.sha256(path) for path in paths},
        }
        if (record := _finished(folder, asked)) is not None:
            if (folder / files.LOCK).exists():  # left by a process that was killed behind its last write
                with files.lock(folder):
                    pass
            return record
        documents = {path: _count(path) for path in paths}
    total = sum(documents.values())
    kind = np.uint16 if max(cutter.inner.get_vocab().values()) <= np.iinfo(np.uint16).max else np.uint32
    with files.lock(folder):
        files.mend(folder)
        _claim(folder, asked)
        cutter.save(folder)
        shards: list[dict[str, int]] = []
        stream: Iterator[Documents] | None = None
        done = 0
        with bar("encoding", total, unit="documents") as advance:
            while done < total:
                path = folder / _name(len(shards))
                counts = _counts(path)
                if counts is None:
                    stream = stream or _shards(_encoded(documents, cutter, done, kind), shard_tokens)
                    counts = _write(path, next(stream))
                else:
                    stream = None
                shards.append(counts)
                done += counts["documents"]
                advance(counts["documents"])
        sums = {name: sum(shard[name] for shard in shards) for name in ("documents", "tokens")}
        record = {"asked": asked, **sums, "shards": shards}
        files.write_json(folder / INDEX, record)
        files.seal(folder, [INDEX, tokenizer.FILE, *map(_name, range(len(shards)))])
    return record


def identity(cutter: Tokenizer) -> str:
    """sha256 of what decides a tokeniser's ids. How its file is laid out does not matter, nor do the scores of unigram pieces, which
    the library reads back one unit in the last place away."""
    content = json.loads(cutter.inner.to_str())
    if content["model"].get("type") == "Unigram":
        content["model"]["vocab"] = [piece for piece, _ in content["model"]["vocab"]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _name(number: int) -> str:
    return f"shard-{number:05d}.safetensors"


def _count(path: Path) -> int:
    count = sum(1 for _ in sources.texts(path))
    if not count:
        raise DataError(f"{path}: the file has no text. Expected one document a line.")
    return count


def _finished(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """What shards.json holds, if just what is asked for stands there whole."""
    if not (folder / files.MANIFEST).is_file() or files.changed(folder):
        return None
    if _index(folder, "asked") != asked:
        return None
    record: dict[str, Any] = json.loads((folder / INDEX).read_text("utf-8"))
    return record


def _claim(folder: Path, asked: Mapping[str, Any]) -> None:
    """Make the folder this work's, or find that it is."""
    index = folder / INDEX
    if index.exists():
        if changed := settings.differences(_index(folder, "asked"), asked):
            listed = "\n  ".join([f"{folder}: other shards stand here:", *changed])
            raise SettingsError(f"{listed}\nGive another out=..., or remove the folder.")
    elif others := [path.name for path in folder.iterdir() if path.name != files.LOCK]:
        raise SettingsError(
            f"{folder}: holds other files ({', '.join(sorted(others)[:3])}); give an empty folder as out=..."
        )
    else:
        files.write_json(index, {"asked": asked})


class Documents(NamedTuple):
    """Some that follow each other: the arrays of a shard."""

    tokens: np.ndarray
    ends: np.ndarray
    positions: np.ndarray

    def cut(self, count: int) -> "tuple[Documents, Documents]":
        """The first `count` of them, at least one, and the rest."""
        at = int(self.ends[count - 1])
        first = Documents(self.tokens[:at], self.ends[:count], self.positions[:count])
        return first, Documents(self.tokens[at:], self.ends[count:] - at, self.positions[count:])


def _encoded(
    documents: Mapping[Path, int], cutter: Tokenizer, done: int, kind: type[np.generic]
) -> Iterator[Documents]:
    """Every document behind the first `done`, a block at a time."""
    texts = []
    for path, count in documents.items():
        if done < count:
            texts.append(islice(sources.texts(path), done, None))
        done = max(0, done - count)

    def encode(block: list[str]) -> Documents:
        ids, ends = cutter.encode_here(block)
        return Documents(ids.astype(kind), ends, split.positions(block))

    return workers.over(encode, tokenizer.blocks(chain.from_iterable(texts)))


def _shards(blocks: Iterable[Documents], shard_tokens: int) -> Iterator[Documents]:
    """The same documents, as many together as stand in a shard."""
    held: list[Documents] = []
    size = 0
    for block in blocks:
        while size + len(block.tokens) >= shard_tokens:
            first, block = block.cut(1 + int(np.searchsorted(block.ends, shard_tokens - size)))
            yield _joined([*held, first])
            held, size = [], 0
        held.append(block)
        size += len(block.tokens)
    if any(len(block.ends) for block in held):
        yield _joined(held)


def _joined(parts: Sequence[Documents]) -> Documents:
    begins = accumulate((len(part.tokens) for part in parts[:-1]), initial=0)
    return Documents(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.ends + begin for part, begin in zip(parts, begins, strict=True)]),
        np.concatenate([part.positions for part in parts]),
    )


def _write(path: Path, documents: Documents) -> dict[str, int]:
    """Put a shard at `path`, with a sum of its own: the manifest comes only when all shards stand."""
    arrays = documents._asdict()
    # As bytes: the library's own way to a file leaves a temporary name of its own behind when it is killed.
    files.write_file(path, save(arrays, {"sha256": _sum(arrays)}))
    return {"documents": len(documents.ends), "tokens": len(documents.tokens)}


def _sum(arrays: Mapping[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name in sorted(arrays):
        total.update(arrays[name].data)
    return total.hexdigest()


def _counts(path: Path) -> dict[str, int] | None:
    """What a shard holds; None when it is not there, or not what was written."""
    try:
        with safe_open(path, "numpy") as file:
            known = (file.metadata() or {}).get("sha256")
        arrays = load_file(path)
        if _sum(arrays) != known:
            return None
        return {"documents": len(arrays["ends"]), "tokens": len(arrays["tokens"])}
    except (OSError, SafetensorError, KeyError):
        return None


# ---- reading


def is_shards(path: Path) -> bool:
    """A folder that `prepare` has begun."""
    return (path / INDEX).is_file()


@dataclass(frozen=True, eq=False)
class Shards:
    """A folder of shards, mapped: what is read of it comes into memory, and goes when memory is short."""

    folder: Path
    tokenizer: Tokenizer
    tokens: list[np.ndarray]  # of each shard (tokens,)
    ends: list[np.ndarray]  # of each shard (documents,)
    positions: np.ndarray  # (all documents,)
    sizes: np.ndarray  # (all documents,) tokens of each
    bases: list[int]  # of each shard, the number of its first document

    def ids(self, document: int) -> np.ndarray:
        """The token ids of a document, without special tokens."""
        shard = bisect_right(self.bases, document) - 1
        ends, local = self.ends[shard], document - self.bases[shard]
        return self.tokens[shard][ends[local - 1] if local else 0 : ends[local]]

    def first(self, documents: np.ndarray, most: int) -> list[np.ndarray]:
        """The token ids of as many of the documents, from the first on, as have together at most `most` tokens."""
        count = int(np.searchsorted(np.cumsum(self.sizes[documents]), most, "right"))
        return [self.ids(int(document)) for document in documents[:count]]

    def check(self, cutter: Tokenizer) -> None:
        """Raise DataError unless this is the tokeniser that the shards were made with."""
        if identity(cutter) != identity(self.tokenizer):
            raise DataError(
                f"{self.folder}: these shards were made with another tokeniser than this model's. Encode the text again with "
                f"tokenizer.base=MODEL, or leave model.base and tokenizer.base out: the shards bring their own."
            )

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the documents to train on, and of a fiftieth, by the hash of their text, to score."""
        held_out = self.positions < HELD_OUT
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def load(folder: Path) -> Shards:
    """Open a folder that `prepare` has finished. Raises DataError for one that is not finished, or naming each file that is damaged."""
    if not (folder / files.MANIFEST).is_file():
        raise DataError(
            f"{folder}: these shards are not finished. Give the `yanmo tokenizer encode` command again; it goes on."
        )
    gather(files.changed(folder), f"{folder}: damaged; `yanmo tokenizer encode` makes what is missing anew:", DataError)
    shards = [_map(folder / _name(number)) for number in range(len(_index(folder, "shards")))]
    sizes = [np.diff(shard.ends, prepend=0) for shard in shards]
    return Shards(
        folder,
        tokenizer.load(folder),
        [shard.tokens for shard in shards],
        [shard.ends for shard in shards],
        np.concatenate([shard.positions for shard in shards]),
        np.concatenate(sizes),
        [0, *accumulate(len(each) for each in sizes[:-1])],
    )


def _index(folder: Path, key: str) -> Any:
    path = folder / INDEX
    try:
        return json.loads(path.read_text("utf-8"))[key]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: can't be read ({error!r}). Remove the folder and encode the text again.") from None


def _map(path: Path) -> Documents:
    """The arrays of a shard, mapped and not read. Raises DataError."""
    try:
        arrays = files.mapped(path)
        found = Documents(*(arrays[name].reshape(-1) for name in Documents._fields))
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a shard of documents ({brief(error)})") from None
    bounds = np.concatenate([[0], found.ends, [len(found.tokens)]])
    if [part.dtype.kind for part in found] != ["u", "i", "f"] or len(found.ends) != len(found.positions):
        raise DataError(f"{path}: not a shard of documents (of other kinds or numbers)")
    if bounds[-2] != bounds[-1] or (np.diff(bounds) < 0).any():
        raise DataError(f"{path}: not a shard of documents (they don't end where its tokens do)")
    return found
