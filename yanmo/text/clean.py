"""Text -> cleaner text: as people and models read it (`normalise`), and as rows are compared (`canonical`).

Knows Unicode, and what full-width means in Chinese text. Knows no rows, labels or files.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

# Of full-width ASCII these are Chinese punctuation, and meant; the rest was typed in the wrong mode.
_CHINESE_PUNCTUATION = "！（），：；？～"
HALF_WIDTH = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F) if chr(wide) not in _CHINESE_PUNCTUATION}
# Control characters that are no white space, invisible marks, and halves of surrogate pairs, which UTF-8 can't hold.
# The joiners U+200C and U+200D stay: emoji and several scripts need them.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff]+"
)
_CHINESE = re.compile("[\u3400-\u9fff]")
_NEITHER_LETTER_NOR_DIGIT = re.compile(r"[\W_]+")
_OF_ASCII = bytes(code for code in range(128) if not chr(code).isalnum())


def normalise(text: str) -> str:
    """Text as it should be read: NFC; full-width letters, digits, signs and spaces made half width, but not Chinese
    punctuation; control and invisible characters dropped; every run of white space one space, none at the ends.

    Idempotent. It never changes what `canonical` gives.
    """
    visible = INVISIBLE.sub("", text).translate(HALF_WIDTH)
    # Composed last: what was dropped may have stood between a letter and its accent.
    return " ".join(unicodedata.normalize("NFC", visible).split())


def canonical(text: str) -> str:
    """Text as rows are compared: NFKC, case folded, letters and digits only; empty if it has none."""
    if text.isascii():  # nothing to compose: the same in a tenth of the time
        return text.lower().encode().translate(None, _OF_ASCII).decode()
    # Composed again after folding, which can take letters apart (ΐ): a bare accent is no letter and would be lost.
    folded = unicodedata.normalize("NFKC", INVISIBLE.sub("", text)).casefold()
    return _NEITHER_LETTER_NOR_DIGIT.sub("", unicodedata.normalize("NFKC", folded))


class Characters:
    """A table by code point, filled as characters are met."""

    def __init__(self, entry: Callable[[str], int]) -> None:
        """entry: what stands in the table for a character; not 0."""
        self._entry = entry
        self._table = np.zeros(0x110000, np.uint32)

    @staticmethod
    def codes(text: str) -> np.ndarray:
        """(characters,) uint32 code points."""
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)

    def __call__(self, text: str) -> np.ndarray:
        """(characters,) uint32: the entry of each."""
        codes = self.codes(text)
        found: np.ndarray = self._table[codes]
        if not found.all():
            new = np.unique(codes[found == 0])
            self._table[new] = [*map(self._entry, map(chr, new))]
            found = self._table[codes]
        return found


def begins(text: str) -> bool:
    """Is there no character that a text may end with and that would be composed with this text behind it?"""
    first = unicodedata.normalize("NFKD", text)[:1]
    return not (unicodedata.category(first).startswith("M") or "\u1160" <= first <= "\u11ff") if first else True


_DROPPED, _ODD = 1, 2


def _canonical_code(character: str) -> int:
    """The one character of its canonical form, or that it has none; odd is what has several, or may join what stands before it."""
    if character == "\n":  # what stands between two texts
        return ord(character)
    form = canonical(character)
    if len(form) > 1 or not (begins(character) and begins(form)):
        return _ODD
    return ord(form) if form else _DROPPED


_CANONICAL = Characters(_canonical_code)


def canonical_each(texts: Sequence[str]) -> list[str]:
    """`canonical` of each text; of many texts in a fifth of the time."""
    found = _CANONICAL("".join([text.replace("\n", " ") + "\n" for text in texts]))
    rows = found[found != _DROPPED].tobytes().decode("utf-32-le").split("\n")[:-1]
    return [canonical(text) if chr(_ODD) in row else row for text, row in zip(texts, rows, strict=True)]


def language(texts: Sequence[str]) -> str:
    """'zh' where a good part of the letters are Chinese, else 'en': enough to choose between characters and words."""
    sample = "".join(texts[:2000])
    return "zh" if len(_CHINESE.findall(sample)) > 0.2 * len(sample) else "en"
