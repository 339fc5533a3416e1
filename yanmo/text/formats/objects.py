"""JSON: one object a line; or one document that is a list of objects, a list of [text, label], or SQuAD's tree.

A document is parsed an element at a time, so that each row knows its place and a break spoils what follows it, not what came
before.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from yanmo.text.formats.base import Fault, Line, Row, Source, Stream
from yanmo.text.formats.tables import MOST_LABELS

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n\ufeff"


def is_lines(suffix: str, lines: Sequence[str]) -> bool:
    """Do these first lines hold an object each, rather than parts of one document? In a .jsonl the first may be broken."""
    if suffix != ".jsonl" and (not lines or lines[0].lstrip()[:1] != "{"):
        return False
    whole = [_object(line) for line in lines[:100]]
    sound = sum(value is not None for value in whole)
    if suffix == ".jsonl" and 2 * sound >= len(whole) != 1:
        return True
    if whole[0] is not None:
        return len(lines) > 1 or not isinstance(whole[0].get("data"), list)
    each = [line.strip().rstrip(",") for line in lines[:100]]
    every_one = len(each) > 1 and all(
        line[:1] == "{" and line[-1:] == "}" for line in each
    )  # each with the same mistake
    return every_one or (len(each[0]) > 1 and sound > 0)


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def lines(source: Source) -> Stream:
    for line in source.full():
        if isinstance(line, Fault):
            yield line
            continue
        try:
            value = json.loads(line.text)
        except (ValueError, RecursionError) as error:
            reason = f"not JSON ({_why(error, line.text)})"
            yield source.fault(line, reason, "nul" if "\0" in line.text else "json")
            continue
        if not isinstance(value, dict):
            yield source.fault(line, f"a {type(value).__name__}, not an object", "object")
        elif _has_half(line.text, value):
            yield source.fault(line, _HALF, "surrogate")
        else:
            yield Row(value, line.number, line.offset, line.raw)


def _why(error: Exception, text: str, place: str = "") -> str:
    """What is wrong with a value, in a line that is known or is `place`."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    there, before = text[error.pos : error.pos + 1], text[: error.pos].rstrip()[-1:]
    hint = ""
    if there == "'":
        hint = ": texts stand in double quotes, as json.dumps writes them"
    elif there == "," and error.msg == "Extra data":
        hint = ": no comma stands between the lines of .jsonl"
    elif there in ("}", "]") and before == ",":
        hint = ": the comma before it is one too many"
    return f"{error.msg} at column {error.colno}{place}{hint}"


_HALF = "half of a surrogate pair (\\ud...) stands alone, which is no text"


def _has_half(text: str, value: Any) -> bool:
    if "\\ud" not in text and "\\uD" not in text:
        return False
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def document(source: Source) -> Stream:
    text, faults = source.whole()
    yield from faults
    elements = _elements(source, text)
    if text.lstrip(_SPACE)[:1] == "[":
        found = list(elements)
        names = _names([value for _, value in found if isinstance(value, list)])
        for line, value in found:
            if isinstance(value, Fault):
                yield value
            elif isinstance(value, dict):
                yield Row(value, line.number, line.offset, line.raw)
            elif isinstance(value, list) and len(value) == len(names):
                yield Row(_listed(names, value), line.number, line.offset, line.raw)
            else:
                yield source.fault(line, f"a {type(value).__name__}, not an object", "object")
        return
    for line, value in elements:
        if isinstance(value, Fault):
            yield value
        elif isinstance(value, dict) and isinstance(value.get("data"), list):
            yield from _squad(source, line, value["data"])
        elif isinstance(value, dict):
            yield Row(value, line.number, line.offset, line.raw)
        else:
            yield source.fault(line, f"a {type(value).__name__}, not an object", "object")


def _elements(source: Source, text: str) -> Iterator[tuple[Line, Any]]:
    """(where it begins and its bytes, value) of each element of a list, or of the one value there is; a Fault for a break."""
    listed = text.lstrip(_SPACE)[:1] == "["
    at = text.index("[") + 1 if listed else 0
    number, offset, seen = 1, 0, 0
    size = len(text)
    while True:
        while at < size and (text[at] in _SPACE or (listed and text[at] == ",")):
            at += 1
        number += text.count("\n", seen, at)
        offset += len(text[seen:at].encode(source.unmarked))
        if at >= size or (listed and text[at] == "]"):
            if at >= size and listed:
                end = Line(number, offset, "", b"")
                yield end, source.fault(end, "not JSON (the list does not end)", "document")
            return
        try:
            value, end_at = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            rest = Line(number, offset, "", text[at:].encode(source.unmarked))
            place = f" of line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
            reason = f"not JSON ({_why(error, text, place)}); nothing from here on can be read"
            yield rest, source.fault(rest, reason, "document")
            return
        line = Line(number, offset, "", text[at:end_at].encode(source.unmarked))
        yield line, source.fault(line, _HALF, "surrogate") if _has_half(text[at:end_at], value) else value
        number, offset = number + text.count("\n", at, end_at), offset + len(line.raw)
        at = seen = end_at


def _names(rows: Sequence[list[Any]]) -> list[str]:
    """[text, label] or [target, text]: a label is a number or one of few words; of two texts the longer one is `text`."""
    width = len(rows[0]) if rows else 0
    names = [f"column{i}" for i in range(1, width + 1)]
    words = [[str(row[i]) for row in rows if len(row) == width] for i in range(width)]
    texts = sorted(range(width), key=lambda i: -sum(map(len, words[i])))
    if width == 2:
        longer, shorter = texts
        names[longer] = "text"
        names[shorter] = "label" if len(_labels(words[shorter])) <= MOST_LABELS else "target"
        if names[shorter] == "label" and len(_labels(words[shorter])) < len({*words[shorter]}):
            names[shorter] = "labels"
    return names


def _labels(values: Sequence[str]) -> set[str]:
    """The distinct values, or the distinct words of which they are put together, whichever are fewer."""
    distinct = {*values}
    single = {word for value in distinct for word in value.split()}
    return min(distinct, single, key=len)


def _listed(names: Sequence[str], value: Sequence[Any]) -> dict[str, Any]:
    return {
        "label" if name == "labels" else name: str(cell).split() if name == "labels" else cell
        for name, cell in zip(names, value, strict=True)
    }


def _squad(source: Source, line: Line, articles: list[Any]) -> Stream:
    """A row a question, as in SQuAD (Rajpurkar et al. 2016), CMRC 2018, DRCD and XQuAD. Questions have no place of their own."""
    for article in articles:
        try:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    answers = [
                        {"text": found["text"], "start": found["answer_start"]} for found in asked.get("answers", ())
                    ]
                    fields = {"context": paragraph["context"], "question": asked["question"], "answers": answers}
                    known = {name: value for name, value in asked.items() if name not in ("question", "answers")}
                    title = {"title": article["title"]} if "title" in article else {}
                    yield Row({**fields, **title, **known}, line.number, 0)
        except (KeyError, TypeError) as error:
            raw = json.dumps(article, ensure_ascii=False).encode(errors="surrogatepass")
            reason = f"not an article as in SQuAD (no {error}): expected paragraphs of context and qas"
            yield Fault(source.name, line.number, 0, "", reason, raw, "form")
