"""A question, the context that it is asked of, and its answers: texts (question, context), the words of each answer, and a mark where
it stands in the context. A row without answers has none there.

What is mended: an answer whose place is wrong is moved to the nearest place where it stands, if only but for white space. One that
stands nowhere keeps its words, which other answers are compared with, and the mark NOWHERE: nothing can be learnt from it.
"""

from collections.abc import Iterator
from typing import Any

from yanmo.text.formats import names
from yanmo.text.formats.names import USUAL
from yanmo.text.forms.base import NOWHERE, Fields, Form, Mark, Parsed, Picked, Unfit, word
from yanmo.text.forms.place import nearest

_MOVED = "an answer that does not stand at its place is taken at the nearest place where it does"
_UNASKED = "a row without a question is left out"
_NOWHERE = "an answer that stands nowhere in its context is only compared with, not learnt from"


def read(fields: Fields, picked: Picked, labelled: bool) -> Parsed:
    question, context = word(fields.get(picked["text"])), fields.get(picked["pair"])
    if not isinstance(context, str) or not context.strip():
        raise Unfit(f"column '{picked['pair']}' has no text to look for the answer in; remove the row")
    if not question:
        raise Unfit(f"column '{picked['text']}' is empty; remove the row", _UNASKED)
    labels: list[str] = []
    marks: list[Mark] = []
    mended = ""
    for answer, start in _answers(fields, picked) if labelled else ():
        found = nearest(context, answer, start)
        if found is None:
            mended = mended or _NOWHERE
        elif start is not None and found[0] != start:
            mended = _MOVED
        if (answer, found or NOWHERE) not in zip(labels, marks, strict=True):  # several people often say the same
            labels.append(answer)
            marks.append(found or NOWHERE)
    return Parsed((question, context), tuple(labels), tuple(marks), mended)


def _answers(fields: Fields, picked: Picked) -> Iterator[tuple[str, int | None]]:
    """(words, the character where they begin, if the row says so) of each answer."""
    value: Any = fields.get(picked["label"])
    if "human_ans_indices" in fields:  # SubjQA's two columns
        value = names.standard(fields)["answers"]
    if isinstance(value, dict):  # lists beside each other, as in the SQuAD of the Hugging Face hub
        texts = value.get("text")
        starts = value.get("answer_start") or value.get("start") or []
        if not isinstance(texts, list) or len(texts) != len(starts):
            raise Unfit(f"column '{picked['label']}' holds {value!r:.60}; expected as many texts as starts")
        value = [{"text": text, "start": start} for text, start in zip(texts, starts, strict=True)]
    for each in value if isinstance(value, list) else [value]:
        said = each.get("text") if isinstance(each, dict) else each
        start = each.get("start", each.get("answer_start")) if isinstance(each, dict) else None
        if isinstance(said, (list, dict)) or not isinstance(start, int | None):
            raise Unfit(
                f"column '{picked['label']}' holds {each!r:.60}; expected the words of an answer and their place"
            )
        if text := word(said):
            yield text, start + said.find(text) if start is not None and isinstance(said, str) and start >= 0 else start


FORM = Form(
    read,
    {
        "text": USUAL["question"],
        "pair": ("context", "passage", "review", "paragraph", "text"),
        "label": USUAL["answers"],
    },
    needed=("text", "pair"),
    id="id",
    together=1,
)
