"""The named rules of cleaning: which changes and filters there are, in their order, and the settings that choose among them.

A change makes text of text (`changes.py`, `personal.py`); a filter keeps a text or names itself as the reason to drop it
(`filters.py`). By default only what harms nobody runs.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

from pydantic import Field

from yanmo.settings import Block
from yanmo.text import changes, filters, personal

Change = Callable[[str], str]
Filter = Callable[[str], bool]

Kind = Literal["EMAIL", "ID", "CARD", "PHONE", "ABROAD", "IP"]


class Clean(Block):
    """A share of null leaves its filter out."""

    mojibake: bool = Field(False, description="set right what was decoded in the wrong encoding (needs yanmo[data])")
    markup: bool = Field(False, description="drop HTML tags and resolve entities")
    unicode: bool = Field(True, description="compose letters and accents (NFC)")
    width: bool = Field(True, description="full-width letters and digits half width")
    simplified: bool = Field(False, description="traditional characters simplified (needs yanmo[zh])")
    controls: bool = Field(True, description="drop control and invisible characters")
    boilerplate: bool = Field(False, description="drop lines of navigation, copyright and sharing")
    spaces: bool = Field(True, description="one space where there are many")
    personal: list[Kind] = Field(
        default_factory=list, description="what to mask: EMAIL, ID, CARD, PHONE, ABROAD (phones abroad), IP"
    )
    shortest: int = Field(1, ge=0, description="characters that a text must have")
    longest: int | None = Field(None, ge=1, description="characters that a text may have; null: any number")
    languages: list[Literal["zh", "en", "other"]] = Field(
        default_factory=list, description="the languages to keep: zh, en, other; none named: all"
    )
    repeated_characters: float | None = Field(0.8, description="the largest share of characters in runs of one sign")
    repeated_lines: float | None = Field(None, description="the largest share of lines that stood before (Gopher: 0.3)")
    repeated_words: float | None = Field(None, description="... in repeated runs of 10 words (Gopher: 0.1)")
    commonest_pair: float | None = Field(None, description="... in the commonest pair of words (Gopher: 0.2)")
    letters: float | None = Field(None, description="the smallest share of letters (Gopher: 0.8 of the words)")
    digits: float | None = Field(None, description="the largest share of digits")
    symbols: float | None = Field(None, description="the most hash signs and ellipses for each word (Gopher: 0.1)")
    ellipses: float | None = Field(None, description="the largest share of lines that end in one (Gopher: 0.3)")
    bullets: float | None = Field(None, description="the largest share of lines that begin with one (Gopher: 0.9)")


# name of the switch -> change, in the order of their running: what changes the encoding first, white space last.
CHANGES: dict[str, Change] = {
    "mojibake": changes.mojibake,
    "markup": changes.markup,
    "unicode": changes.unicode,
    "width": changes.width,
    "simplified": changes.simplified,
    "controls": changes.controls,
    "boilerplate": changes.boilerplate,
    "spaces": changes.spaces,
}
# name of the number -> measure that may not exceed it
MEASURES: dict[str, Callable[[str], float]] = {
    "repeated_characters": filters.repeated_characters,
    "repeated_lines": filters.repeated_lines,
    "repeated_words": filters.repeated_words,
    "commonest_pair": filters.commonest_pair,
    "digits": filters.digit_share,
    "symbols": filters.symbol_share,
    "ellipses": filters.ellipsis_lines,
    "bullets": filters.bullet_lines,
}


def chosen(settings: Clean) -> tuple[dict[str, Change], dict[str, Filter]]:
    """The changes and the filters that these settings ask for, in the order of their running, by name."""
    edits = {name: change for name, change in CHANGES.items() if getattr(settings, name)}
    if settings.personal:
        edits["personal"] = partial(personal.mask, kinds=settings.personal)
    keeps: dict[str, Filter] = {"shortest": lambda text: len(text) >= settings.shortest}
    if settings.longest is not None:
        longest = settings.longest
        keeps["longest"] = lambda text: len(text) <= longest
    if settings.languages:
        keeps["languages"] = lambda text: filters.language(text) in settings.languages
    if settings.letters is not None:
        least = settings.letters
        keeps["letters"] = lambda text: filters.letter_share(text) >= least
    for name, measure in MEASURES.items():
        if (most := getattr(settings, name)) is not None:
            keeps[name] = partial(_within, measure, most)
    return edits, keeps


def _within(measure: Callable[[str], float], most: float, text: str) -> bool:
    return measure(text) <= most
