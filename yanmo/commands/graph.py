"""`yanmo graph TAG_RUN RELATE_RUN in.txt out=graph.json`: one run finds the entities of raw texts, the other how those of a sentence are
related, and all of it becomes one small knowledge graph. `yanmo.engine.graph` says what is taken for one entity."""

import csv
import html
import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo import evaluation, files, runs
from yanmo.commands.predict import opened, safe
from yanmo.engine import Engine
from yanmo.engine import graph as graphs
from yanmo.engine.graph import Mention, Relation
from yanmo.errors import DataError, SettingsError, gather, some
from yanmo.machine import Machine
from yanmo.progress import bar, say
from yanmo.settings import Block, Words, from_arguments
from yanmo.tasks.relate import directed
from yanmo.text import formats, sources
from yanmo.text.columns import Columns
from yanmo.text.sentences import sentences
from yanmo.text.sources import Example

_AT_ONCE = 4096  # sentences, or pairs of entities
_DIRECTION = re.compile(r"\((e[12]),e[12]\)$")
_BAD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # no characters of XML


class Rows(Block):
    columns: Columns = Field(default_factory=Columns, description="which column is the text")


class Settings(Block):
    tag: Path | None = Field(None, description="a run that finds entities (task tag)")
    relate: Path | None = Field(None, description="a run that says how two entities are related (task relate)")
    out: Path | None = Field(
        None,
        description="where the graph goes (.json, .graphml, or .csv of its triples); null: triples on standard output",
    )
    threshold: float = Field(0.5, ge=0, le=1, description="the least probability of a relation that is kept")
    reach: int = Field(
        200, ge=0, description="characters between two entities of a sentence that are asked about, at most"
    )
    data: Rows = Field(default_factory=Rows)
    machine: Machine = Field(default_factory=Machine)


Document = tuple[str, int, str]  # file, line, text


def graph(tag: str | Path, relate: str | Path, texts: Sequence[str], **keys: Any) -> dict[str, Any]:
    """The graph of texts, as `yanmo graph` writes it to a .json file; the keys are those of `yanmo graph --print-settings`."""
    asked = from_arguments(Settings, None, {**keys, "tag": tag, "relate": relate})
    documents = [("given", number, text) for number, text in enumerate(texts, 1)]
    return _graph(asked, _engines(asked, []), documents)


def command(words: Words[Settings]) -> dict[str, Any] | None:
    asked = words.settings
    if asked.out is not None and asked.out.suffix.lower() not in _FORMATS:
        raise SettingsError(f"out: '{asked.out}' ends in none of {', '.join(_FORMATS)}, so its format is not known")
    folders, given = runs.apart(words.paths)
    absent = [formats.absent(path) for path in given if not formats.container(path).exists()]
    gather(absent, "expected two run folders and files of texts (a text itself comes by standard input):", DataError)
    engines = _engines(asked, folders)
    documents = [row for path in given for row in _texts(path, asked.data.columns)] if given else _standard_input()
    if not any(text.strip() for _, _, text in documents):
        raise DataError("no text given")
    found = _graph(asked, engines, documents)
    told = f"{some(len(found['nodes']), 'node')}, {some(len(found['edges']), 'edge')}"
    if asked.out is not None:
        files.write_file(asked.out, _FORMATS[asked.out.suffix.lower()](found))
        say(f"{asked.out}: {told}")
    else:
        say(told)
    if words.json:
        return found
    if asked.out is None:
        sys.stdout.writelines("\t".join(map(str, row.values())) + "\n" for row in _triples(found))
    return None


def _engines(asked: Settings, folders: Sequence[Path]) -> tuple[Engine, Engine]:
    """The run that tags and the one that relates; of paths each is known by its task."""
    by_form = {"tagged": asked.tag, "related": asked.relate}
    engines = {}
    for run in [*filter(None, by_form.values()), *folders]:
        engine = opened(run, asked.machine)
        assert engine.task is not None  # noqa: S101 (opened)
        form = engine.task.form
        if form not in by_form:
            raise SettingsError(
                f"{run}: its task is {engine.task.name}; expected a run of the task tag, and one of relate"
            )
        if form in engines or by_form[form] not in (None, run):
            raise SettingsError(
                f"{run}: the second run of the task {engine.task.name}; expected one of tag, and one of relate"
            )
        engines[form] = engine
    if lacking := [task for task, form in (("tag", "tagged"), ("relate", "related")) if form not in engines]:
        raise SettingsError(
            f"no run of the task {' and none of '.join(lacking)}; expected both: yanmo graph TAG_RUN RELATE_RUN in.txt out=graph.json"
        )
    return engines["tagged"], engines["related"]


def _texts(path: Path, columns: Columns) -> list[Document]:
    """A text for each row; of a text file for each line."""
    if formats.recognise(path).format in ("text", "label text"):
        return [(str(path), line, text) for line, text in formats.numbered(path)]
    return [(row.file, row.line, " ".join(row.texts)) for row in sources.read(path, columns, labelled=False)]


def _standard_input() -> list[Document]:
    return [("stdin", line, text) for line, text in sources.decode(sys.stdin.buffer, "standard input")]


# ---- texts -> graph


