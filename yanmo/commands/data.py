"""`yanmo data clean FILE... out=FOLDER`: the rows worth keeping, and what became of all others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo import files
from yanmo import settings as house
from yanmo.errors import SettingsError, gather
from yanmo.progress import bar, say
from yanmo.settings import Words
from yanmo.text import cleaning, sources
from yanmo.text.cleaning import Duplicates, Rows
from yanmo.text.rules import Clean

REJECTS, COUNTS = "rejects.jsonl", "counts.json"


class Settings(Rows):
    out: Path = Field(
        Path("runs/data"), description="the folder that gets the kept rows, rejects.jsonl and counts.json"
    )
    max_bad: float = Field(0.01, ge=0, le=1, description="the largest share of a file's rows that may be quarantined")
    clean: Clean = Field(default_factory=Clean, description="what is changed, and what is dropped")
    duplicates: Duplicates = Field(default_factory=Duplicates)


def data(verb: str, *paths: str | Path, settings: str | Path | None = None, **keys: Any) -> dict[str, Any]:
    """What `yanmo data VERB FILE...` prints: the counts of each file."""
    words = Words(house.from_arguments(Settings, settings, keys), [Path(verb), *map(Path, paths)])
    return command(words)


def command(words: Words[Settings]) -> dict[str, Any]:
    verb, given = (str(words.paths[0]), words.paths[1:]) if words.paths else ("", [])
    if verb != "clean" or not given:
        raise SettingsError("expected `yanmo data clean FILE... out=FOLDER`")
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


def _check(given: Sequence[Path], out: Path) -> None:
    """Refuse what would write over something: two files of one name, and a folder that this command did not make."""
    sources.present(given)
    names = [path.name for path in given]
    taken = sorted({name for name in names if names.count(name) > 1 or name in (REJECTS, COUNTS, files.MANIFEST)})
    gather([f"{name}: two files would be written under this name" for name in taken], "rename these:", SettingsError)
    if any(out.resolve() in path.resolve().parents for path in given):
        raise SettingsError(f"out: '{out}' holds a file that is to be cleaned; give another folder")
    foreign = out.exists() and (not out.is_dir() or any(out.iterdir())) and not (out / COUNTS).is_file()
    if foreign or (out.is_dir() and any(out.iterdir()) and files.verify(out)):
        raise SettingsError(f"out: '{out}' holds what this command did not write; give another folder")
