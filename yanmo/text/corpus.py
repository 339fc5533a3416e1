"""What a model is pre-trained on: text files, which are held in memory, or folders of shards (`tokens`), which need not fit.

Either way it becomes rows to train on and rows to score; a document falls to one of the two by the hash of its text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from yanmo import files
from yanmo.errors import DataError, SettingsError
from yanmo.progress import say
from yanmo.settings import Block
from yanmo.text import formats, mixture, sources, tokens
from yanmo.text.clean import language
from yanmo.text.sources import Example
from yanmo.text.split import position
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings


class Texts(Block):
    train: Path | list[Path] | None = Field(
        None,
        description="text files, one document a line; folders or .zips of them; or folders of shards (yanmo tokenizer encode)",
    )
    weights: list[Annotated[float, Field(gt=0)]] | None = Field(
        None, description="of the folders of shards: the share of each in the training tokens; null: by their sizes"
    )
    dev: Path | None = Field(
        None,
        description="held-out text, or a folder of shards; null: the dev part of train's folder, or a fiftieth of train, by hash",
    )


@dataclass(frozen=True)
class Corpus:
    """What was read, before there is a tokeniser to cut it into rows."""

    texts: Sequence[str]  # to train on; none of shards, which have their tokeniser
    documents: Callable[[Tokenizer], Sequence[np.ndarray]]  # the texts' token ids, encoded once; of shards a beginning
    inputs: dict[str, str]  # file -> sha256
    language: str
    # (tokeniser, tokens of a row, unbroken: see `chunks.Cut`) -> rows to train on and to score
    rows: Callable[[Tokenizer, int, bool], tuple[Sequence[Example], Sequence[Example]]]


_FEW = "too few texts to hold some out (a line is a text: each document or paragraph on one of its own). Give data.dev=FILE or more text"
_LEARNT = 1 << 22  # tokens of shards that a family may learn from


def cutter(data: Texts, asked: TokenizerSettings) -> TokenizerSettings:
    """The tokeniser asked for; where none is named, that of the shards."""
    first = sources.listed(data.train)[0]
    return asked.model_copy(update={"base": first}) if asked.base is None and tokens.is_shards(first) else asked


def parts(data: Texts) -> tuple[list[Path], list[Path]]:
    """The files to train on, and those held out. A folder or archive of text stands for its train part, or for all files that are
    neither its dev nor its test part; and for its dev part, where data.dev names none."""
    sources.present([*sources.listed(data.train), *([data.dev] if data.dev else [])])
    train: list[Path] = []
    dev = [data.dev] if data.dev and tokens.is_shards(data.dev) else sources.part(data.dev, "dev") if data.dev else []
    for path in sources.listed(data.train):
        if tokens.is_shards(path) or not formats.is_set(path):
            train.append(path)
            continue
        sources.refuse_model(path)
        whole = formats.splits(path)
        free = [file for name, files in whole.items() if name not in sources.PARTS for file in files]
        train += whole.get("train") or free or sources.part(path, "train")
        if data.dev is None and ("train" in whole or free):
            dev += whole.get("dev", [])
    return train, dev


def read(data: Texts) -> Corpus:
    """Raises DataError for what can't be read, is damaged or too little, SettingsError for what does not go together."""
    paths, dev = parts(data)
    if any(formats.is_set(path) and not tokens.is_shards(path) for path in sources.listed(data.train)):
        say(sources.told({"train": paths, "dev": dev} if dev else {"train": paths}))
    folders = [path for path in paths if tokens.is_shards(path)]
    if folders and len(folders) < len(paths):
        other = next(path for path in paths if path not in folders)
        raise SettingsError(f"data.train: {folders[0]} has shards and {other} is text; encode that, too")
    if data.weights is not None and len(data.weights) != len(folders):
        raise SettingsError(f"data.weights: {len(data.weights)} weights for {len(folders)} folders of shards")
    return _read_shards(folders, dev, data.weights) if folders else _read_texts(paths, dev)


