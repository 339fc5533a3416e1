"""Documents: read from files of any known format, kept as JSON lines, and given back one by one from a mapped file.

A document is a text with a name, its id. A row with a question and its answer is one too (FAQ): it is found by its question.
Knows rows and their columns, no word and no vector.
"""

import json
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from yanmo.errors import DataError, gather, some
from yanmo.settings import Block
from yanmo.text import formats, textual
from yanmo.text.formats import names


class Columns(Block):
    id: str | None = Field(None, description="the column of a document's id; null: by its name, else FILE:LINE")
    text: str | list[str] | None = Field(
        None, description="what is searched, of several columns one after the other; null: question, or title and text"
    )
    answer: str | None = Field(None, description="the column of a question's answer; null: by its name")


@dataclass(frozen=True, slots=True)
class Document:
    id: str
    text: str  # what it is found by: of a FAQ the question
    answer: str = ""
    fields: dict[str, Any] = field(default_factory=dict)  # what else the row holds, as it stands there
    where: str = field(default="", compare=False)  # file:line that it was read from

    def content(self) -> dict[str, Any]:
        """As it is kept and shown."""
        more = {"answer": self.answer, "fields": self.fields}
        return {"id": self.id, "text": self.text, **{name: value for name, value in more.items() if value}}


# ---- from files


def read(paths: Iterable[Path], columns: Columns | None = None) -> tuple[list[Document], list[str]]:
    """The documents of files, in their order, and where those stand that are left out because there is no text in them.

    Raises DataError (file, line, column, expected, fix) for a missing file or column, an empty file, an id that stands twice.
    """
    first: dict[str, Document] = {}
    empty, doubled = [], []
    for document in (row for path in paths for row in rows(path, columns)):
        if not document.text:
            empty.append(document.where)
        elif first.setdefault(document.id, document) is not document:
            doubled.append(f"{document.where}: id {document.id!r}, as in {first[document.id].where}")
    gather(doubled, f"{some(len(doubled), 'id')} taken twice; give each document an id of its own:", DataError)
    if not first:
        raise DataError(f"{' '.join(empty[:3])}: no text in any row")
    return list(first.values()), empty


def rows(path: Path, columns: Columns | None = None) -> list[Document]:
    """Every row of a file as a document, also those without a text; of a text file every line. Raises DataError, as `read`."""
    kind = formats.recognise(path).format
    found: list[Document] = []
    faults: list[str] = []
    named = [columns.id, columns.answer, *_list(columns.text)] if columns else []
    for row in formats.raw(path, format="text" if kind == "label text" else kind, columns=[*filter(None, named)]):
        where = f"{path}:{row.line}"
        try:
            found.append(_document(row.fields, columns or Columns(), f"{path.name}:{row.line}", where))
        except DataError as error:
            faults.append(f"{where}: {error}")
    gather(faults, f"{path}: {some(len(faults), 'row')} can't be read as documents:", DataError)
    if not found:
        raise DataError(f"{path}: the file has no rows. Expected one document a row.")
    return found


# The columns that hold the text, by their standard names: the first line of which all are there.
_TEXTS = (("question", "answers"), ("text",), ("question",), ("query",), ("context",))
_TITLES = ("title", "标题")


def _document(row: Mapping[str, Any], columns: Columns, place: str, where: str) -> Document:
    own = {standard: name for name, standard in names.renamed(tuple(row)).items()}
    usual = next((line[:1] for line in _TEXTS if own.keys() >= {*line}), ())
    titles = [name for name in _TITLES if name in row and usual == ("text",) and own["text"] != name][:1]
    texts = _list(columns.text) or [*titles, *(own[name] for name in usual)]
    id, answer = columns.id or own.get("id"), columns.answer or own.get("answers")
    has = f"the row has: {', '.join(row)}"
    if absent := [name for name in (*texts, id, answer) if name is not None and name not in row]:
        raise DataError(f"no column '{absent[0]}'; {has}")
    if not texts:
        raise DataError(f"no column of text; {has}. Name it: columns.text=...")
    called = str(row[id]).strip() if id else place
    if not called or (id and isinstance(row[id], list | dict | None)):
        raise DataError(f"column '{id}': expected a word or number, not {json.dumps(row[id or ''])}")
    text = "\n".join(word for name in texts for word in _words(row[name]))
    rest = {name: value for name, value in row.items() if name not in (*texts, id, answer)}
    return Document(called, text, next(_words(row[answer]), "") if answer else "", rest, where)


def _list(given: str | list[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else given or []


def _words(value: Any) -> Iterator[str]:
    """The texts in a cell that are not blank: of a list of answers each."""
    plain = str(value) if isinstance(value, int | float) else value
    return (text.strip() for text in textual.taken(plain) if text.strip())


# ---- on the disk


def lines(documents: Iterable[Document]) -> list[bytes]:
    """Each as a JSON object on a line."""
    return [
        json.dumps(document.content(), ensure_ascii=False, default=str).encode("utf-8", "surrogatepass") + b"\n"
        for document in documents
    ]


class Documents(Sequence[Document]):
    """What `lines` wrote to a file, mapped: a document is read when it is asked for."""

    def __init__(self, file: Path, ends: np.ndarray) -> None:
        """ends: (documents,) where their lines end in the file. Raises ValueError where it is not as long."""
        with file.open("rb") as opened:
            self._bytes = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        self._file, self._ends = file, ends
        if not len(ends) or ends[-1] != len(self._bytes):
            raise ValueError(f"{len(self._bytes)} bytes, expected {ends[-1:]}")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, place: int) -> Document:  # type: ignore[override]  # no slices
        line = self._bytes[self._ends[place - 1] if place else 0 : self._ends[place]]
        try:
            return Document(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise DataError(f"{self._file}:{place + 1}: damaged ({error}); build the index anew") from None
