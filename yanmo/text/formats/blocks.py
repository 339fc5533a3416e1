"""Rows that are several lines: CoNLL-like columns, SMART collections, the relations of SemEval-2010 task 8, XML entailment pairs."""

import re
from collections.abc import Sequence
from typing import Any
from xml.etree.ElementTree import Element, ParseError, XMLPullParser

from yanmo.errors import some
from yanmo.text.formats.base import Fault, Line, Row, Source, Stream
from yanmo.text.tagging import fits

# ---- columns, one token a line, a blank line after each sentence

_POSITION = re.compile(r".{1,2}\d", re.DOTALL)  # an emoji may be two characters there
_TAGGED = 0.95  # of the lines; the others are faults
_NAMED = (".conll", ".bmes", ".bio", ".iob", ".pos")  # endings of files whose last column may be anything


def is_columns(suffix: str, lines: Sequence[str]) -> bool:
    rows = [line.split() for line in lines if not line.startswith("-DOCSTART-")]
    width = len(rows[0]) if rows else 0
    tagged = sum(len(row) == width and (suffix in _NAMED or _is_tag(*row[:: width - 1])) for row in rows if width > 1)
    return suffix not in (".csv", ".json", ".jsonl") and width > 1 and tagged >= _TAGGED * len(rows)


def _is_tag(token: str, tag: str) -> bool:
    """A letter without a type is one behind a character only: it may be anything else."""
    return fits(tag) and (tag == "O" or len(tag) > 1 or len(token) == 1)


def columns(source: Source) -> Stream:
    """A row a sentence: tokens, tags as they stand, the columns between them under `column2` ..., and the number of the document
    from 1 where the file parts documents by -DOCSTART- lines.
    """
    positions = _numbered(source)
    document, width = 0, 0
    sentence: list[tuple[Line, list[str]]] = []
    for line in source.lines():
        if isinstance(line, Fault):
            yield line
            continue
        cells = line.text.split()
        if not cells or cells[0] == "-DOCSTART-":
            document += bool(cells)
            if sentence:
                yield _sentence(sentence, document, positions)
            sentence = []
        elif len(cells) < 2 or (width and len(cells) != width):
            yield source.fault(
                line, f"{some(len(cells), 'column')}, expected {width or 2} (a token and its tag)", "ragged"
            )
        else:
            width = len(cells)
            sentence.append((line, cells))
    if sentence:
        yield _sentence(sentence, document, positions)


def _numbered(source: Source) -> bool:
    """Weibo NER (Peng and Dredze 2015) writes the position in the word after each character."""
    tokens = [line.split()[0] for line in source.head()]
    return all(map(_POSITION.fullmatch, tokens)) and any(not token[0].isdigit() for token in tokens)


def _sentence(found: list[tuple[Line, list[str]]], document: int, positions: bool) -> Row:
    tokens, *others, tags = map(list, zip(*(cells for _, cells in found), strict=True))
    fields: dict[str, Any] = {"tokens": [token[:-1] for token in tokens] if positions else tokens, "tags": tags}
    fields |= {f"column{i}": cells for i, cells in enumerate(others, 2)}
    if document:
        fields["document"] = document
    return _row(fields, [line for line, _ in found])


def _row(fields: dict[str, Any], lines: Sequence[Line]) -> Row:
    return Row(fields, lines[0].number, lines[0].offset, b"".join(line.raw for line in lines))


# ---- SMART: .I number, then fields that begin with .T .A .B .W

_SMART = {".T": "title", ".A": "author", ".B": "source", ".W": "text"}


def is_smart(_: str, lines: Sequence[str]) -> bool:
    return len(lines) > 1 and bool(re.fullmatch(r"\.I \d+\s*", lines[0])) and lines[1].strip() in _SMART


