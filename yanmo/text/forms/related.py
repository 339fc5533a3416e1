"""A sentence in which two names are marked, and how the first is related to the second: marks (head, tail), one label.

The names are marked by <e1> and <e2> in the sentence, as in SemEval-2010 task 8, or stand in columns of their own: alone, or as an object
with the place ({"text": ..., "start": ..., "end": ...}). A name without a place is taken where it first stands in the sentence, one
whose place is wrong at the nearest place where it stands.
"""

import re
from typing import Any

from yanmo.text.columns import COLUMNS
from yanmo.text.forms.base import Fields, Form, Mark, Parsed, Picked, Unfit, word
from yanmo.text.forms.place import nearest

_TAG = re.compile(r"</?e([12])>")
_NAMES = {  # what people call the two columns
    "head": ("head", "subject", "subj", "e1", "entity1", "h"),
    "tail": ("tail", "object", "obj", "e2", "entity2", "t"),
}
_MOVED = "a name that does not stand at its place is taken at the nearest place where it does"


def read(fields: Fields, picked: Picked, labelled: bool) -> Parsed:
    text, relation = word(fields.get(picked["text"])), word(fields.get(picked.get("label", "")))
    if labelled and not relation:
        raise Unfit(f"column '{picked['label']}' is empty; give the row a relation or remove it")
    labels = (relation,) if relation else ()
    if _TAG.search(text):
        return Parsed(*_marked(text, labels))
    marks, mended = [], ""
    for which, names in _NAMES.items():
        column = next((column for name in names for column in fields if column.lower() == name), None)
        if column is None:
            raise Unfit(f"no column for the {which}, and no <e1> and <e2> in the text; call it '{which}'")
        mark, moved = _place(text, fields[column], column)
        marks.append(mark)
        mended = mended or (_MOVED if moved else "")
    if marks[0] == marks[1] and (again := text.find(text[slice(*marks[0])], marks[0][1])) >= 0:
        marks[1] = (again, again + marks[0][1] - marks[0][0])  # one name twice: the second time it is the tail
    return Parsed((text,), labels, tuple(marks), mended)


def _marked(text: str, labels: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Mark, ...]]:
    """A sentence with <e1> and <e2> -> the sentence without them, and where they were."""
    plain, end = "", 0
    places: dict[str, int] = {}
    for tag in _TAG.finditer(text):
        plain += text[end : tag.start()]
        end = tag.end()
        places.setdefault(tag[0], len(plain))
    plain += text[end:]
    marks = tuple((places.get(f"<e{n}>", -1), places.get(f"</e{n}>", -1)) for n in (1, 2))
    if len(_TAG.findall(text)) != 4 or not all(0 <= start < stop for start, stop in marks):
        raise Unfit(f"expected one <e1>...</e1> and one <e2>...</e2> in the text: {text!r:.60}")
    return (plain,), labels, marks


def _place(text: str, value: Any, column: str) -> tuple[Mark, bool]:
    """(where a name stands, whether it was said to stand elsewhere)."""
    start = end = None
    name = value
    if isinstance(value, dict):
        name = next((value[key] for key in ("text", "name", "word") if key in value), None)
        start, end = value.get("start"), value.get("end")
        if isinstance(place := value.get("pos"), list) and len(place) == 2:
            start, end = place
    if name is None and isinstance(start, int) and isinstance(end, int):
        if not 0 <= start < end <= len(text):
            raise Unfit(f"column '{column}' names the characters {start} to {end} of a text that has {len(text)}")
        return (start, end), False
    if not (wanted := word(name)):
        raise Unfit(f"column '{column}' is empty; name what stands in the text")
    found = nearest(text, wanted, start if isinstance(start, int) else None)
    if found is None:
        raise Unfit(
            f"'{wanted:.40}' of column '{column}' does not stand in the text; mend one of them, or remove the row"
        )
    return found, isinstance(start, int) and found[0] != start


FORM = Form(
    read,
    {"text": COLUMNS["text"], "pair": (), "label": ("relation", *COLUMNS["label"])},
    asked=lambda example: (example.texts, example.marks),
)
