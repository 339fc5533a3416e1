"""`yanmo data inspect FILE...`: what to know of rows before training on them.
`yanmo data clean FILE... out=FOLDER`: the rows worth keeping (tables, JSON lines and plain text as they were, other formats as JSON
lines), and what became of all others.
`yanmo data split FILE... out=FOLDER`: parts that stay what they are when rows are added.
`yanmo data augment FILE... out=FOLDER`: the rows, and new ones made of them.
`yanmo data label FILE... label.run=RUN out=FOLDER`: rows without labels, with those that a run is sure of."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo import files, inspection
from yanmo import settings as house
from yanmo.commands import data_report
from yanmo.errors import SettingsError, gather
from yanmo.machine import Machine
from yanmo.progress import bar, say
from yanmo.settings import Block, Words
from yanmo.text import augment as augmenting
from yanmo.text import cleaned, cleaning, formats, parted, sources
from yanmo.text.augment import Augment
from yanmo.text.cleaning import Duplicates, Rows
from yanmo.text.parted import Division
from yanmo.text.rules import Clean

REJECTS, COUNTS, REPORT, UNSURE = "rejects.jsonl", "counts.json", "report.html", "unsure.jsonl"


class Label(Block):
    run: Path | None = Field(None, description="the run that labels")
    above: float = Field(0.9, gt=0, le=1, description="the least probability of a label that is taken")


class Settings(Rows):
    out: Path | None = Field(None, description="the folder that gets what is made; null: runs/data-VERB")
    max_bad: float = Field(0.01, ge=0, le=1, description="the largest share of a file's rows that may be quarantined")
    clean: Clean = Field(default_factory=Clean, description="what is changed, and what is dropped")
    duplicates: Duplicates = Field(default_factory=Duplicates)
    division: Division = Field(default_factory=Division, description="split: how the rows are divided")
    augment: Augment = Field(default_factory=Augment, description="augment: which rows are added")
    synonyms: Path | None = Field(None, description="augment: a file with a word and its synonyms on each line")
    seed: int = Field(0, ge=0, description="augment: of all randomness")
    label: Label = Field(default_factory=Label, description="label: by which run, and how sure")
    machine: Machine = Field(default_factory=Machine, description="label: what to run on")


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
    for rows in parts.values():
        for place in parted.misplaced(rows)[:5]:
            say(f"warning: {place}")
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


def _label(words: Words[Settings], given: Sequence[Path], out: Path) -> dict[str, Any]:
    from yanmo.commands.predict import opened  # torch, which no other sub-verb needs

    asked = words.settings.label
    if asked.run is None:
        raise SettingsError("label.run: which run is to label the rows? Give label.run=runs/reviews")
    engine = opened(asked.run, words.settings.machine)
    if engine.task is None or (engine.task.form, engine.task.labelling) != ("labelled", "classes"):
        raise SettingsError(f"label.run: {asked.run} does not give a text labels; name a run of task.name=classify")
    counts: dict[str, Any] = {}
    contents: dict[str, files.Content] = {}
    unsure: list[dict[str, Any]] = []
    for name, rows in parted.read(given).items():
        new = [row for row in rows if not row.example.labels]
        with bar(f"labelling {len(new):,} rows of {name}"):
            answers = engine.predict([row.example.texts for row in new])
        kept = [row.fields for row in rows if row.example.labels]
        labelled, rest = parted.labelled(new, answers, asked.above, str(asked.run))
        counts[name] = {
            "rows": len(rows),
            "labelled_before": len(kept),
            "labelled": len(labelled),
            "unsure": len(rest),
            "labels": dict(Counter(label for row in labelled for label in _listed(row["label"])).most_common()),
        }
        contents[f"{name}.jsonl"] = parted.json_lines([*kept, *labelled])
        unsure += rest
    files.write_folder(out, {**contents, UNSURE: parted.json_lines(unsure), COUNTS: files.to_json(counts)})
    for name, count in counts.items():
        labels = ", ".join(f"{label} {number:,}" for label, number in count["labels"].items())
        say(
            f"{out / name}.jsonl: {count['labelled']:,} of {count['rows'] - count['labelled_before']:,} rows labelled "
            f"({labels or 'none'}); the rest is in {out / UNSURE}"
        )
    return {"out": str(out), "parts": counts}


def _listed(label: str | list[str]) -> list[str]:
    return [label] if isinstance(label, str) else label


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


def _lines(lines: Iterable[bytes]) -> files.Content:
    """What writes these lines, so that they are never held together."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.writelines(lines)

    return write


# verb -> what it does, and the file by which it knows a folder that it made
_VERBS: dict[str, tuple[Callable[[Words[Settings], Sequence[Path], Path], dict[str, Any]], str]] = {
    "inspect": (_inspect, REPORT),
    "clean": (_clean, COUNTS),
    "split": (_split, parted.FACTS),
    "augment": (_augment, COUNTS),
    "label": (_label, COUNTS),
}


def _own(out: Path, given: Sequence[Path], mark: str) -> None:
    """Refuse to write over what this verb did not make: its folder is replaced as a whole."""
    if any(out.resolve() in path.resolve().parents for path in given):
        raise SettingsError(f"out: '{out}' holds a file that is to be read; give another folder")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / mark).is_file() or (mark != REPORT and files.verify(out)):
        raise SettingsError(f"out: '{out}' holds what this command did not write; give another folder")