def smart(source: Source) -> Stream:
    """A row a document or query. `id` counts from 1, as the judgments do; `number` is what the file says after .I."""
    count, field = 0, ""
    texts: dict[str, list[str]] = {}
    taken: list[Line] = []
    number = ""
    for line in source.full():
        if isinstance(line, Fault):
            yield line
        elif line.text.startswith(".I "):
            if taken:
                yield _smart_row(texts, count, number, taken)
            count, texts, field, number, taken = count + 1, {}, "", line.text[3:].strip(), [line]
        elif line.text.strip() in _SMART:
            field = _SMART[line.text.strip()]
            taken.append(line)
        elif field:
            texts.setdefault(field, []).append(line.text)
            taken.append(line)
        else:
            yield source.fault(line, "a text that belongs to no field; expected .T, .A, .B or .W before it")
    if taken:
        yield _smart_row(texts, count, number, taken)


def _smart_row(texts: dict[str, list[str]], count: int, number: str, taken: Sequence[Line]) -> Row:
    fields = {name: "\n".join(lines) for name, lines in texts.items()}
    return _row({"text": "", **fields, "id": str(count), "number": number}, taken)


# ---- SemEval-2010 task 8 (Hendrickx et al. 2010): number TAB "sentence", relation, comment

_RELATION = re.compile(r'(\d+)\t"?(.*?)"?\s*', re.DOTALL)
_MARKED = re.compile(r"<(e[12])>(.*?)</\1>", re.DOTALL)


def is_relations(_: str, lines: Sequence[str]) -> bool:
    return (
        len(lines) > 1
        and bool(_RELATION.fullmatch(lines[0]))
        and {name for name, _ in _MARKED.findall(lines[0])} == {"e1", "e2"}
    )


def relations(source: Source) -> Stream:
    """A row a sentence: the text with its <e1>, <e2> marks, what they mark as head and tail, the directed relation."""
    held: tuple[list[Line], dict[str, Any]] | None = None
    for line in source.full():
        if isinstance(line, Fault):
            yield line
        elif found := _RELATION.fullmatch(line.text):
            if held:
                yield _related(source, *held)
            marked = dict(_MARKED.findall(found[2]))
            held = [line], {"id": found[1], "text": found[2], "head": marked.get("e1"), "tail": marked.get("e2")}
        elif not held:
            yield source.fault(line, 'expected a number, a tab and a "sentence"')
        else:
            held[0].append(line)
            comment = line.text.startswith("Comment:")
            held[1]["comment" if comment else "relation"] = line.text.removeprefix("Comment:").strip()
    if held:
        yield _related(source, *held)


def _related(source: Source, lines: Sequence[Line], fields: dict[str, Any]) -> Row | Fault:
    if fields["head"] is None or fields["tail"] is None or "relation" not in fields:
        return source.fault(lines[0], "expected one <e1>, one <e2>, and a relation in the next line")
    return _row(fields, lines)


# ---- XML: <pair id value|entailment task><t>text</t><h>hypothesis</h></pair>, as in RTE 1 to 3 (Dagan et al. 2006)


def is_pairs(_: str, lines: Sequence[str]) -> bool:
    return bool(lines) and lines[0].lstrip().startswith("<") and any("<pair" in line for line in lines)


def pairs(source: Source) -> Stream:
    """A row a pair. An entity that the file declares is refused, not expanded."""
    parser: XMLPullParser[Any] = XMLPullParser(("start", "end"))
    taken: list[Line] = []  # the lines of the pair, from the one that it begins in
    for line in source.lines():
        if isinstance(line, Fault):
            yield line
            continue
        if "<!ENTITY" in line.text:
            yield source.fault(line, "declares an XML entity, which is not read", "broken")
            return
        try:
            parser.feed(line.text + "\n")
            events: list[Any] = list(parser.read_events())
        except ParseError as error:
            yield source.fault(line, f"not XML ({error}); nothing after it can be read", "broken")
            return
        taken.append(line)
        for event, element in events:
            if element.tag != "pair":
                continue
            if event == "start":
                taken = [line]
            else:
                yield _row(_pair(element), taken)
                element.clear()


def _pair(element: Element) -> dict[str, str]:
    more = dict(element.attrib)
    label = more.pop("entailment", None) or more.pop("value", "")
    text, hypothesis = (" ".join((element.findtext(name) or "").split()) for name in ("t", "h"))
    return {"text": text, "pair": hypothesis, "label": label, **more}
