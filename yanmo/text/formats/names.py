"""The standard names of columns, what people call them, and what a set of columns is for.

Knows no file and no format.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from yanmo.text import tagging

# standard name: the names that people give it, tried in this order
USUAL: dict[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "text_a", "sentence1", "premise", "sent_more", "文本", "句子"),
    "pair": ("pair", "sentence2", "text_b", "hypothesis", "sent_less"),
    "label": ("label", "labels", "category", "class", "intent", "sentiment", "标签", "类别", "正/负面", "正负面"),
    "score": ("score", "rating", "similarity", "stars"),
    "target": ("target", "summary", "translation", "output"),
    "question": ("question", "问题"),
    "answers": ("answers", "answer", "best answer", "human_ans_spans", "答案"),
    "instruction": ("instruction",),
    "messages": ("messages", "conversations"),
    "tokens": ("tokens", "words"),
    "id": ("id", "_id", "idx"),
}
# What a row says, by its standard columns: the first line of which it has the first column.
TEXTS: tuple[tuple[str, ...], ...] = (
    *(("text", "pair"), ("context", "question"), ("question", "answers"), ("instruction", "input", "target")),
    *(("messages",), ("tokens",)),
)
# What is the text of a row that has nothing better: beside a question or a message these are something else.
LESS_USUAL = (
    *("source", "content", "review", "title", "caption", "caption_en", "paragraphs", "document", "article", "tag"),
    *("内容", "标题"),
)
_BETTER = frozenset({"text", "question", "instruction", "messages", "tokens", "query"})
_CONTEXTS = ("context", "passage", "review")  # beside a question
KNOWN = frozenset({*LESS_USUAL, *_CONTEXTS}.union(*USUAL.values()))

# The first line whose fields are all there says what the rows are for. A field may be asked for with another one absent ("-").
_TASKS = (
    ("tag", "tokens tags"),
    ("prefer", "messages chosen rejected"),
    ("chat", "messages"),
    ("instruct", "instruction target"),
    ("choose", "choices"),
    ("read", "context question"),
    ("answer", "question answers"),
    ("relate", "head relation"),
    ("generate", "text target"),
    ("match", "text pair"),
    ("rate", "text score"),
    ("rank", "query document"),
    ("classify", "text label"),
    ("texts", "text"),
)
_ROLES = {
    "human": "user",
    "usr": "user",
    "gpt": "assistant",
    "sys": "assistant",
    "function_call": "assistant",
    "observation": "tool",
}
_CHOICES = (("A", "B", "C", "D"), ("choice1", "choice2"))
_SPAN = re.compile(r"\((\d+), *(\d+)\)")
_CHINESE = re.compile("[\u3400-\u9fff]")


def task(fields: Mapping[str, Any]) -> str:
    """What a row with these fields is for: tag, prefer, chat, instruct, choose, read (a context for answers), answer, relate,
    translate, summarise, match, rate, rank, classify, texts; "table" where it has no text."""
    kind = next((kind for kind, needed in _TASKS if {*needed.split()} <= fields.keys()), "table")
    if kind == "generate" and not isinstance(fields["target"], (str, list)):
        return "classify" if "label" in fields else "texts"
    if kind == "generate":
        both = [bool(_CHINESE.search(str(fields[name]))) for name in ("text", "target")]
        return "translate" if "languages" in fields or both[0] != both[1] else "summarise"
    return kind


@lru_cache(maxsize=1024)
def renamed(columns: tuple[str, ...]) -> dict[str, str]:
    """The standard name of each of these columns; its own where it has no other."""
    lower = {name.lower(): name for name in reversed(columns)}
    found: dict[str, str] = {}

    def take(standard: str, usual: tuple[str, ...]) -> None:
        own = next((lower[word] for word in usual if word in lower and lower[word] not in found), None)
        if own is not None and standard not in found.values() and (own == standard or standard not in columns):
            found[own] = standard

    for standard, usual in USUAL.items():
        # What comes out of an instruction is a target; an output of anything else may be whatever it likes.
        take(standard, usual if standard != "target" or "instruction" in lower else usual[:-1])
    if "question" in found.values():
        take("context", _CONTEXTS)
    if not _BETTER & {*found.values(), *lower}:
        take("text", LESS_USUAL)
    return {name: found.get(name, name) for name in columns}


def standard(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row under the standard names; other columns keep theirs. Sentences that become one text, and columns that
    become one list of choices, stay beside it.
    """
    names = renamed(tuple(row))
    fields = {names[name]: value for name, value in row.items()}
    if isinstance(fields.get("text"), list):
        fields["sentences"] = fields["text"]
        fields["text"] = ("\n" if "paragraphs" in row else " ").join(map(str, fields["text"]))
    return _shaped(fields, row) if not _SHAPED.isdisjoint(fields) else fields


# Fields that people write in several ways.
_SHAPED = frozenset({"A", "choice1", "messages", "chosen", "rejected", "answers", "instances", "tags"})


def _shaped(fields: dict[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    for columns in _CHOICES:
        if {*columns} <= fields.keys() and "choices" not in fields:
            fields["choices"] = [fields[column] for column in columns]
            if "answers" in fields:
                fields["label"] = fields.pop("answers")
    if isinstance(tags := fields.get("tags"), list) and all(isinstance(tag, str) and tagging.fits(tag) for tag in tags):
        fields["tags"] = tagging.converted(tags, "IOB2")
    if isinstance(fields.get("messages"), list):
        fields["messages"] = [message(entry) for entry in fields["messages"]]
    for name in ("chosen", "rejected"):
        if isinstance(fields.get(name), dict):
            fields[name] = message(fields[name])
    if "human_ans_spans" in row:
        fields["answers"] = _spans(str(fields["answers"]), str(row.get("human_ans_indices", "")))
    elif isinstance(fields.get("answers"), str):
        fields["answers"] = [fields["answers"]]
    if isinstance(fields.get("instances"), list) and fields["instances"] and isinstance(fields["instances"][0], dict):
        first = fields["instances"][0]
        fields |= {"input": first.get("input", ""), "target": first.get("output", "")}
    return fields


def message(entry: Any) -> Any:
    """{from, value} or {role, content, ...} -> {role, content, ...} with the roles system, user, assistant, tool."""
    if not isinstance(entry, dict):
        return entry
    turn = dict(entry)
    role = str(turn.pop("from", turn.pop("role", "")))
    content = turn.pop("value", turn.pop("content", ""))
    return {"role": _ROLES.get(role, role), "content": content, **turn}


def _spans(text: str, indices: str) -> list[dict[str, Any]]:
    """SubjQA's answer column: one span of the review, or ANSWERNOTFOUND."""
    found = _SPAN.search(indices)
    if text in ("", "ANSWERNOTFOUND") or not found:
        return []
    return [{"text": text, "start": int(found[1])}]
