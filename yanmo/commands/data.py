"""`yanmo data inspect FILE...`: what to know of rows before training on them.
`yanmo data clean FILE... out=FOLDER`: the rows worth keeping (tables, JSON lines and plain text as they were, other formats as JSON
lines), and what became of all others.
`yanmo data split FILE... out=FOLDER`: parts that stay what they are when rows are added.
`yanmo data augment FILE... out=FOLDER`: the rows, and new ones made of them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo import files, inspection
from yanmo import settings as house
from yanmo.commands import data_report
from yanmo.errors import SettingsError, gather
from yanmo.progress import bar, say
from yanmo.settings import Words
from yanmo.text import augment as augmenting
from yanmo.text import cleaned, cleaning, formats, parted, sources
from yanmo.text.augment import Augment
from yanmo.text.cleaning import Duplicates, Rows
from yanmo.text.parted import Division
from yanmo.text.rules import Clean

REJECTS, COUNTS, REPORT = "rejects.jsonl", "counts.json", "report.html"


class Settings(Rows):
    out: Path | None = Field(None, description="the folder that gets what is made; null: runs/data-VERB")
    max_bad: float = Field(0.01, ge=0, le=1, description="the largest share of a file's rows that may be quarantined")
    clean: Clean = Field(default_factory=Clean, description="what is changed, and what is dropped")
    duplicates: Duplicates = Field(default_factory=Duplicates)
    division: Division = Field(default_factory=Division, description="split: how the rows are divided")
    augment: Augment = Field(default_factory=Augment, description="augment: which rows are added")
    synonyms: Path | None = Field(None, description="augment: a file with a word and its synonyms on each line")
    seed: int = Field(0, ge=0, description="augment: of all randomness")


def data(verb: str, *paths: str | Path, settings: str | Path | None = None, **keys: Any) -> dict[str, Any]:
    """What `yanmo data VERB FILE...` prints: the counts of each file."""
    words = Words(house.from_arguments(Settings, settings, keys), [Path(verb), *map(Path, paths)])
    return command(words)


def command(words: Words[Settings]) -> dict[str, Any]:
    verb, given = (str(words.paths[0]), words.paths[1:]) if words.paths else ("", [])
    if verb not in _VERBS or not given:
        raise SettingsError(f"expected `yanmo data VERB FILE... out=FOLDER`, where VERB is one of {', '.join(_VERBS)}")
    sources.present(given)
    out = words.settings.out or Path("runs") / f"data-{verb}"
    _own(out, given, _VERBS[verb][1])
    return _VERBS[verb][0](words, given, out)


def _inspect(words: Words[Settings], given: Sequence[Path], out: Path) -> dict[str, Any]:
    found = {}
    with bar("reading"):
        parts = parted.read(given)
        for path in given:
            if path.is_file():
                seen = formats.recognise(path)
                found[str(path)] = {
                    "format": seen.format,
                    "encoding": seen.encoding,
                    "compression": seen.compression,
                    "task": seen.task,
                }
    with bar("looking"):
        facts = {
            "files": found,
            **inspection.inspect({name: [row.example for row in rows] for name, rows in parts.items()}),
        }
    page = out / REPORT
    data_report.write(page, facts)
    if not words.json:
        data_report.show(facts, page)
    return {**facts, "report": str(page)}


def _split(words: Words[Settings], given: Sequence[Path], out: Path) -> dict[str, Any]:
    with bar("reading"):
        rows = [row for part in parted.read(given).values() for row in part]
    with bar("dividing"):
        contents, facts = parted.divide(rows, out, words.settings.division)
        files.write_folder(out, contents)
    for name, count in facts["parts"].items():
        say(f"{out / name}.jsonl: {count:,} rows")
    if facts["set_aside"]:
        say(f"{out / parted.ASIDE}: {facts['set_aside']:,} rows that would join rows of different parts")
    return {"out": str(out), **facts}


def _augment(words: Words[Settings], given: Sequence[Path], out: Path) -> dict[str, Any]:
    asked = words.settings
    lines = list(sources.lines(asked.synonyms)) if asked.synonyms else []
    synonyms = augmenting.read_synonyms(lines, str(asked.synonyms))
    with bar("augmenting"):
        parts = {
            name: parted.augmented(rows, lambda text: augmenting.augment(text, asked.augment, asked.seed, synonyms))
            for name, rows in parted.read(given).items()
        }
        counts = {
            name: {"rows": len(rows), "new": sum("augmented" in row for row in rows)} for name, rows in parts.items()
        }
        contents: dict[str, files.Content] = {f"{name}.jsonl": parted.json_lines(rows) for name, rows in parts.items()}
        files.write_folder(out, {**contents, COUNTS: files.to_json(counts)})
    for name, count in counts.items():
        say(f"{out / name}.jsonl: {count['rows']:,} rows, {count['new']:,} of them new")
    return {"out": str(out), "parts": counts}


def _clean(words: Words[Settings], given: Sequence[Path], out: Path) -> dict[str, Any]:
    asked = words.settings
    with bar(f"cleaning {', '.join(map(str, given))}"):
        tables = cleaning.tables(given, asked)
        names = [cleaned.file_name(table) for table in tables]
        taken = sorted({name for name in names if names.count(name) > 1 or name in (REJECTS, COUNTS, files.MANIFEST)})
        gather(
            [f"{name}: two files would be written under this name" for name in taken], "rename these:", SettingsError
        )
        cleaning.clean(tables, asked, asked.clean, asked.duplicates, asked.max_bad)
        found = {table.source.name: cleaning.counts(table) for table in tables}
        contents = {name: _lines(cleaned.kept(table)) for name, table in zip(names, tables, strict=True)}
        contents |= {REJECTS: _lines(cleaned.rejects(tables)), COUNTS: files.to_json(found)}
        files.write_folder(out, contents)
    for path, counts in found.items():
        dropped = ", ".join(f"{rule} {number:,}" for rule, number in counts["rules"].items()) or "nothing dropped"
        say(f"{path}: {counts['kept']:,} of {counts['rows']:,} rows kept ({dropped})")
    say(f"{out}: the kept rows, {REJECTS}, {COUNTS}")
    return {"out": str(out), "files": found}


def _lines(lines: Iterable[str]) -> files.Content:
    """What writes these lines, so that they are never held together."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)

    return write


# verb -> what it does, and the file by which it knows a folder that it made
_VERBS: dict[str, tuple[Callable[[Words[Settings], Sequence[Path], Path], dict[str, Any]], str]] = {
    "inspect": (_inspect, REPORT),
    "clean": (_clean, COUNTS),
    "split": (_split, parted.FACTS),
    "augment": (_augment, COUNTS),
}


def _own(out: Path, given: Sequence[Path], mark: str) -> None:
    """Refuse to write over what this verb did not make: its folder is replaced as a whole."""
    if any(out.resolve() in path.resolve().parents for path in given):
        raise SettingsError(f"out: '{out}' holds a file that is to be read; give another folder")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / mark).is_file() or (mark != REPORT and files.verify(out)):
        raise SettingsError(f"out: '{out}' holds what this command did not write; give another folder")
