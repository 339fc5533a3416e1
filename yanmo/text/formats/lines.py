"""Rows that are lines: plain text, "label text", fastText, «COARSE:fine question», «sentence@label», dialogues with __eou__.

A line says by itself what it is, so reading needs no more memory than its longest line.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from yanmo.text.formats.base import Fault, Reader, Row, Source, Stream
from yanmo.text.formats.tables import MOST_LABELS

_FASTTEXT = re.compile(r"\s*((?:__label__\S+\s+)+)(.*)", re.DOTALL)
_TREC = re.compile(r"([A-Z]+):(\w+) (.*)", re.DOTALL)
_AT = re.compile(r"(.*)@([a-z]+)\s*", re.DOTALL)
_TURN = "__eou__"
# query, document, grade; with TREC's second column, which is always 0 or Q0
_JUDGMENT = re.compile(r"(\S*\d\S*)([ \t])\2*(?:(?:0|Q0)\2+(?=\S+\2))?(\S+)\2+(-?\d+)\s*")

Parse = Callable[[str], dict[str, Any] | None]  # a line -> fields, or None where it is not of this format


def _reader(parse: Parse, expected: str) -> Reader:
    def read(source: Source) -> Stream:
        for line in source.full():
            if isinstance(line, Fault):
                yield line
            elif (fields := parse(line.text)) is None:
                yield source.fault(line, f"expected {expected}")
            else:
                yield Row(fields, line.number, line.offset, line.raw)

    return read


def _text(line: str) -> dict[str, Any]:
    return {"text": line}


def _label_text(line: str) -> dict[str, Any]:
    label, _, text = line.partition(" ")
    return {"label": label, "text": text}


def _fasttext(line: str) -> dict[str, Any] | None:
    found = _FASTTEXT.fullmatch(line)
    if not found:
        return None
    labels = [word.removeprefix("__label__") for word in found[1].split()]
    return {"label": labels if len(labels) > 1 else labels[0], "text": found[2]}


def _trec(line: str) -> dict[str, Any] | None:
    found = _TREC.fullmatch(line)
    return found and {"label": found[1], "fine": f"{found[1]}:{found[2]}", "text": found[3]}


def _at_label(line: str) -> dict[str, Any] | None:
    found = _AT.fullmatch(line)
    return found and {"text": found[1], "label": found[2]}


def _dialogue(line: str) -> dict[str, Any] | None:
    """«turn __eou__ turn __eou__ TAB topic TAB acts TAB emotions», as in DailyDialog (Li et al. 2017)."""
    told, *more = line.split("\t")
    if _TURN not in told:
        return None
    turns = [turn.strip() for turn in told.split(_TURN)]
    turns = turns[:-1] if not turns[-1] else turns
    messages = [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
    fields: dict[str, Any] = {"messages": messages}
    if len(more) == 3:
        fields |= {"label": more[0], "acts": more[1].split(), "emotions": more[2].split()}
    return fields


def _judgment(line: str) -> dict[str, Any] | None:
    found = _JUDGMENT.fullmatch(line)
    return found and {"query": found[1], "document": found[3], "score": int(found[4])}


def begin_with_labels(lines: Sequence[str]) -> bool:
    """ "label text": few first words, each of them often, every one followed by a text, and different in their texts."""
    words = [line.partition(" ") for line in lines]
    few = len({label for label, _, _ in words}) <= min(MOST_LABELS, len(words) // 5)
    return few and all(label and text.strip() and label[-1:] not in ":,.;" for label, _, text in words)


def fits(parse: Parse) -> Callable[[str, Sequence[str]], bool]:
    return lambda _, lines: bool(lines) and all(parse(line) is not None for line in lines)


text = _reader(_text, "text")
label_text = _reader(_label_text, "'label text'")
fasttext = _reader(_fasttext, "'__label__x text'")
trec = _reader(_trec, "'COARSE:fine question'")
at_label = _reader(_at_label, "'sentence@label'")
dialogue = _reader(_dialogue, "turns that end with __eou__")
judgments = _reader(_judgment, "'query document grade'")

is_fasttext, is_trec, is_at_label, is_dialogue, is_judgments = map(
    fits, (_fasttext, _trec, _at_label, _dialogue, _judgment)
)
