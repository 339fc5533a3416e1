"""Files of any format -> rows with what they say; rows -> parts that stay together and stay put, as files.

The rows of an earlier division stand in the files that it left: they are read again, and never move.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from yanmo.errors import DataError, SettingsError
from yanmo.files import Content, to_json
from yanmo.settings import Block
from yanmo.text import dedup, formats, minhash
from yanmo.text import split as splitting
from yanmo.text.clean import canonical
from yanmo.text.sources import Example

ASIDE, FACTS = "set-aside.jsonl", "split.json"


@dataclass(frozen=True, slots=True)
class Parted:
    fields: dict[str, Any]
    example: Example


class Division(Block):
    parts: dict[str, float] = Field(
        default_factory=lambda: {"train": 0.8, "dev": 0.1, "test": 0.1}, description="each part and its share"
    )
    by: Literal["hash", "label", "group", "time"] = Field(
        "hash", description="hash: of the text; label: the shares hold within each label; group, time: of `column`"
    )
    column: str | None = Field(
        None, description="of the group (its rows stay together) or of the time (the last rows are the test)"
    )
    near: float | None = Field(
        0.5, gt=0, le=1, description="rows of this similarity stay together; null: equal rows only"
    )
    fragments: bool = Field(True, description="a row that stands within a larger one stays with it")


def read(paths: Sequence[Path]) -> dict[str, list[Parted]]:
    """The rows of each file or of each part of a data-set folder, by name; train, dev and test before others. Raises DataError."""
    found: dict[str, list[Parted]] = {}
    for path in paths:
        for name, rows in formats.load(path).items():
            part = name if name not in found else f"{path.parent.name}-{name}"
            lines = [row.line for row in rows]
            if len(set(lines)) < len(rows):  # all of a document stands in one line
                lines = list(range(1, len(rows) + 1))
            found[part] = [Parted(row.fields, _example(row, part, line)) for row, line in zip(rows, lines, strict=True)]
    if not found:
        raise DataError(f"{paths[0]}: no rows in it")
    return dict(sorted(found.items(), key=lambda part: _ORDER.index(part[0]) if part[0] in _ORDER else len(_ORDER)))


_ORDER = ("train", "dev", "test")


def _example(row: formats.Row, part: str, line: int) -> Example:
    names = next((line for line in formats.names.TEXTS if row.fields.get(line[0]) not in (None, "")), ())
    texts = tuple(text for name in names if (text := _text(row.fields.get(name))))
    label = row.fields.get("label")
    labels = tuple(map(str, label)) if isinstance(label, list) else (str(label),) if label not in (None, "") else ()
    return Example(texts or ("",), labels, f"{part}:{line}", part, line)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("content", value.get("text", "")))
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return "" if value is None else str(value).strip()


def misplaced(rows: Sequence[Parted]) -> list[str]:
    """Where questions stand whose answer is not in their context at the character that it names (-1 names none), and what is there."""
    return [
        f"{row.example.id}: '{answer['text']:.40}' does not stand at character {answer['start']}, but "
        f"'{fields['context'][answer['start'] :][: len(answer['text'])]:.40}'"
        for row in rows
        if (fields := row.fields) and isinstance(fields.get("context"), str)
        for answer in fields.get("answers") or ()
        if isinstance(answer, dict) and answer.get("start", -1) >= 0
        if not fields["context"].startswith(answer["text"], answer["start"])
    ]


def divide(rows: Sequence[Parted], out: Path, asked: Division) -> tuple[dict[str, Content], dict[str, Any]]:
    """(the files of the folder `out`, the facts). Rows that stand in `out` already keep their part, and need not be
    among `rows`. Raises SettingsError for a folder that holds another division."""
    known, before, cuts = _before(out, asked)
    new = [row for row in rows if splitting.key(row.example.texts[0]) not in known]
    every = [*before, *new]
    keys = [splitting.key(row.example.texts[0]) for row in every]
    groups = _column(every, asked) if asked.by in ("group", "time") else None
    if asked.by == "time" and groups is not None:
        cuts = cuts or splitting.begins(groups, asked.parts)
    parts = splitting.divide(
        keys,
        together(every, keys, asked, groups if asked.by == "group" else None).tolist(),
        asked.parts,
        known,
        strata=["+".join(row.example.labels) for row in every] if asked.by == "label" else None,
        times=groups if asked.by == "time" else None,
        cuts=cuts,
    )
    contents: dict[str, Content] = {
        f"{name}.jsonl": _lines([row for row, part in zip(every, parts, strict=True) if part == name])
        for name in asked.parts
    }
    aside = [row for row, part in zip(every, parts, strict=True) if part is None]
    counts = {name: parts.count(name) for name in asked.parts}
    facts = {"parts": counts, "set_aside": len(aside), "rows": len(every)}
    contents |= {ASIDE: _lines(aside), FACTS: to_json({"asked": asked.model_dump(), "cuts": cuts, **facts})}
    return contents, facts


def together(rows: Sequence[Parted], keys: Sequence[str], asked: Division, groups: Sequence[Any] | None) -> np.ndarray:
    """(rows) a number for each row, equal for rows that must not be parted: equal texts, near duplicates, a fragment and what holds it, and
    the rows of a group."""
    texts = [canonical(" ".join(row.example.texts)) for row in rows]
    pairs = [_linked(keys)]
    if asked.near is not None:
        pairs.append(minhash.near_pairs(texts, asked.near))
    if asked.fragments:
        pairs.append(dedup.holding(dedup.Grams(texts, most=dedup.COMPARED)))
    if groups is not None:
        pairs.append(_linked(groups))
    return minhash.joined(np.concatenate(pairs), len(rows))


def _linked(values: Sequence[Any]) -> np.ndarray:
    """(pairs, 2) each row with the first row of the same value."""
    first: dict[Any, int] = {}
    found = [(first.setdefault(value, row), row) for row, value in enumerate(values)]
    return np.array([pair for pair in found if pair[0] != pair[1]], np.int64).reshape(-1, 2)


def _column(rows: Sequence[Parted], asked: Division) -> list[Any]:
    if asked.column is None:
        raise SettingsError(f"division.column: which column holds the {asked.by}? Give division.column=NAME")
    missing = next((row for row in rows if row.fields.get(asked.column) in (None, "")), None)
    if missing is not None:
        raise DataError(
            f"{missing.example.file}:{missing.example.line}: no '{asked.column}'; the row has: {', '.join(missing.fields)}"
        )
    return [str(row.fields[asked.column]) for row in rows]


def _before(out: Path, asked: Division) -> tuple[dict[str, str], list[Parted], list[Any] | None]:
    """(key -> part, rows, cuts) of the division that stands in `out`."""
    if not (out / FACTS).is_file():
        return {}, [], None
    facts = json.loads((out / FACTS).read_text("utf-8"))
    if facts["asked"] != asked.model_dump():
        raise SettingsError(
            f"{out}: a division with other settings stands here: {facts['asked']}. Give these, or another out=..."
        )
    parts = {
        name: read([out / f"{name}.jsonl"])[name] for name in asked.parts if (out / f"{name}.jsonl").stat().st_size
    }
    known = {splitting.key(row.example.texts[0]): name for name, rows in parts.items() for row in rows}
    return known, [row for rows in parts.values() for row in rows], facts["cuts"]


def augmented(rows: Sequence[Parted], more: Callable[[str], Sequence[tuple[str, str]]]) -> list[dict[str, Any]]:
    """The fields of the rows, each followed by those that `more` makes of its text: (transform, new text). A new row says in
    `augmented` how it was made, and bears no id."""
    found: list[dict[str, Any]] = []
    for row in rows:
        found.append(row.fields)
        if isinstance(text := row.fields.get("text"), str):
            kept = {name: value for name, value in row.fields.items() if name != "id"}
            found += [{**kept, "text": new, "augmented": transform} for transform, new in more(text)]
    return found


def labelled(
    rows: Sequence[Parted], answers: Sequence[Mapping[str, Any]], above: float, run: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The fields of rows with the labels that a run gave them: (those of at least the probability `above`, all others). Each says in
    `pseudo_label` whose it is, and how sure: of several labels the least sure one, be it given or not; a row without any is left."""
    sure: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = []
    for row, answer in zip(rows, answers, strict=True):
        shares, several = answer["probabilities"].values(), "labels" in answer
        label = answer["labels"] if several else answer["label"]
        confidence = round(min(max(share, 1 - share) for share in shares) if several else max(shares), 6)
        mark = {"pseudo_label": {"run": run, "label": label, "confidence": confidence}}
        if label and confidence >= above:
            sure.append({**row.fields, "label": label, **mark})
        else:
            rest.append({**row.fields, **mark})
    return sure, rest


def json_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _lines(rows: Sequence[Parted]) -> str:
    return json_lines([row.fields for row in rows])
