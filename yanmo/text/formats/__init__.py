"""Every format that people keep text in -> rows: a path is enough.

`recognise` says what a file is, `rows` reads it, `splits` finds the parts of a data-set folder, `load` reads them. What a file is
packed in (stream.py), how its characters are written (encoding.py), what its rows look like (`FORMATS`) and what its columns are
called (names.py) are four questions, answered apart. Knows no task, label set or Example.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yanmo.errors import DataError, gather, some
from yanmo.text.formats import blocks, folders, lines, names, objects, parquet, tables
from yanmo.text.formats.base import EXPECTED, LOST, Fault, Format, Header, Row, Source
from yanmo.text.formats.folders import languages, splits
from yanmo.text.formats.foreign import absent
from yanmo.text.formats.stream import container, is_archive, members

# fmt: off
__all__ = [
    "FORMATS", "LOST", "Fault", "Found", "Header", "Row", "Source", "absent", "container", "is_set", "languages", "load",
    "names", "numbered", "opened", "raw", "recognise", "refuse", "rows", "splits", "texts",
]
# fmt: on

# The first one that a file looks like is taken.
FORMATS: dict[str, Format] = {
    "parquet": Format(lambda suffix, _: suffix == ".parquet", parquet.read),
    "csv": Format(lambda suffix, _: suffix == ".csv", tables.comma),
    "jsonl": Format(objects.is_lines, objects.lines),
    "json": Format(lambda suffix, head: suffix in (".json", ".jsonl"), objects.document),
    "xml": Format(blocks.is_pairs, blocks.pairs),
    "conll": Format(blocks.is_columns, blocks.columns),
    "semeval": Format(blocks.is_relations, blocks.relations),
    "smart": Format(blocks.is_smart, blocks.smart),
    "qrels": Format(lines.is_judgments, lines.judgments),
    "tsv": Format(lambda suffix, _: suffix == ".tsv", tables.tabbed),
    "fasttext": Format(lines.is_fasttext, lines.fasttext),
    "dialogue": Format(lines.is_dialogue, lines.dialogue),
    "coarse:fine": Format(lines.is_trec, lines.trec),
    "text@label": Format(lines.is_at_label, lines.at_label),
    "tabs": Format(lambda _, head: tables.is_tabbed(head), tables.tabbed),
    "label text": Format(lambda _, head: lines.begin_with_labels(head), lines.label_text),
    "text": Format(lambda *_: True, lines.text),
}


@dataclass(frozen=True)
class Found:
    format: str  # a key of FORMATS
    encoding: str  # utf-8, utf-8-sig, utf-16-le, utf-16-be, gb18030, iso-8859-1; "" of a binary format
    compression: str  # gz, zst, zip or ""
    fields: tuple[str, ...]  # of the first sound row, under the standard names
    task: str  # what the rows look like: see `names.task`


def recognise(path: Path) -> Found:
    """What a file is, by its content and its name. Of a .zip, what its first text is.

    Raises DataError for a file that is not there, can't be unpacked, or holds no text at all.
    """
    source, format = next(opened(path), (None, ""))
    if source is None:
        raise DataError(f"{path}: nothing in it to read")
    first = next((row for row in FORMATS[format].read(source) if isinstance(row, Row)), None)
    fields = names.standard(first.fields) if first else {}
    encoding = "" if format == "parquet" else source.encoding
    return Found(format, encoding, source.member.compression, tuple(fields), names.task(fields) if fields else "")


def raw(
    path: Path, faults: list[Fault] | None = None, *, format: str | None = None, columns: Collection[str] = ()
) -> Iterator[Row]:
    """The rows of a file under its own names for the columns. `format`: a key of FORMATS, not to be recognised.
    `columns`: names that make the first line of a table its header.

    A row that can't be used is appended to `faults`, and reading goes on. Without that list all of them are raised in one
    DataError after the last row.
    """
    yield from _read(opened(path, format, columns), faults, str(path))


def rows(path: Path, faults: list[Fault] | None = None, *, format: str | None = None) -> Iterator[Row]:
    """The same under the standard names (names.USUAL): text, pair, label, score, target, tokens, tags, context, question ..."""
    return map(_named, raw(path, faults, format=format))


def load(path: Path, faults: list[Fault] | None = None) -> dict[str, list[Row]]:
    """The rows of each part of a data-set folder or an archive (see `splits`); of a file, of one part under its name."""
    parts = splits(path) if is_set(path) else {folders.stem(path.name): [path]}
    found: dict[str, list[Row]] = {}
    for part, paths in parts.items():
        if languages(paths):
            found[part] = list(_aligned(languages(paths), faults))
            continue
        found[part] = [row for file in paths for row in rows(file, faults)]
    return {part: some for part, some in found.items() if some}


def is_set(path: Path) -> bool:
    """A folder or an archive, which `splits` takes apart."""
    return path.is_dir() or is_archive(path)


def opened(path: Path, format: str | None = None, columns: Collection[str] = ()) -> Iterator[tuple[Source, str]]:
    """Each text in a file, not read yet, and its format: FORMATS[format].read(source) gives its rows and faults in their order.
    `format`, `columns`: as in `raw`. An archive's read-me files are passed over.
    """
    found = members(path)
    for member in found:
        if len(found) > 1 and folders.is_helper(member.inside):
            continue
        source = Source(member, frozenset(columns))
        if format is None:
            head = [] if member.suffix == ".parquet" else source.head()
            yield source, next(name for name, form in FORMATS.items() if form.looks(member.suffix, head))
        else:
            yield source, format


def _read(sources: Iterable[tuple[Source, str]], faults: list[Fault] | None, where: str) -> Iterator[Row]:
    gathered: list[Fault] = []
    for source, format in sources:
        for row in FORMATS[format].read(source):
            if isinstance(row, Row):
                yield row
            elif isinstance(row, Fault):
                (gathered if faults is None else faults).append(row)
    refuse(gathered, where)


def _named(row: Row) -> Row:
    return Row(names.standard(row.fields), row.line, row.offset)


def _aligned(paths: Mapping[str, Path], faults: list[Fault] | None) -> Iterator[Row]:
    """Line-aligned files, one a language, as rows: `text` is the first language (English before others), `target` the second."""
    order = sorted(paths, key=lambda language: (language != "en", language))
    columns = {language: [line for _, line in numbered(paths[language], faults)] for language in order}
    counts = {language: len(column) for language, column in columns.items()}
    if len({*counts.values()}) > 1:
        said = ", ".join(f"{paths[language]} has {some(count, 'line')}" for language, count in counts.items())
        raise DataError(f"not line-aligned: {said}. Expected as many in each, every line with its translation")
    for line, cells in enumerate(zip(*columns.values(), strict=True), 1):
        yield Row(
            {"text": cells[0], "target": cells[1], "languages": order, **dict(zip(order, cells, strict=True))}, line, 0
        )


def numbered(path: Path, faults: list[Fault] | None = None) -> Iterator[tuple[int, str]]:
    """(line number from 1, text without its line end) of every line of a text file, blank ones too. Faults as in `raw`; here
    a line that is not text also stands as an empty one, so that line-aligned files stay aligned.
    """
    gathered: list[Fault] = []
    for source, _ in opened(path, "text"):
        for line in source.lines():
            if isinstance(line, Fault):
                (gathered if faults is None else faults).append(line)
                yield line.line, ""
            else:
                yield line.number, line.text
    refuse(gathered, str(path))


def texts(path: Path) -> Iterator[str]:
    """The lines of a text file that are not blank. Raises DataError at the end, naming those that are not text."""
    faults: list[Fault] = []
    for source, _ in opened(path, "text"):
        for block in source.blocks():
            if isinstance(block, Fault):
                faults.append(block)
            else:
                yield from filter(str.strip, block.texts)
    refuse(faults, str(path))


def refuse(faults: Sequence[Fault], where: str) -> None:
    """Raise one DataError for all of them; do nothing when there are none."""
    headings = {EXPECTED[fault.kind] for fault in faults}
    said = (headings.pop() if len(headings) == 1 else EXPECTED["form"]).format(
        lines=some(len(faults), "line"), rows=some(len(faults), "row"), file=where
    )
    gather([str(fault) for fault in faults], f"{where}: {said}", DataError)
