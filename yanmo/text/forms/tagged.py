"""Words with a tag each: one text, a mark where each word stands in it, a label a word.

Words that come as a list are joined as they are usually written: with a space between two, but not beside a Chinese character,
nor between single characters of a Chinese row (data sets that tag by character cut numbers and foreign words up, too). A text without
tags stays whole: its words are the task's to find. The tags of a file, whatever their scheme, become IOB2, or stay what they are where
they are parts of speech; those that break their scheme are mended, those that are of none are refused.
"""

import re
from collections.abc import Sequence
from typing import Any

from yanmo.text import tagging
from yanmo.text.columns import COLUMNS
from yanmo.text.formats.names import USUAL
from yanmo.text.forms.base import Fields, Form, Labels, Mark, Parsed, Picked, Settled, Unfit, word

_CLOSED = re.compile(
    "[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
)  # written without spaces


def read(fields: Fields, picked: Picked, labelled: bool) -> Parsed:
    value = fields.get(picked["text"])
    if isinstance(value, str) and not labelled:
        return Parsed((value.strip(),))
    words = _list(value, picked["text"])
    if not words:
        raise Unfit(f"column '{picked['text']}' has no words; remove the row")
    if not all(words):
        raise Unfit(f"word {words.index('') + 1} of column '{picked['text']}' is empty; remove it, with its tag")
    tags = _list(fields.get(picked["label"]), picked["label"]) if "label" in picked else []
    text, marks = joined(words)
    if len(tags) != len(words) or not all(tags):
        if labelled:
            counted = (
                f"{len(words):,} words in '{picked['text']}', but {sum(map(bool, tags)):,} tags in '{picked['label']}'"
            )
            raise Unfit(f"{counted}; give each word its tag")
        tags = []
    return Parsed((text,), tuple(tags), marks)


def settle(rows: Sequence[Labels]) -> Settled:
    scheme = tagging.recognise(rows)
    if scheme == tagging.PLAIN:
        return Settled(rows, (), "", ())
    strange = {tag for row in rows for tag in row if not tagging.fits(tag)}
    faults = [
        (number, place, f"'{tag}' is no tag of {scheme}; expected O, or a letter, a hyphen and a type, such as B-PER")
        for number, row in enumerate(rows)
        for place, tag in enumerate(row)
        if tag in strange
    ]
    rule = (
        f"tags that break {scheme} are read as conlleval reads them (a span begins with the first tag of its type, and ends where "
        "that does)"
    )
    return Settled(
        [tuple(tagging.converted(row, "IOB2")) for row in rows], list(tagging.breaks(rows, scheme)), rule, faults
    )


def _list(value: Any, name: str) -> list[str]:
    found = value.split() if isinstance(value, str) else value or []
    if not isinstance(found, list) or any(isinstance(each, (list, dict)) for each in found):
        raise Unfit(f"column '{name}' holds no list of words: {value!r:.60}")
    return list(map(word, found))


def joined(words: Sequence[str]) -> tuple[str, tuple[Mark, ...]]:
    """(the words as one text, where each stands in it)."""
    chinese = any(map(_CLOSED.search, words))
    text = ""
    marks: list[Mark] = []
    for each in words:
        if text and not (_CLOSED.match(text[-1]) or _CLOSED.match(each[0])):
            alone = chinese and len(each) == 1 and marks[-1][1] - marks[-1][0] == 1
            text += "" if alone else " "
        marks.append((len(text), len(text) + len(each)))
        text += each
    return text, tuple(marks)


FORM = Form(
    read,
    {
        "text": (*USUAL["tokens"], *COLUMNS["text"]),
        "pair": (),
        "label": ("tags", "ner_tags", "pos_tags", *COLUMNS["label"]),
    },
    settle=settle,
)
