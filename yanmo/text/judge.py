"""A block of rows -> which of them the rules change or drop, and what each is compared by. Knows texts and rules, no table and no file.

The usual rules leave most texts as they are. Which ones they may touch is seen by the characters of all texts at once, in a tenth of
the time that the rules take, and only these are given to the rules.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np

from yanmo.text import rules
from yanmo.text.clean import HALF_WIDTH, Characters, begins, canonical_each
from yanmo.text.rules import Clean

Texts = tuple[tuple[str, ...], tuple[str, ...]]  # of a row: those that may be changed, those that may not
# The rules that `_doubtful` knows.
_KNOWN = {"unicode", "width", "controls", "spaces", "shortest", "longest", "repeated_characters"}
_SURE, _UNSURE = 1, 2


class Judge:
    """The changes and filters of a rule, as what a process does to a block of rows."""

    def __init__(self, rule: Clean, compared: bool) -> None:
        """compared: whether rows are held against each other, so that each needs a key."""
        self.rule, self.compared = rule, compared
        edits, keeps = rules.chosen(rule)
        self._edits, self._keeps = list(edits.values()), list(keeps.items())
        self._quick = {*edits, *keeps} <= _KNOWN and (rule.repeated_characters or 0) >= 0

    def __call__(self, block: Sequence[Texts]) -> tuple[list[str], dict[int, tuple[str, ...]], dict[int, str]]:
        """(what each row is compared by; the changed texts of a row by its place; the filter that drops a row by its place)."""
        wholes = [old[0] if len(old) == 1 and not others else "" for old, others in block]
        changed: dict[int, tuple[str, ...]] = {}
        dropped: dict[int, str] = {}
        for row in _doubtful(wholes, self.rule).tolist() if self._quick else range(len(block)):
            old, others = block[row]
            new = tuple(map(self._edited, old))
            if new != old:
                changed[row] = new
            wholes[row] = whole = new[0] if len(new) == 1 and not others else "\n".join(filter(None, (*others, *new)))
            if broken := next((name for name, keep in self._keeps if not keep(whole)), ""):
                dropped[row] = broken
        if not self.compared:
            return [""] * len(block), changed, dropped
        # What has neither a letter nor a digit is equal only to itself, and like nothing.
        keys = [key or f"\0{whole}" for key, whole in zip(canonical_each(wholes), wholes, strict=True)]
        return keys, changed, dropped

    def _edited(self, text: str) -> str:
        for edit in self._edits:
            text = edit(text)
        return text


def _doubtful(texts: Sequence[str], rule: Clean) -> np.ndarray:
    """The numbers of the texts that these rules may change or drop, and of those that are empty. All others they leave."""
    whole = " ".join(["", *texts, ""])
    codes, kinds = Characters.codes(whole), _KINDS(whole)
    same = codes[1:] == codes[:-1]
    places = [
        np.flatnonzero(kinds == _UNSURE),
        np.flatnonzero(same & (codes[1:] == ord(" "))) + 1,  # also of a space that a text begins or ends with
        np.flatnonzero(same[3:] & same[2:-1] & same[1:-2] & same[:-3]) + 4,  # five of one sign
    ]
    sizes = np.array([len(text) for text in texts], np.int64)
    rows = np.searchsorted(np.cumsum(sizes + 1), np.concatenate(places))
    short = sizes < max(rule.shortest, 1)
    long = sizes > (rule.longest or sizes.max(initial=0))
    return np.unique(np.concatenate([rows, np.flatnonzero(short | long)]))


def _kind(character: str) -> int:
    """May one of these rules change this character, or what stands before it because of it?"""
    sure = character.isprintable() and ord(character) not in HALF_WIDTH and begins(character)
    return _SURE if sure and unicodedata.is_normalized("NFC", character) else _UNSURE


_KINDS = Characters(_kind)
