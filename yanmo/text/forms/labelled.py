"""A text, or a pair of texts, with a label or several."""

import json
from typing import Any

from yanmo.text.columns import COLUMNS
from yanmo.text.forms.base import Fields, Form, Parsed, Picked, Unfit, word


def read(fields: Fields, picked: Picked, labelled: bool) -> Parsed:
    names = [picked[name] for name in ("text", "pair") if name in picked]
    texts = [fields.get(name) for name in names]
    label = fields.get(picked["label"]) if "label" in picked else None
    several = label if isinstance(label, list) else [label]
    nested = [(name, text) for name, text in zip(names, texts, strict=True) if not _plain(text)]
    nested += [(picked["label"], label) for one in several if not _plain(one)]
    words = tuple(map(word, texts))
    labels = tuple(each for one in several if (each := word(one)))
    if nested:
        name, value = nested[0]
        shown = json.dumps(value, ensure_ascii=False)
        raise Unfit(f"column '{name}' holds {shown:.60}; expected a word or number alone")
    if labelled and not any(words):
        raise Unfit(f"column '{names[0]}' is empty; remove the row")
    if labelled and not labels:
        raise Unfit(f"column '{picked['label']}' is empty; give the row a label or remove it")
    return Parsed(words, labels)


def _plain(value: Any) -> bool:
    return not isinstance(value, (list, dict))


FORM = Form(read, COLUMNS, lines="label text")
