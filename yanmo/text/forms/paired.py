"""Texts that belong together or not: a text alone; a pair, with a number that says how near its texts are, or without one; a pair with a
third text that does not belong to the first.

A ranked row is a pair that needs its number: a query, a document, and how relevant it is.
"""

import json
import math
from dataclasses import replace
from typing import Any

from yanmo.text.columns import COLUMNS
from yanmo.text.formats.names import USUAL
from yanmo.text.forms.base import Fields, Form, Parsed, Picked, Unfit, word

_NEGATIVE = ("negative", "hard_negative", "neg")  # what people call the third text


def read(fields: Fields, picked: Picked, labelled: bool) -> Parsed:
    columns = [picked[name] for name in ("text", "pair") if name in picked]
    scored = "pair" in picked and "label" in picked
    if "pair" in picked and not scored:
        columns += [column for name in _NEGATIVE for column in fields if column.lower() == name][:1]
    for column in columns:
        if isinstance(value := fields.get(column), (list, dict)):
            raise Unfit(f"column '{column}' holds {json.dumps(value, ensure_ascii=False):.60}; expected a text alone")
        if labelled and not word(value):
            raise Unfit(f"column '{column}' is empty; remove the row")
    texts = tuple(word(fields.get(column)) for column in columns)
    return Parsed(texts, _number(fields.get(picked["label"]), picked["label"], labelled) if scored else ())


def _number(value: Any, column: str, labelled: bool) -> tuple[str, ...]:
    """A number as the label of its row; none where rows need none."""
    said = word(value)
    try:
        if math.isfinite(float(said)):
            return (said,)
    except ValueError:
        pass
    if not labelled:
        return ()
    if not said:
        raise Unfit(f"column '{column}' is empty; give the row a number or remove it")
    raise Unfit(f"column '{column}' holds '{said:.60}'; expected a number")


FORM = Form(
    read,
    {
        "text": (*USUAL["text"], "anchor", "query", *USUAL["question"], *COLUMNS["text"]),
        "pair": (*USUAL["pair"], "positive", "pos", "document", "passage", "context", *USUAL["answers"]),
        "label": (*USUAL["score"], *USUAL["label"]),
    },
    bears=False,
)
RANKED = replace(
    FORM,
    columns={
        "text": ("query", *USUAL["question"], *USUAL["text"]),
        "pair": ("document", "doc", "passage", "context", *USUAL["pair"], *USUAL["answers"]),
        "label": ("relevance", "grade", *USUAL["score"], *USUAL["label"]),
    },
    needed=("text", "pair"),
    bears=True,
)
