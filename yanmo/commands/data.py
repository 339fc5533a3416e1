"""`yanmo data inspect FILE...`: what to know of rows before training on them. `yanmo data clean FILE... out=FOLDER`: the rows worth
keeping, and what became of all others. `yanmo data split FILE... out=FOLDER`: parts that stay what they are when rows are added."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo import files, inspection
from yanmo import settings as house
from yanmo.commands import data_report
from yanmo.errors import SettingsError, gather
from yanmo.progress import bar, say
from yanmo.settings import Words
from yanmo.text import cleaning, formats, parted, sources
from yanmo.text.cleaning import Duplicates, Rows
from yanmo.text.parted import Division
from yanmo.text.rules import Clean

REJECTS, COUNTS = "rejects.jsonl", "counts.json"


class Settings(Rows):
    out: Path = Field(
        Path("runs/data"), description="the folder that gets the kept rows, rejects.jsonl and counts.json"
    )
    max_bad: float = Field(0.01, ge=0, le=1, description="the largest share of a file's rows that may be quarantined")
    clean: Clean = Field(default_factory=Clean, description="what is changed, and what is dropped")
    duplicates: Duplicates = Field(default_factory=Duplicates)
    division: Division = Field(default_factory=Division, description="split: how the rows are divided")


def data(verb: str, *paths: str | Path, settings: str | Path | None = None, **keys: Any) -> dict[str, Any]:
    """What `yanmo data VERB FILE...` prints: the counts of each file."""
    words = Words(house.from_arguments(Settings, settings, keys), [Path(verb), *map(Path, paths)])
    return command(words)


def command(words: Words[Settings]) -> dict[str, Any]:
    verb, given = (str(words.paths[0]), words.paths[1:]) if words.paths else ("", [])
    if verb not in _VERBS or not given:
        raise SettingsError(
            "expected `yanmo data inspect FILE...`, `yanmo data clean FILE... out=FOLDER` or `yanmo data split FILE...`"
        )
    sources.present(given)
    return _VERBS[verb](words, given)


def _inspect(words: Words[Settings], given: Sequence[Path]) -> dict[str, Any]:
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
    page = words.settings.out / "report.html" if "out" in words.settings.model_fields_set else Path("report.html")
    data_report.write(page, facts)
    if not words.json:
        data_report.show(facts, page)
    return {**facts, "report": str(page)}


def _split(words: Words[Settings], given: Sequence[Path]) -> dict[str, Any]:
    asked = words.settings
    with bar("reading"):
        rows = [row for part in parted.read(given).values() for row in part]
    with bar("dividing"):
        contents, facts = parted.divide(rows, asked.out, asked.division)
        files.write_folder(asked.out, contents)
    for name, count in facts["parts"].items():
        say(f"{asked.out / name}.jsonl: {count:,} rows")
    if facts["set_aside"]:
        say(f"{asked.out / parted.ASIDE}: {facts['set_aside']:,} rows that would join rows of different parts")
    return {"out": str(asked.out), **facts}


def _clean(words: Words[Settings], given: Sequence[Path]) -> dict[str, Any]:
    asked = words.settings
    _check(given, asked.out)
    with bar(f"cleaning {', '.join(map(str, given))}"):
        tables = cleaning.clean(given, asked, asked.clean, asked.duplicates, asked.max_bad)
        found = {str(table.path): cleaning.counts(table) for table in tables}
        contents: dict[str, files.Content] = {table.path.name: cleaning.kept(table) for table in tables}
        contents |= {REJECTS: cleaning.rejects(tables), COUNTS: files.to_json(found)}
        files.write_folder(asked.out, contents)
    for path, counts in found.items():
        dropped = ", ".join(f"{rule} {number:,}" for rule, number in counts["rules"].items()) or "nothing dropped"
        say(f"{path}: {counts['kept']:,} of {counts['rows']:,} rows kept ({dropped})")
    say(f"{asked.out}: the kept rows, {REJECTS}, {COUNTS}")
    return {"out": str(asked.out), "files": found}


_VERBS = {"inspect": _inspect, "clean": _clean, "split": _split}


def _check(given: Sequence[Path], out: Path) -> None:
    """Refuse what would write over something: two files of one name, and a folder that this command did not make."""
    names = [path.name for path in given]
    taken = sorted({name for name in names if names.count(name) > 1 or name in (REJECTS, COUNTS, files.MANIFEST)})
    gather([f"{name}: two files would be written under this name" for name in taken], "rename these:", SettingsError)
    if any(out.resolve() in path.resolve().parents for path in given):
        raise SettingsError(f"out: '{out}' holds a file that is to be cleaned; give another folder")
    foreign = out.exists() and (not out.is_dir() or any(out.iterdir())) and not (out / COUNTS).is_file()
    if foreign or (out.is_dir() and any(out.iterdir()) and files.verify(out)):
        raise SettingsError(f"out: '{out}' holds what this command did not write; give another folder")
