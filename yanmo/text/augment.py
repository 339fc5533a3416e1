"""More training rows from those that there are: named transforms that a seed repeats, each keeping what the label says (most of the time).

Knows the text of a row, not its label. Deleting, swapping and exchanging words are those of EDA (Wei & Zou 2019, arXiv 1901.11196); in
Chinese a unit is a character, since words have no borders there.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import Field

from yanmo.errors import DataError, SettingsError
from yanmo.settings import Block

Synonyms = Mapping[str, Sequence[str]]
# A Chinese character, a word of another script with the space after it, or any other sign.
_UNITS = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+\s*|[\W_]")


class Augment(Block):
    transforms: list[str] = Field(default_factory=lambda: ["delete", "swap"], description="of: delete, swap, synonym")
    copies: int = Field(1, ge=1, description="new rows for each row and transform")
    rate: float = Field(0.1, gt=0, lt=1, description="share of the units that a transform changes")


def delete(text: str, rate: float, generator: np.random.Generator, synonyms: Synonyms) -> str:
    """Each unit is dropped with probability `rate`; one at least stays."""
    units = _UNITS.findall(text)
    kept = generator.random(len(units)) >= rate
    if not kept.any() and len(units):
        kept[generator.integers(len(units))] = True
    return "".join(unit for unit, stays in zip(units, kept, strict=True) if stays).strip()


def swap(text: str, rate: float, generator: np.random.Generator, synonyms: Synonyms) -> str:
    """A share `rate` of the units, one at least, change places with another."""
    units = _UNITS.findall(text.rstrip())
    if len(units) < 2:
        return text
    if any(unit.endswith(" ") for unit in units):
        units[-1] += " "  # it may come to stand before a word
    for _ in range(max(1, round(rate * len(units)))):
        first, second = generator.choice(len(units), 2, replace=False)
        units[first], units[second] = units[second], units[first]
    return "".join(units).strip()


def synonym(text: str, rate: float, generator: np.random.Generator, synonyms: Synonyms) -> str:
    """Words of the table, the longest first, are exchanged for one of their synonyms: a share `rate` of the text's units, one at least."""
    if not synonyms:
        raise SettingsError(
            "augment.transforms: 'synonym' needs a table; give synonyms=FILE with a word and its synonyms on each line"
        )
    pattern = re.compile("|".join(re.escape(word) for word in sorted(synonyms, key=len, reverse=True)))
    places = [found.span() for found in pattern.finditer(text)]
    wanted = max(1, round(rate * len(_UNITS.findall(text))))
    chosen = sorted(generator.permutation(len(places))[:wanted], reverse=True)
    for place in chosen:
        start, end = places[place]
        others = synonyms[text[start:end]]
        text = text[:start] + others[int(generator.integers(len(others)))] + text[end:]
    return text


Transform = Callable[[str, float, np.random.Generator, Synonyms], str]
TRANSFORMS: dict[str, Transform] = {"delete": delete, "swap": swap, "synonym": synonym}


def augment(text: str, settings: Augment, seed: int, synonyms: Synonyms) -> list[tuple[str, str]]:
    """(transform, new text) of each new row; a transform that changed nothing gives none. A pure function of its arguments."""
    unknown = [name for name in settings.transforms if name not in TRANSFORMS]
    if unknown:
        raise SettingsError(f"augment.transforms: no '{unknown[0]}'; known: {', '.join(TRANSFORMS)}")
    found: list[tuple[str, str]] = []
    for name in settings.transforms:
        for copy in range(settings.copies):
            key = hashlib.blake2b(f"{seed}\0{name}\0{copy}\0{text}".encode(), digest_size=16).digest()
            generator = np.random.Generator(np.random.Philox(key=np.frombuffer(key, np.uint64)))
            new = TRANSFORMS[name](text, settings.rate, generator, synonyms)
            if new and new != text and new not in {other for _, other in found}:
                found.append((name, new))
    return found


def read_synonyms(lines: Sequence[tuple[int, str]], where: str) -> dict[str, list[str]]:
    """A table of a word and its synonyms on each line, with tabs, commas or spaces between; lines: (number, text)."""
    table: dict[str, list[str]] = {}
    for number, text in lines:
        words = [word for word in re.split(r"[\t,，、 ]+", text.strip()) if word]
        if len(words) == 1:
            raise DataError(
                f"{where}:{number}: '{words[0]}' has no synonym beside it; expected: word synonym synonym ..."
            )
        if words:
            table.setdefault(words[0], []).extend(words[1:])
    return table