def _graph(asked: Settings, engines: tuple[Engine, Engine], documents: Sequence[Document]) -> dict[str, Any]:
    tagger, relater = engines
    texts = [text for _, _, text in documents]
    places = [(number, mark) for number, text in enumerate(texts) for mark in sentences(text)]
    rows = [Example((texts[number][slice(*mark)],)) for number, mark in places]
    mentions: list[Mention] = []
    together: list[list[int]] = []  # the numbers of the mentions of each sentence
    for (document, (start, _)), answer in zip(places, _answers(tagger, rows, "sentences"), strict=True):
        if "entities" not in answer:
            raise SettingsError(
                f"{asked.tag or 'the tagging run'}: its tags are words or parts of speech; expected a run that was trained on entities"
            )
        found = [
            Mention(document, start + e["start"], start + e["end"], e["text"], e["type"], e["probability"])
            for e in answer["entities"]
        ]
        together.append([*range(len(mentions), len(mentions) + len(found))])
        mentions += found
    keys = graphs.linked(mentions, texts)
    task: Any = relater.task
    ordered = directed(task.labels, task.none)
    wanted = [
        (place, first, second)
        for place, sentence in zip(places, together, strict=True)
        for first, second in graphs.pairs(mentions, keys, sentence, asked.reach, both=not ordered)
    ]
    rows = [_marked(texts, place, mentions[first], mentions[second]) for place, first, second in wanted]
    relations = [
        _relation(first, second, answer["label"], answer["probabilities"][answer["label"]], ordered)
        for (_, first, second), answer in zip(wanted, _answers(relater, rows, "pairs"), strict=True)
        if answer["label"] != task.none and answer["probabilities"][answer["label"]] >= asked.threshold
    ]
    whole = graphs.graph(mentions, keys, relations, [(file, line) for file, line, _ in documents])
    counts = {"documents": len(documents), "sentences": len(places), "pairs": len(wanted)}
    return whole | {"graph": {**counts, "threshold": asked.threshold, "reach": asked.reach}}


def _marked(texts: Sequence[str], place: tuple[int, tuple[int, int]], head: Mention, tail: Mention) -> Example:
    document, (start, end) = place
    marks = tuple((each.start - start, each.end - start) for each in (head, tail))
    return Example((texts[document][start:end],), marks=marks)


def _relation(first: int, second: int, label: str, probability: float, ordered: bool) -> Relation:
    """What a label says of two mentions. Of labels that are `directed` Cause-Effect(e2,e1) is that the second is the head."""
    direction = _DIRECTION.search(label) if ordered else None
    if direction is None:
        return Relation(first, second, label, probability)
    head, tail = (first, second) if direction[1] == "e1" else (second, first)
    return Relation(head, tail, label[: direction.start()], probability)


def _answers(engine: Engine, rows: Sequence[Example], what: str) -> Iterator[Mapping[str, Any]]:
    assert engine.task is not None  # noqa: S101 (opened)
    with bar(f"reading {len(rows):,} {what}", len(rows), unit=what) as advance:
        for begin in range(0, len(rows), _AT_ONCE):
            prepared = engine.task.prepare(rows[begin : begin + _AT_ONCE])
            yield from evaluation.answers(engine.model, engine.task, prepared, device=engine.device, advance=advance)


# ---- graph -> file


def _triples(whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    names = {node["id"]: (node["name"], node["type"]) for node in whole["nodes"]}
    for edge in whole["edges"]:
        (head, head_type), (tail, tail_type) = names[edge["source"]], names[edge["target"]]
        yield {
            "head": head,
            "head_type": head_type,
            "relation": edge["relation"],
            "tail": tail,
            "tail_type": tail_type,
            "count": edge["count"],
            "probability": f"{edge['probability']:.4f}",
            "rank": edge["rank"],
        }


def _csv(whole: Mapping[str, Any]) -> str:
    buffer = io.StringIO()
    rows = [*_triples(whole)]
    names = ("head", "head_type", "relation", "tail", "tail_type", "count", "probability", "rank")
    csv.writer(buffer, lineterminator="\n").writerows(
        [names, *([safe(str(cell)) for cell in row.values()] for row in rows)]
    )
    return buffer.getvalue()


_NODE = {"name": "string", "type": "string", "count": "int", "probability": "double"}
_EDGE = {"relation": "string", "count": "int", "probability": "double", "weight": "double", "rank": "int"}


def _graphml(whole: Mapping[str, Any]) -> str:
    """Without the mentions: GraphML knows no lists."""

    def data(of: str, values: Mapping[str, Any], names: Mapping[str, str]) -> str:
        return "".join(f'<data key="{of}.{name}">{_escaped(values[name])}</data>' for name in names)

    keys = [
        f'<key id="{of}.{name}" for="{of}" attr.name="{name}" attr.type="{kind}"/>'
        for of, names in (("node", _NODE), ("edge", _EDGE))
        for name, kind in names.items()
    ]
    nodes = [f'<node id="{_escaped(node["id"])}">{data("node", node, _NODE)}</node>' for node in whole["nodes"]]
    edges = [
        f'<edge id="e{number}" source="{_escaped(edge["source"])}" target="{_escaped(edge["target"])}">{data("edge", edge, _EDGE)}</edge>'
        for number, edge in enumerate(whole["edges"])
    ]
    head = ['<?xml version="1.0" encoding="UTF-8"?>', '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">', *keys]
    return "\n".join([*head, '<graph edgedefault="directed">', *nodes, *edges, "</graph>", "</graphml>"]) + "\n"


def _escaped(value: Any) -> str:
    return html.escape(_BAD.sub("\ufffd", str(value)))


_FORMATS: dict[str, Callable[[Mapping[str, Any]], str]] = {".json": files.to_json, ".graphml": _graphml, ".csv": _csv}