def _read_texts(paths: Sequence[Path], apart: Sequence[Path]) -> Corpus:
    train = [text for path in paths for text in sources.read_texts(path)]
    dev: list[str] = []
    if not apart:
        positions = [position(text) for text in train]
        dev = [text for text, place in zip(train, positions, strict=True) if place < tokens.HELD_OUT]
        train = [text for text, place in zip(train, positions, strict=True) if place >= tokens.HELD_OUT]
        if not dev or not train:
            raise DataError(f"{paths[0]}: {_FEW}")

    @cache
    def documents(tokeniser: Tokenizer) -> Sequence[np.ndarray]:
        return tokeniser.encode_all(train)

    def rows(tokeniser: Tokenizer, longest: int, unbroken: bool) -> tuple[Sequence[Example], Sequence[Example]]:
        train_rows = tokeniser.chunks(documents(tokeniser), longest, "train", unbroken=unbroken)
        if apart:
            return train_rows, _dev_rows(apart, tokeniser, longest, unbroken)
        return train_rows, tokeniser.chunks(tokeniser.encode_each(dev), longest, "dev", unbroken=unbroken)

    return Corpus(train, documents, sources.hashes(paths) | _inputs_of_dev(apart), language(train), rows)


def _read_shards(folders: Sequence[Path], apart: Sequence[Path], weights: Sequence[float] | None) -> Corpus:
    corpora = [tokens.load(folder) for folder in folders]
    parts = [each.split() if not apart else (np.arange(len(each.sizes)), np.arange(0)) for each in corpora]
    inputs = {str(folder / files.MANIFEST): files.sha256(folder / files.MANIFEST) for folder in folders}
    sample = [corpora[0].ids(int(number)) for number in parts[0][0][:200]]
    spoken = language([corpora[0].tokenizer.decode(ids.tolist()) for ids in sample])
    beginning = [ids for each, (train, _) in zip(corpora, parts, strict=True) for ids in each.first(train, _LEARNT)]

    def rows(tokeniser: Tokenizer, longest: int, unbroken: bool) -> tuple[Sequence[Example], Sequence[Example]]:
        for each in corpora:
            each.check(tokeniser)
        made = [
            [
                mixture.Rows(each, numbers, longest, name, unbroken=unbroken)
                for name, numbers in zip(("train", "dev"), part, strict=True)
            ]
            for each, part in zip(corpora, parts, strict=True)
        ]
        train, dev = ([rows for rows in each if len(rows)] for each in zip(*made, strict=True))
        if len(train) < len(corpora) or not (dev or apart):
            raise DataError(f"{folders[0]}: {_FEW}")
        held_out = _dev_rows(apart, tokeniser, longest, unbroken) if apart else _joined(dev, [1.0] * len(dev))
        return _joined(train, weights or [int(each.lengths.sum()) for each in train]), held_out

    return Corpus((), lambda _: beginning, inputs | _inputs_of_dev(apart), spoken, rows)


def _joined(rows: Sequence[mixture.Rows], weights: Sequence[float]) -> Sequence[Example]:
    return rows[0] if len(rows) == 1 else mixture.Mixture(dict(zip(rows, weights, strict=True)))


def _dev_rows(paths: Sequence[Path], tokeniser: Tokenizer, longest: int, unbroken: bool) -> Sequence[Example]:
    if not tokens.is_shards(paths[0]):
        texts = (text for path in paths for text in sources.read_texts(path))
        return tokeniser.chunks(tokeniser.encode_each(texts), longest, "dev", unbroken=unbroken)
    shards = tokens.load(paths[0])
    shards.check(tokeniser)
    return mixture.Rows(shards, np.arange(len(shards.sizes)), longest, "dev", unbroken=unbroken)


def _inputs_of_dev(paths: Sequence[Path]) -> dict[str, str]:
    return sources.hashes(path / files.MANIFEST if tokens.is_shards(path) else path for path in paths)
