"""`yanmo embed RUN in.txt out=vectors.npy` (or .jsonl), or lines on standard input: a vector a text, by the folder's own pooling."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from pydantic import Field

from yanmo import files, hub, machine, runs
from yanmo.engine import Engine, load
from yanmo.errors import DataError, SettingsError, gather, some
from yanmo.machine import Machine
from yanmo.progress import bar, say
from yanmo.settings import Block, Words
from yanmo.text import formats, sources
from yanmo.text.columns import Columns

_BLOCK = 1024  # texts that are embedded before their vectors are written
_FORMATS = (".npy", ".jsonl")


class Rows(Block):
    columns: Columns = Field(default_factory=Columns, description="which column is what")


class Settings(Block):
    run: Path | None = Field(
        None,
        description=f"a run folder, any folder of a known family or its name on a hub; null: {hub.embedded.ENCODER}",
    )
    out: Path | None = Field(None, description="where the vectors go (.npy or .jsonl); null: standard output")
    data: Rows = Field(default_factory=Rows)
    machine: Machine = Field(default_factory=Machine)


def embed(run: str | Path, texts: Sequence[str]) -> np.ndarray:
    """The vectors of texts (texts, width) float32. (For many calls, keep the Engine: `yanmo.load(run).embed(texts)`.)"""
    return vectors(load(run), texts)


def vectors(engine: Engine, texts: Sequence[str]) -> np.ndarray:
    """(texts, width) float32; with a bar where there are many."""
    return np.concatenate([*blocks(engine, texts)])


def blocks(engine: Engine, texts: Sequence[str]) -> Iterator[np.ndarray]:
    """The same, some rows at a time."""
    many = len(texts) > _BLOCK
    with bar(f"embedding {len(texts):,} texts", len(texts), unit="texts") if many else nullcontext() as advance:
        for begin in range(0, max(1, len(texts)), _BLOCK):
            block = texts[begin : begin + _BLOCK]
            yield engine.embed(block).float().cpu().numpy()
            if advance:
                advance(len(block))


def command(words: Words[Settings]) -> None:
    asked = words.settings
    if asked.out is not None and asked.out.suffix.lower() not in _FORMATS:
        raise SettingsError(f"out: '{asked.out}' ends in none of {', '.join(_FORMATS)}, so its format is not known")
    folders, given = runs.apart(words.paths)
    asked.run = folders[-1] if folders else asked.run
    absent = [formats.absent(path) for path in given if not formats.container(path).exists()]
    gather(absent, "expected files of texts (a text itself comes by standard input):", DataError)
    texts = [text for path in given for text in _texts(path, asked)] if given else _standard_input()
    if not texts:
        raise DataError("no text given, not a line")
    if asked.run is None:
        say(f"by {hub.embedded.ENCODER}; another model: yanmo embed RUN ...")
    found = blocks(load(asked.run or hub.embedded.ENCODER, device=machine.prepare(asked.machine)), texts)
    if asked.out is None:
        for line in _lines(found, texts, as_json=words.json):
            sys.stdout.write(line)
    elif asked.out.suffix.lower() == ".npy":
        files.write_file(asked.out, lambda file: _array(file, found, len(texts)))
    else:
        files.write_file(asked.out, lambda file: _text(file, _lines(found, texts, as_json=True)))
    if asked.out is not None:
        say(f"{asked.out}: {some(len(texts), 'vector')}")


def _texts(path: Path, asked: Settings) -> list[str]:
    """A text for each row; of a text file for each line, blank ones too, so that the vectors stay in step with them."""
    if formats.recognise(path).format in ("text", "label text"):
        return [text for _, text in formats.numbered(path)]
    return [" ".join(row.texts) for row in sources.read(path, asked.data.columns, labelled=False)]


def _standard_input() -> list[str]:
    return [text for _, text in sources.decode(sys.stdin.buffer, "standard input")]


def _lines(found: Iterator[np.ndarray], texts: Sequence[str], *, as_json: bool) -> Iterator[str]:
    rows = (row for block in found for row in block.astype(str))  # the shortest digits that give the number back
    for text, row in zip(texts, rows, strict=True):
        vector = [float(number) for number in row]
        yield (json.dumps({"text": text, "vector": vector}, ensure_ascii=False) if as_json else " ".join(row)) + "\n"


def _text(file: Path, lines: Iterator[str]) -> None:
    with file.open("w", encoding="utf-8") as opened:
        opened.writelines(lines)


def _array(file: Path, found: Iterator[np.ndarray], rows: int) -> None:
    first = next(found)
    whole = np.lib.format.open_memmap(file, "w+", np.float32, (rows, first.shape[1]))
    whole[: len(first)] = first
    begin = len(first)
    for block in found:
        whole[begin : begin + len(block)] = block
        begin += len(block)
    whole.flush()
